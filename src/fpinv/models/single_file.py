"""Checkpoints in one file, unpacked once into a folder in diffusers format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import diffusers
import huggingface_hub
from diffusers.loaders.single_file_utils import (
    infer_diffusers_model_type,
    load_single_file_checkpoint,
)

from fpinv.errors import UserError
from fpinv.models.weights import loading

ENDING = ".safetensors"
KINDS: Mapping[str, str] = {
    "v1": "StableDiffusionPipeline",
    "v2": "StableDiffusionPipeline",
    "xl_base": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "sd35_medium": "StableDiffusion3Pipeline",
    "sd35_large": "StableDiffusion3Pipeline",
    "flux-dev": "FluxPipeline",
    "flux-schnell": "FluxPipeline",
}
"""The pipeline of each kind of checkpoint, by diffusers' name for the kind."""
REMEDY = "give the whole checkpoint, and connect once, as its configuration comes from the hub"


def unpack(file: Path) -> Path:
    """Return the folder of a checkpoint in one file; it is made where it is not there yet.

    The folder lies beside the hub's cache, and takes as much space as the file. A file that was
    changed is unpacked anew.

    Raises:
        UserError: the file cannot be read, or is of a kind that cannot be inverted.
    """
    status = file.stat()
    key = sha256(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()
    cache = Path(huggingface_hub.constants.HF_HOME) / "fpinv"
    folder = cache / key[:16] / file.stem
    if not folder.is_dir():
        with loading(f"the checkpoint {file}", REMEDY):
            pipeline = _pipeline_class(file).from_single_file(str(file))
            folder.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=cache) as partial:
                pipeline.save_pretrained(Path(partial, "whole"))
                os.replace(Path(partial, "whole"), folder)
    return folder


def _pipeline_class(file: Path) -> type[diffusers.DiffusionPipeline]:
    """Return the class of the pipeline that a checkpoint holds."""
    kind = infer_diffusers_model_type(load_single_file_checkpoint(str(file)))
    if kind not in KINDS:
        raise UserError(
            f"model.path={file} is a checkpoint of kind {kind}; only "
            f"{', '.join(dict.fromkeys(KINDS.values()))} can be inverted"
        )
    located: type[diffusers.DiffusionPipeline] = getattr(diffusers, KINDS[kind])
    return located
