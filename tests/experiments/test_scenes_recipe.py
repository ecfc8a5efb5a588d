"""The recipe of the bundled model, end to end on a handful of scenes."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import fpinv.models.scenes

FOLDER = Path(__file__).parents[2] / "experiments" / "training" / "scenes"
SHIPPED = Path(fpinv.models.scenes.__path__[0])
TINY = {
    "vae": ["batch=2", "model.block_out_channels=[16,16,16]"],
    "clip": ["batch=4", "width=32", "layers=1", "heads=2", "bf16=false"],
    "unet": ["batch=2", "model.block_out_channels=[16,32]", "model.cross_attention_dim=32"],
    "classifier": ["batch=4", "model.width=8"],
}


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Put the scripts' folder on the path, as when they are run."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])


def run(name: str, script: str, *overrides: str) -> None:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(FOLDER / "conf"), version_base="1.3"):
        cfg = compose(name, overrides=list(overrides))
    import_module(script).main.__wrapped__(cfg)


def train(name: str, out: Path, *overrides: str) -> None:
    small = ["steps=2", "data.count=8", "held_out=8", f"out={out}", "device=cpu", *TINY[name]]
    run(name, f"train_{name}", *small, *overrides)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("recipe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(FOLDER), *sys.path])
        for name in TINY:
            train(name, out)
    return out


def test_full_recipe_makes_a_pipeline_for_larger_pictures(tmp_path):
    """Train each part for one step, on the CPU and uncompiled."""
    for name in TINY:
        few = ["steps=1", "batch=2", "data.count=4", "held_out=4", "device=cpu"]
        few += [] if name == "clip" else ["compile=false"]
        run(f"full/{name}", f"train_{name}", *few, f"out={tmp_path}")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "export", safety_checker=None)
    assert pipeline.vae.config.sample_size == 128
    assert pipeline.unet.config.sample_size * pipeline.vae_scale_factor == 128


def test_trained_parts_are_a_stock_pipeline(trained):
    pipeline = StableDiffusionPipeline.from_pretrained(trained / "export", safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red star", num_inference_steps=2, output_type="pt", height=64, width=64)
    assert image.images.shape == (1, 3, 64, 64) and image.images.isfinite().all()


def test_training_of_every_part_leaves_a_loss_curve_and_a_checkpoint(trained):
    for name in TINY:
        assert (trained / name / "loss.png").exists()
        assert torch.load(trained / name / "checkpoint.pt", weights_only=True)["step"] == 2


def test_resumed_training_ends_where_an_uninterrupted_one_does(trained, tmp_path):
    parts = f"parts={trained / 'export'}"
    constant = ["schedule=constant", parts]
    train("unet", tmp_path / "whole", *constant, "steps=3")
    train("unet", tmp_path / "pieces", *constant, "steps=1")
    train("unet", tmp_path / "pieces", *constant, "steps=3", "resume=true")
    whole, pieces = (
        torch.load(tmp_path / name / "unet" / "checkpoint.pt", weights_only=True)["model"]
        for name in ("whole", "pieces")
    )
    assert all(torch.equal(whole[key], pieces[key]) for key in whole)


def test_training_of_the_decoder_leaves_the_latents_unchanged(tmp_path):
    train("vae", tmp_path, f"start={SHIPPED}", "decoder_only=true")
    after = StableDiffusionPipeline.from_pretrained(
        SHIPPED, vae=_vae(tmp_path / "export"), safety_checker=None
    ).vae
    before, x = _vae(SHIPPED), torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.equal(before.encode(x).latent_dist.mode(), after.encode(x).latent_dist.mode())


def _vae(folder):
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32)


def test_measurements_fill_the_card_and_the_page(trained, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- measured: begin -->old<!-- measured: end -->\nafter\n")
    small = ["n=2", "retrieved=100", "judged=4", "pilot=2", "captions=3", "shown=2", "per_bin=2"]
    places = [f"pictures={tmp_path}", f"card={tmp_path}/card.json", f"page={page}"]
    weights = [f"weights={trained / 'export'}", "steps=2", "guidances=[1.0,3.0]", "device=cpu"]
    run("evaluate", "evaluate", *weights, *small, *places)
    card = json.loads((tmp_path / "card.json").read_text())
    best = card["generated"]["best_guidance"]
    counts = [
        group["all"]["n"]
        for name, group in card["generated"]["guidance"][best].items()
        if name.endswith(("object", "objects"))
    ]
    assert sum(counts) == 3
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert f"Best guidance: w = {best}" in text
    for w in (1, 3):
        assert (tmp_path / f"samples_w{w}.jpg").exists()
