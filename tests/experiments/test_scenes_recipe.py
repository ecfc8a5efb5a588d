"""The recipe of the bundled model, end to end on a handful of scenes."""

import json
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import fpinv.models.scenes
from fpinv.datasets.scenes import sample_scene
from fpinv.metrics.classifiers.scene_network import SceneClassifier
from fpinv.models.stable_diffusion import StableDiffusion

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


def test_the_gpu_recipe_takes_its_first_steps_on_a_cpu(tmp_path):
    few = ["device=cpu", "steps=20", "batch=2", "threads=1", "data.count=8", "held_out=4"]
    few += ["++compile=false", "++workers=0"]
    # So much time that the steps end the parts, and not the clock.
    times = ["minutes=90", "first=30", "classifier=30"]
    keys = [f"out={tmp_path}", f"overrides={few}", *times]
    command = [sys.executable, FOLDER / "gpu.py", *keys]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in TINY:
        assert torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["step"] == 20
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "export", safety_checker=None)
    assert pipeline.vae.config.sample_size == 128


def test_a_run_ends_by_the_clock(trained, tmp_path):
    train("unet", tmp_path, f"parts={trained / 'export'}", f"until={time.time() - 1:.0f}")
    assert torch.load(tmp_path / "unet" / "checkpoint.pt", weights_only=True)["step"] == 0


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


def test_a_run_asked_to_end_saves_and_exports(tmp_path, monkeypatch):
    common = import_module("common")
    advance = common._advance

    def advance_and_end(*arguments):
        loss = advance(*arguments)
        signal.raise_signal(signal.SIGTERM)
        return loss

    monkeypatch.setattr(common, "_advance", advance_and_end)
    train("unet", tmp_path, f"parts={SHIPPED}", "model.cross_attention_dim=128", "steps=9")
    assert torch.load(tmp_path / "unet" / "checkpoint.pt", weights_only=True)["step"] == 1
    assert (tmp_path / "export" / "unet" / "config.json").exists()


def test_training_captions_are_empty_bare_or_partial():
    """The shares that the configuration names."""
    script = import_module("train_unet")
    cfg = OmegaConf.create({"dropout": 0.1, "bare": 0.15, "unsaid": 0.3})
    scenes = [sample_scene(0, k, "val", objects=1) for k in range(4000)]

    def texts() -> list[str]:
        rng = np.random.default_rng(0)
        return [script.training_caption(scene, cfg, rng) for scene in scenes]

    captions = [text for text in texts() if text]
    assert 1 - len(captions) / len(scenes) == pytest.approx(0.1, abs=0.02)
    grounded = [text for text in captions if text.endswith(" background")]
    assert len(grounded) / len(captions) == pytest.approx(0.85 * 0.7, abs=0.03)
    assert texts() == texts()


def test_training_of_the_reader_leaves_the_features_unchanged(tmp_path):
    few = ["decoded=2", "rejects=0.5", "trunk=false"]
    train("classifier", tmp_path, f"start={SHIPPED}", f"parts={SHIPPED}", *few)
    before, after = (
        SceneClassifier.from_pretrained(folder / "classifier")
        for folder in (SHIPPED, tmp_path / "export")
    )
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    assert torch.equal(before.features(x), after.features(x))
    assert not torch.equal(before(x)[0], after(x)[0])


def test_crossfades_of_a_batch_show_nothing():
    script, attributes = import_module("train_classifier"), import_module("attributes")
    # No crossfade of two of these values is a third one.
    flat = torch.tensor([0.0, 1.0, 10.0, 100.0]).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    truth = attributes.labels([sample_scene(0, k, "val") for k in range(4)])
    x, y = script.crossfaded(flat, truth, 3, torch.Generator().manual_seed(0))
    assert torch.equal(x[:4], flat) and torch.equal(y[:4], truth)
    assert y[4:].tolist() == [attributes.NOTHING] * 3 and len(x) == 7
    assert all((fade - flat).abs().amax((1, 2, 3)).min() > 0.1 for fade in x[4:]), "of two"


