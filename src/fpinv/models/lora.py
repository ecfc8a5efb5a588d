"""Low-rank changes of a model's weights (LoRA), merged into them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from fpinv.errors import UserError
from fpinv.models.weights import SAFE, loading

REMEDY = "choose one that was made for this model"
CHANGE = re.compile(r"\.(?:lora|alpha|dora)")
"""The beginning of what a key says after the name of the module that it changes."""


class LoRA(NamedTuple):
    """A file of low-rank changes, and how much of them to add.

    Arguments:
        file: The file.
        scale: Factor of the changes.

    References:
        | LoRA: Low-Rank Adaptation of Large Language Models (Hu et al., 2021)
        | https://arxiv.org/abs/2106.09685
    """

    file: Path
    scale: float

    def digest(self, model: str) -> str:
        """Return the SHA-256 of a model's digest, this file and the scale."""
        with self.file.open("rb") as stream:
            changes = file_digest(stream, "sha256").hexdigest()
        return sha256(f"{model} {changes} {self.scale!r}".encode()).hexdigest()


def choose_lora(path: str | None, scale: float) -> LoRA | None:
    """Return the LoRA at a path; None for None.

    Raises:
        UserError: there is no such file, or PEFT is not installed.
    """
    if path is None:
        return None
    file = Path(path).expanduser()
    if file.suffix != SAFE or not file.is_file():
        raise UserError(f"model.lora={path} is no {SAFE} file on this machine: name one")
    if find_spec("peft") is None:
        raise UserError("model.lora needs the package peft: pip install peft")
    return LoRA(file.resolve(), scale)


def merge_lora(pipeline: Any, lora: LoRA) -> None:  # noqa: ANN401 - diffusers' pipelines
    """Add the changes of a LoRA to the weights of a pipeline, whose networks stay plain ones.

    Raises:
        UserError: the file cannot be read, or does not fit the pipeline.
    """
    with loading(f"the LoRA {lora.file}", REMEDY), _places_checked(pipeline, lora.file):
        pipeline.load_lora_weights(lora.file.parent, weight_name=lora.file.name)
        if not pipeline.get_list_adapters():
            raise UserError(f"the LoRA {lora.file} changes no part of the model: {REMEDY}")
        pipeline.fuse_lora(components=list(pipeline.get_list_adapters()), lora_scale=lora.scale)
        pipeline.unload_lora_weights()


@contextmanager
def _places_checked(pipeline: Any, file: Path) -> Iterator[None]:  # noqa: ANN401
    """Have a pipeline refuse changes that it has no place for, which it would leave out.

    The check sees what the pipeline itself reads, since it alone knows how to translate the keys
    of other trainers.

    Raises:
        UserError: (within the context) a change has no place.
    """
    read = pipeline.lora_state_dict
    names = {
        part: {name for name, _ in getattr(pipeline, part).named_modules()}
        for part in pipeline._lora_loadable_modules
    }

    def read_and_check(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        changes = read(*arguments, **options)
        for key in changes[0] if isinstance(changes, tuple) else changes:
            part, _, place = key.partition(".")
            if CHANGE.split(place)[0] not in names.get(part, ()):
                raise UserError(f"the LoRA {file} changes {key}, which is not there: {REMEDY}")
        return changes

    pipeline.lora_state_dict = read_and_check
    try:
        yield
    finally:
        del pipeline.lora_state_dict
