"""The origin of a model's weights: their folder, commit, digest and scheduler."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fpinv.models.weights import PARTS, WEIGHTS

SETTINGS = (".json", ".txt", ".model")
"""Endings of files of configurations and vocabularies."""
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelOrigin:
    """The entries of records that tell one set of weights and its grid from another.

    Arguments:
        path: The folder, package or name on the hub, as the user wrote it.
        commit: The hub's commit; None for a folder outside the hub's cache.
        digest: SHA-256 of the files that the model is loaded from (:func:`digest`), and of the
            settings that change what its network computes.
        scheduler: Class of the scheduler that ships with the weights.
        spacing: Spacing of the grid, of that scheduler or by ``model.spacing``; the shift of
            the grid of a rectified flow.
        sampler: Name of the sampler.
    """

    path: str
    commit: str | None
    digest: str
    scheduler: str
    spacing: str
    sampler: str = "ddim"


def digest(folder: Path, variant: str | None = None) -> str:
    """Return the SHA-256, in hexadecimal digits, of the files that a model is loaded from.

    These are model_index.json and the weights, configurations and vocabularies of all parts, so a
    change of any of them changes the digest. Each file is read once a process, unless it changed;
    large ones of the hub's cache, which are named by their digests, are not.
    """
    whole = sha256()
    for file, size, modified in state_of(files_of(folder, variant)):
        content = _blob(file) or _digest_of_file(file, size, modified)
        whole.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return whole.hexdigest()


def state_of(files: Iterable[Path]) -> tuple[tuple[Path, int, int], ...]:
    """Return each file with its bytes and its time of modification."""
    statuses = [(file, file.stat()) for file in files]
    return tuple((file, status.st_size, status.st_mtime_ns) for file, status in statuses)


def digest_of_networks(pipeline: Any) -> str:  # noqa: ANN401 - diffusers declares no networks
    """Return the SHA-256, in hexadecimal digits, of the weights of a pipeline in memory."""
    whole = sha256()
    for name, part in sorted(pipeline.components.items()):
        for key, value in part.state_dict().items() if isinstance(part, nn.Module) else ():
            whole.update(f"{name}.{key}{tuple(value.shape)}".encode())
            # As bytes, because numpy has no bfloat16.
            content = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            whole.update(content.numpy().tobytes())
    return whole.hexdigest()


def with_settings(digest: str, settings: Mapping[str, object]) -> str:
    """Return the SHA-256 of a model's digest and settings; the digest itself without any."""
    text = f"{digest} {json.dumps(settings, sort_keys=True)}"
    return sha256(text.encode()).hexdigest() if settings else digest


def files_of(folder: Path, variant: str | None) -> Iterator[Path]:
    """Yield the files that a model is loaded from, part by part."""
    yield folder / "model_index.json"
    for part in PARTS:
        files = [file for file in sorted((folder / part).glob("*")) if file.is_file()]
        yield from (file for file in files if file.suffix in SETTINGS)
        yield from _loaded(files, variant)


def _loaded(files: list[Path], variant: str | None) -> list[Path]:
    """Return those of a part's files that hold the weights that diffusers loads.

    They bear the variant in their names; a part without such files falls back on the plain ones.
    """
    for name in (variant, None):
        for suffix in WEIGHTS:
            weights = [file for file in files if file.suffix == suffix and _variant(file) == name]
            if weights:
                return weights
    return []


def _variant(file: Path) -> str | None:
    """Return the variant that the name of a file of weights bears: fp16 in model.fp16.bin."""
    names = file.name.split(".")[1:-1]
    return names[0].partition("-")[0] if names else None


def _blob(file: Path) -> str | None:
    """Return the digest by which the hub's cache names a large file; None for any other file."""
    blob = file.resolve()
    return blob.name if blob.parent.name == "blobs" and SHA256.fullmatch(blob.name) else None


@cache
def _digest_of_file(file: Path, size: int, modified: int) -> str:
    """Return the SHA-256 of a file, which is remembered for its size and time of modification."""
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def has_variant(part: Path, variant: str | None) -> bool:
    """Return whether a part's folder holds weights of a variant; None stands for plain ones."""
    files = (file for file in part.glob("*") if file.suffix in WEIGHTS and file.is_file())
    return any(_variant(file) == variant for file in files)
