"""Model folders that are not what a pipeline's folder should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from forked import ROOT, Trial, command, compare, judged, rows

BUNDLED = ROOT / "src" / "fpinv" / "models" / "scenes"
RUN = ("inverter=ddim", "steps=2", "limit=1", "images=0")
WEIGHTS = "diffusion_pytorch_model.safetensors"

Damage = Callable[[Path], None]


def _set(part: str, **values: Any) -> tuple[str, Damage]:  # noqa: ANN401
    """Return a damage that sets keys of a part's configuration."""
    name = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}.get(
        part, "config.json"
    )

    def damage(model: Path) -> None:
        path = model / part / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    shown = ", ".join(f"{key}: {json.dumps(value)}" for key, value in values.items())
    return f"{part}: {shown}", damage


def _text(path: str, text: str) -> tuple[str, Damage]:
    return f"{path}: {text!r}", lambda model: (model / path).write_text(text) and None


def _missing(path: str) -> tuple[str, Damage]:
    def damage(model: Path) -> None:
        shutil.rmtree(model / path) if (model / path).is_dir() else (model / path).unlink()

    return f"{path}: missing", damage


def _half(path: str) -> tuple[str, Damage]:
    def damage(model: Path) -> None:
        content = (model / path).read_bytes()
        (model / path).write_bytes(content[: len(content) // 2])

    return f"{path}: the first half", damage


DAMAGES = (
    _set("vae", latents_mean=[0.1] * 4, latents_std=[2.0] * 4),
    _set("vae", shift_factor=0.1),
    _set("vae", _class_name="AutoencoderTiny"),
    _set("vae", scaling_factor=None),
    _set("unet", sample_size=[16, 16]),
    _set("unet", _class_name="UNet3DConditionModel"),
    _set("unet", cross_attention_dim=64),
    _set("unet", class_embed_type="timestep"),
    _set("scheduler", _class_name="DDPMScheduler"),
    _set("scheduler", _class_name="UniformScheduler"),
    _set("scheduler", prediction_type="flow"),
    _set("scheduler", beta_schedule="sigmoid_wide"),
    _set("scheduler", clip_sample=True),
    _set("scheduler", thresholding=True),
    _set("scheduler", timestep_spacing="logarithmic"),
    _set("scheduler", num_train_timesteps="many"),
    _set("tokenizer", model_max_length=None),
    _text("model_index.json", "[]"),
    _text("model_index.json", '{"_class_name": "StableDiffusion'),
    _text("unet/config.json", "\x00\x01"),
    _text("tokenizer/vocab.json", "{"),
    _missing("tokenizer"),
    _missing("scheduler"),
    _missing("text_encoder/config.json"),
    _missing(f"unet/{WEIGHTS}"),
    _half(f"unet/{WEIGHTS}"),
    _half(f"vae/{WEIGHTS}"),
    _half("text_encoder/model.safetensors"),
    _half("tokenizer/vocab.json"),
)


def model_folders(scratch: Path) -> Iterator[Trial]:
    """Yield trials of runs with a damaged copy of the bundled model.

    Where the stock pipeline would make something else of the folder, or not load it, only a
    refusal counts; a run with the whole model's results is right where the damage means nothing.
    """
    whole, model = scratch / "whole", scratch / "model"
    shutil.copytree(BUNDLED, model)
    command(*RUN, f"model.path={model}", f"hydra.run.dir={whole}")
    reference = rows(whole)
    shutil.rmtree(model)
    for k, (fault, damage) in enumerate(DAMAGES):
        folder = scratch / f"run{k}"
        shutil.copytree(BUNDLED, model)
        damage(model)
        output = command(*RUN, f"model.path={model}", f"hydra.run.dir={folder}")
        difference = compare(folder, reference) if output.code == 0 else ""
        yield judged("models", fault, output, difference)
        shutil.rmtree(model)
