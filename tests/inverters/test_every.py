"""Every inverter that conf/ names, on a toy network and on tiny pipelines."""

from pathlib import Path

import pipelines
import pytest
import torch
import toy
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from fpinv.inversion import Inversion
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.run.build import build
from fpinv.solvers import rms

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(file.stem for file in (CONF / "inverter").glob("*.yaml"))


@pytest.fixture(params=NAMES)
def inverter(request):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("config", overrides=[f"inverter={request.param}"]), "inverter")


@pytest.mark.parametrize("prediction", toy.PREDICTIONS)
@pytest.mark.parametrize("guidance", [0, 1, 3])
@pytest.mark.parametrize("steps", [1, 10, 11])
def test_inverts_samples_and_counts(inverter, steps, guidance, prediction):
    d, z = toy.denoiser(steps, prediction, 0.3), toy.latents()
    c = toy.condition(guidance=guidance)
    found = inverter.invert(d, z, c)
    assert d.rows == found.rows.sum()
    assert found.noise.shape == z.shape and found.noise.isfinite().all()
    back = inverter.sample(d, found, c)
    assert back.isfinite().all()
    if guidance == 1 or inverter.inversion_guidance is None:
        assert (rms(back - z) / rms(z) < 0.5).all()


def test_batch_equals_images_alone(inverter):
    toy.assert_batch_equals_images_alone(inverter)


def test_a_saved_inversion_samples_the_same(inverter, tmp_path):
    d, c = toy.denoiser(), toy.condition(guidance=2)
    found = inverter.invert(d, toy.latents(), c)
    found.save(tmp_path / "inversion.safetensors", {})
    loaded, _ = Inversion.load(tmp_path / "inversion.safetensors")
    assert torch.equal(inverter.sample(d, loaded, c), inverter.sample(d, found, c))


@pytest.fixture(scope="module", params=["sd15", "sd21", "sdxl"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    getattr(pipelines, f"tiny_{request.param}")(folder)
    return StableDiffusion(str(folder), name="tiny", device="cpu")


def test_works_on_pipelines(inverter, model, tmp_path):
    """In float32, with every part of an embedding; what was saved samples the same."""
    d, c = model.denoiser(3), model.condition(["a red circle", "two squares"], 2.0)
    z = torch.randn(2, *model.latent_shape)
    found = inverter.invert(d, z, c)
    assert d.rows == found.rows.sum() and not found.noise.requires_grad
    found.save(tmp_path / "inversion.safetensors", {})
    loaded, _ = Inversion.load(tmp_path / "inversion.safetensors")
    back = inverter.sample(d, loaded, c)
    assert back.dtype == torch.float32 and back.isfinite().all()
    assert torch.equal(back, inverter.sample(d, found, c))