def test_pictures_without_a_scene_are_of_their_kind(tmp_path):
    """Every kind is seeded, in range, and leaves no picture of a scene as it was."""
    rejects, common = import_module("rejects"), import_module("common")
    vae = common.autoencoder(str(SHIPPED), torch.device("cpu"))
    PIL.Image.effect_noise((90, 70), 60).convert("RGB").save(tmp_path / "noise.jpg")
    model = StableDiffusion(str(SHIPPED), device="cpu")
    few = rejects.Material("val", 0, 64, 4, vae, model, str(tmp_path))
    every = rejects.TRAINED | rejects.HELD_OUT
    kinds = rejects.made(few, every)
    assert len(kinds) == len(every)
    for pictures in kinds.values():
        assert pictures.shape == few.pictures.shape and pictures.abs().max() <= 1
        assert (pictures - few.pictures).abs().mean((1, 2, 3)).min() > 0.01
    again = rejects.made(rejects.Material("val", 0, 64, 4, vae), rejects.TRAINED)
    assert "unfinished" not in again and torch.equal(again["melted"], kinds["melted"])
    assert not torch.equal(rejects.noise(rejects.Material("test", 0, 64, 4, vae)), kinds["noise"])


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
    small = [
        "n=2",
        "retrieved=100",
        "judged=4",
        "rejected=2",
        "pilot=2",
        "captions=3",
        "shown=2",
        "per_bin=2",
    ]
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


def test_the_gate_measures_plain_and_full_captions(trained, tmp_path, capsys):
    few = ["n=2", "steps=2", "device=cpu", f"weights={trained / 'export'}"]
    run("gate", "gate", *few, f"card={tmp_path}/gate.json")
    card = json.loads((tmp_path / "gate.json").read_text())
    assert {value["n"] for row in card.values() for value in row.values()} == {2}
    assert len(card) == capsys.readouterr().out.count("\n| plain") + 2 == 5
    common = import_module("common")
    assert common.plain(sample_scene(0, 7, "test", 1, ["arrow"])) == "a photo of an arrow"


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_mixed_denoiser_lies_between_two(trained, tmp_path, share):
    first = UNet2DConditionModel.from_pretrained(trained / "export", subfolder="unet")
    second = UNet2DConditionModel.from_config(first.config)
    second.save_pretrained(tmp_path / "second" / "unet")
    folders = [f"first={trained}/export", f"second={tmp_path}/second", f"export={tmp_path}/mix"]
    run("mix", "mix", *folders, f"share={share}")
    mixed = UNet2DConditionModel.from_pretrained(tmp_path / "mix", subfolder="unet")
    assert "_name_or_path" not in json.loads((tmp_path / "mix/unet/config.json").read_text())
    states = (network.state_dict() for network in (first, second, mixed))
    for a, b, middle in zip(*map(dict.values, states), strict=True):
        torch.testing.assert_close(middle, a + share * (b - a), rtol=2e-3, atol=2e-3)


def test_finished_samples_have_the_labels_of_their_captions(tmp_path):
    script, attributes = import_module("train_classifier"), import_module("attributes")
    few = [f"start={SHIPPED}", f"parts={SHIPPED}", "finished=4"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(FOLDER / "conf"), version_base="1.3"):
        cfg = compose("classifier", overrides=few)
    images, labels = script.finished(cfg, torch.device("cpu"))
    again, _ = script.finished(cfg, torch.device("cpu"))
    assert images.shape[1:] == (64, 64, 3) and 2 <= len(images) == len(labels) <= 4
    assert np.array_equal(images, again)
    reading = SceneClassifier.from_pretrained(SHIPPED / "classifier").read(
        torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    )
    shapes = [attributes.OBJECT_FIELDS["shape"][row[0]] for row in labels.tolist()]
    assert [item.objects[0].shape for item in reading] == shapes
