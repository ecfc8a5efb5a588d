"""The bundled model: it loads as Stable Diffusion does and orders inverters as the papers do."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

import fpinv.models.scenes
from fpinv.datasets.scenes import Scenes
from fpinv.inverters.adjustment import Grain, Unadjusted
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.ife import IFE
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.tasks.reconstruction import Reconstruction
from fpinv.tasks.task import Settings

FOLDER = Path(fpinv.models.scenes.__path__[0])
N = 4


@pytest.fixture(scope="module")
def model():
    return StableDiffusion("pkg://fpinv.models.scenes", name="scenes", device="cpu")


def test_the_weights_are_small_and_safe():
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 40e6
    assert max(file.stat().st_size for file in files) < 16e6
    assert not [f for f in files if f.suffix in (".bin", ".pt", ".ckpt", ".pkl")]


def test_a_stock_pipeline_loads_and_samples():
    pipeline = StableDiffusionPipeline.from_pretrained(FOLDER, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    generator = torch.Generator().manual_seed(0)
    image = pipeline(
        "a large red circle on a blue background",
        num_inference_steps=4,
        generator=generator,
        output_type="pt",
    ).images
    assert image.shape == (1, 3, 64, 64) and image.isfinite().all()


def test_the_grid_hides_the_mean_of_the_image(model):
    assert model.image_size == (64, 64) and model.latent_shape == (4, 16, 16)
    schedule = model.denoiser(50).schedule
    assert schedule.prediction == "epsilon"
    assert schedule.alpha[-1] < 0.03, "the end of the grid must hide the image's mean"


def test_the_weights_say_that_they_know_scenes_only(model):
    assert model.domain == "scenes"


def test_latents_of_scenes_are_standardised(model):
    dataset = Scenes(split="test")
    pixels = torch.stack([fpinv.square(dataset[k].open(), 64) for k in range(16)])
    z = model.encode(pixels)
    assert 0.8 < z.std() < 1.25 and z.mean().abs() < 0.2


@pytest.fixture(scope="module")
def measured(model):
    """Metrics by inverter on held-out scenes, at 20 steps and guidance 1."""
    dataset = Scenes(split="test", seed=1)
    examples = [dataset[k] for k in range(N)]
    inverters = {
        "ddim": DDIM(),
        "source": DDIM(label="source"),
        "literal": IFE(variant="literal"),
        "ife": IFE(),
        "fpi1": FixedPoint(1),
        "fpi3": FixedPoint(3),
        "fpi5": FixedPoint(5),
    }
    settings = Settings(steps=20, guidance=1.0, seed=0, batch_size=N)
    return {
        name: [r.metrics for r in Reconstruction()(model, inverter, examples, settings)]
        for name, inverter in inverters.items()
    }


def mean(rows, name):
    return sum(row[name] for row in rows) / len(rows)


def test_identities_between_methods_hold_on_the_real_network(measured):
    for a, b in (("ddim", "fpi1"), ("source", "literal")):
        for x, y in zip(measured[a], measured[b], strict=True):
            assert x["latent_psnr"] == pytest.approx(y["latent_psnr"], abs=0.05)


def test_iterations_close_the_gap_and_the_estimator_beats_ddim_at_its_cost(measured):
    latent = {name: mean(rows, "latent_psnr") for name, rows in measured.items()}
    assert latent["ddim"] + 3 < latent["ife"]
    assert latent["ddim"] + 3 < latent["fpi3"] < latent["fpi5"]
    assert mean(measured["ife"], "nfe_calls") == mean(measured["ddim"], "nfe_calls") == 20
    assert abs(mean(measured["fpi5"], "gap")) < 0.2 * mean(measured["ddim"], "gap")


def test_grain_makes_the_noise_of_plain_background_more_like_noise(model):
    dataset, settings = Scenes(split="test", seed=1), Settings(8, 1.0, seed=0, batch_size=2)

    def measure(adjustment):
        task, examples = Reconstruction(adjustment=adjustment), [dataset[k] for k in range(2)]
        return [r.metrics for r in task(model, FixedPoint(2), examples, settings)]

    plain, grained = measure(Unadjusted()), measure(Grain())
    correlation, variance = "noise_correlation_plain", "noise_variance_plain"
    assert mean(grained, correlation) < 0.6 * mean(plain, correlation)
    assert mean(plain, variance) + 0.1 < mean(grained, variance)
    assert mean(grained, "gap") - mean(plain, "gap") < 0.2


def test_the_ceiling_is_a_faithful_picture(measured):
    assert mean(measured["ddim"], "ceiling_psnr") > 24


def test_the_page_of_the_model_has_the_numbers_of_its_card(monkeypatch):
    recipe = Path(__file__).parents[2] / "experiments" / "training" / "scenes"
    monkeypatch.syspath_prepend(recipe)
    model_card = import_module("model_card")
    card = json.loads((FOLDER / "model_card.json").read_text())
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert model_card.inserted(page, card) == page
