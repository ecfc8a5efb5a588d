"""Low-rank changes of a model's weights (LoRA), merged into them."""

from __future__ import annotations

import re
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from fpinv.errors import UserError
from fpinv.models.weights import SAFE, loading


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
        raise UserError("model.lora needs the package peft: pip install 'fpinv[lora]'")
    return LoRA(file.resolve(), scale)


def merge_lora(pipeline: Any, lora: LoRA) -> None:  # noqa: ANN401 - diffusers' pipelines
    """Add the changes of a LoRA to the weights of a pipeline, whose networks stay plain ones.

    Raises:
        UserError: the file cannot be read, or does not fit the pipeline.
    """
    remedy = "choose one that was made for this model"
    with loading(f"the LoRA {lora.file}", remedy):
        changes = pipeline.lora_state_dict(lora.file.parent, weight_name=lora.file.name)
        keys = changes[0] if isinstance(changes, tuple) else changes
        for key in keys:
            part, _, place = key.partition(".")
            if part not in pipeline._lora_loadable_modules or not _has(pipeline, part, place):
                raise UserError(
                    f"the LoRA {lora.file} changes {key}, which is not there: {remedy}"
                )
        pipeline.load_lora_weights(lora.file.parent, weight_name=lora.file.name)
        if not pipeline.get_list_adapters():
            raise UserError(f"the LoRA {lora.file} changes no part of the model: {remedy}")
        pipeline.fuse_lora(components=list(pipeline.get_list_adapters()), lora_scale=lora.scale)
        pipeline.unload_lora_weights()


def _has(pipeline: Any, part: str, place: str) -> bool:  # noqa: ANN401
    """Return whether a part of a pipeline has the module that a key of changes is for."""
    module = re.split(r"\.(?:lora|alpha|dora)", place)[0]
    return module in dict(getattr(pipeline, part).named_modules())
