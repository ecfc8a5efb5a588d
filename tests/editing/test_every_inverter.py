"""Prompt-to-prompt on every inverter that conf/ names, through its own way back."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from pipelines import tiny_sd15

from fpinv.editing.recipe import PromptToPrompt
from fpinv.editing.request import Edit
from fpinv.editing.sampling import plan_branches, sample_branches
from fpinv.inverters.direct import Direct
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.run.build import build
from fpinv.sampling import sample

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(file.stem for file in (CONF / "inverter").glob("*.yaml"))
SOURCE, TARGET = "a red star on white", "a blue star on white"
STEPS = 5
GUIDANCE = 3.5  # that at which edit_friendly brings its images back by default


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """In float64: a coupled sampler magnifies how the rounding of batches of two sizes differs."""
    folder = tiny_sd15(tmp_path_factory.mktemp("sd15"))
    model = StableDiffusion(str(folder), name="tiny", device="cpu")
    model.pipeline.unet.double()
    model.dtype = torch.float64
    return model


@pytest.fixture(scope="module", params=NAMES)
def inverter(request):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("config", overrides=[f"inverter={request.param}"]), "inverter")


@pytest.fixture(scope="module")
def inversion(model, inverter):
    return inverted(model, inverter)


def inverted(model, inverter):
    generator = torch.Generator().manual_seed(1)
    z0 = torch.randn(1, *model.latent_shape, generator=generator, dtype=torch.float64)
    return inverter.invert(model.denoiser(STEPS), z0, model.condition([SOURCE], GUIDANCE))


def edited(model, inverter, inversion, *wishes, guidance=GUIDANCE):
    branches = plan_branches(model, [SOURCE], [wishes], PromptToPrompt())
    return sample_branches(model, inverter, inversion, branches, STEPS, GUIDANCE, guidance)


def alone(model, inverter, inversion, prompt=SOURCE, source=True):
    """What the inverter makes of the inversion without any editing."""
    asked = replace(inversion, source=torch.tensor([source]))
    return inverter.sample(model.denoiser(STEPS), asked, model.condition([prompt], GUIDANCE))[0]


def assert_close(found, expected):
    assert expected.isfinite().all()
    assert (found - expected).abs().max() <= 1e-8 * expected.abs().max()


def test_the_identity_edit_is_the_reconstruction(model, inverter, inversion):
    reconstruction = alone(model, inverter, inversion)
    asked = Edit(SOURCE, blend=("star",), reweight={"red": 1})
    found = edited(model, inverter, inversion, SOURCE, asked)
    assert_close(found.sources[0], reconstruction)
    if isinstance(inverter, Direct):  # whose targets miss what its source is corrected by
        assert (found.targets[0] - reconstruction).abs().max() > 1e-3
        return
    for target in found.targets:
        assert_close(target, reconstruction)


def test_without_controllers_a_target_is_plain_guided_sampling(model, inverter, inversion):
    found = edited(model, inverter, inversion, Edit(TARGET, controllers=()))
    assert_close(found.targets[0], alone(model, inverter, inversion, TARGET, source=False))


def test_controllers_blends_and_a_guidance_of_their_own_reach_the_targets(
    model, inverter, inversion
):
    held = Edit(TARGET, blend=("blue",))
    free = edited(model, inverter, inversion, Edit(TARGET, controllers=())).targets[0]
    found = edited(model, inverter, inversion, TARGET, held)
    background = ~found.masks[1]
    assert (found.targets[0] - free).abs().max() > 1e-4
    assert torch.equal(found.targets[1][:, background], found.sources[0][:, background])
    strong = edited(model, inverter, inversion, TARGET, guidance=9.0)
    assert (strong.targets[0] - found.targets[0]).abs().max() > 1e-3
    assert_close(strong.sources[0], alone(model, inverter, inversion))


@pytest.fixture(scope="module")
def path(model):
    """An inversion by ``direct``."""
    return inverted(model, Direct())


def plain_path(model, noise, prompt):
    """The latents that plain sampling passes through, from clean to noisy."""
    denoiser, latents = model.denoiser(STEPS), []
    condition = model.condition([prompt], GUIDANCE)
    with torch.no_grad():
        sample(denoiser, noise, condition, on_step=lambda z, i: latents.append(z) or z)
    return torch.stack(latents[::-1], 1)


def test_the_source_of_direct_is_the_latent_that_was_inverted(model, path):
    """Whatever the network says, and beside targets that are controlled, blended and free."""
    wishes = TARGET, Edit(TARGET, blend=("star",)), Edit(TARGET, controllers=())
    found = edited(model, Direct(), path, *wishes)
    assert_close(found.sources, path.state["path"][:, 0])
    free = plain_path(model, path.noise, TARGET)[0, 0]
    assert_close(found.targets[2], free)
    for controlled in found.targets[:2]:
        assert (controlled - free).abs().max() > 1e-4
    assert (plain_path(model, path.noise, SOURCE)[0, 0] - found.sources[0]).abs().max() > 1e-3


def test_with_nothing_to_correct_all_branches_of_direct_are_one(model, path):
    steady = replace(path, state={"path": plain_path(model, path.noise, SOURCE)})
    found = edited(model, Direct(), steady, SOURCE)
    assert_close(found.targets, found.sources)
    assert_close(found.sources, steady.state["path"][:, 0])
