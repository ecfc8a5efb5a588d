"""Checkpoints in one file, unpacked once into a folder in diffusers format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
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

KINDS: Mapping[str, str] = {
    "v1": "StableDiffusionPipeline",
    "xl_base": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "sd35_medium": "StableDiffusion3Pipeline",
    "sd35_large": "StableDiffusion3Pipeline",
    "flux-dev": "FluxPipeline",
    "flux-schnell": "FluxPipeline",
}
"""The pipeline of each kind of checkpoint, by diffusers' name for the kind. Those of 2.0 and 2.1
are left out: they are of one kind and differ in what the network predicts."""
OTHER_PREDICTIONS = ("v_pred", "edm_")
"""Beginnings of keys of checkpoints whose network predicts something else than others of the kind,
v or the image of EDM, which diffusers does not tell apart."""
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
                with suppress(OSError):  # another process that shares the run was first
                    os.replace(Path(partial, "whole"), folder)
    return folder


def _pipeline_class(file: Path) -> type[diffusers.DiffusionPipeline]:
    """Return the class of the pipeline that a checkpoint holds."""
    checkpoint = load_single_file_checkpoint(str(file))
    kind = infer_diffusers_model_type(checkpoint)
    if kind not in KINDS or any(key.startswith(OTHER_PREDICTIONS) for key in checkpoint):
        raise UserError(
            f"model.path={file} is a checkpoint of kind {kind}, which is not read from one file "
            f"({', '.join(KINDS)} are): convert it to a folder in diffusers format"
        )
    located: type[diffusers.DiffusionPipeline] = getattr(diffusers, KINDS[kind])
    return located
