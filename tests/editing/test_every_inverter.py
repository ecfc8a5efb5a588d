"""Prompt-to-prompt on every inverter that conf/ names, through its own way back."""

from dataclasses import replace

import pytest
import torch
from named_inverters import NAMES, build_inverter, needs_flow
from pipelines import tiny_sd15

from fpinv.editing.recipe import PromptToPrompt
from fpinv.editing.request import Edit
from fpinv.editing.sampling import plan_branches, sample_branches
from fpinv.inverters.direct import Direct
from fpinv.inverters.edict import EDICT
from fpinv.inverters.edit_friendly import EditFriendly
from fpinv.models.flow_reading import FlowReading
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.sampling import sample

SOURCE, TARGET = "a red star on white", "a blue star on white"
STEPS = 5
GUIDANCE = 3.5  # that at which edit_friendly brings its images back by default


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model in float64: coupled samplers magnify how the rounding of batch sizes differs."""
    return doubled(StableDiffusion, tiny_sd15(tmp_path_factory.mktemp("sd15")))


def doubled(kind, folder):
    model = kind(str(folder), name="tiny", device="cpu")
    model.pipeline.unet.double()
    model.dtype = torch.float64
    return model


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def inverter(name):
    return build_inverter(name)


@pytest.fixture(scope="module")
def home(model, name, tmp_path_factory):
    """Return the model that an inverter is tried on: one of noise, or a flow if it needs one."""
    if needs_flow(name):
        return doubled(FlowReading, tiny_sd15(tmp_path_factory.mktemp("flow")))
    return model


@pytest.fixture(scope="module")
def inversion(home, inverter):
    return inverted(home, inverter)


def inverted(model, inverter):
    generator = torch.Generator().manual_seed(1)
    z0 = torch.randn(1, *model.latent_shape, generator=generator, dtype=torch.float64)
    return inverter.invert(model.denoiser(STEPS), z0, model.condition([SOURCE], GUIDANCE))


def edited(model, inverter, inversion, *requests, guidance=GUIDANCE):
    branches = plan_branches(model, [SOURCE], [requests], PromptToPrompt())
    return sample_branches(model, inverter, inversion, branches, STEPS, GUIDANCE, guidance)


def alone(model, inverter, inversion, prompt=SOURCE, source=True):
    """Return the latents that the inverter samples from the inversion without any editing."""
    marked = replace(inversion, source=torch.tensor([source]))
    return inverter.sample(model.denoiser(STEPS), marked, model.condition([prompt], GUIDANCE))[0]


def assert_close(result, expected):
    assert expected.isfinite().all()
    assert (result - expected).abs().max() <= 1e-8 * expected.abs().max()


def test_identity_edit_equals_the_reconstruction(home, inverter, inversion):
    reconstruction = alone(home, inverter, inversion)
    request = Edit(SOURCE, blend=("star",), reweight={"red": 1})
    result = edited(home, inverter, inversion, SOURCE, request)
    assert_close(result.sources[0], reconstruction)
    if isinstance(inverter, Direct):  # whose targets miss what its source is corrected by
        assert (result.targets[0] - reconstruction).abs().max() > 1e-3
        return
    for target in result.targets:
        assert_close(target, reconstruction)


def test_target_without_controllers_equals_plain_guided_sampling(home, inverter, inversion):
    result = edited(home, inverter, inversion, Edit(TARGET, controllers=()))
    assert_close(result.targets[0], alone(home, inverter, inversion, TARGET, source=False))


def test_controllers_blend_and_guidance_change_the_targets(home, inverter, inversion):
    held = Edit(TARGET, blend=("blue",))
    free = edited(home, inverter, inversion, Edit(TARGET, controllers=())).targets[0]
    result = edited(home, inverter, inversion, TARGET, held)
    background = ~result.masks[1]
    assert (result.targets[0] - free).abs().max() > 1e-4
    assert torch.equal(result.targets[1][:, background], result.sources[0][:, background])
    strong = edited(home, inverter, inversion, TARGET, guidance=9.0)
    assert (strong.targets[0] - result.targets[0]).abs().max() > 1e-3
    assert_close(strong.sources[0], alone(home, inverter, inversion))


@pytest.mark.parametrize("name", ["fpi", "edict", "null_text"])
def test_guidance_of_branches_is_computed_in_the_precision_of_latents(name, tmp_path):
    """A guidance of each row that was rounded to bf16 with the outputs moved sources by 4 %."""
    half = StableDiffusion(str(tiny_sd15(tmp_path)), device="cpu", precision="bf16")
    inverter = build_inverter(name)
    z0 = torch.randn(1, *half.latent_shape, generator=torch.Generator().manual_seed(1))
    weak, strong = 3.29, 7.3  # bf16 has no such numbers
    condition = half.condition([SOURCE], weak)
    inversion = inverter.invert(half.denoiser(STEPS), z0, condition)
    branches = plan_branches(half, [SOURCE], [[TARGET]], PromptToPrompt())
    arguments = half, inverter, inversion, branches, STEPS, weak, strong
    source = sample_branches(*arguments).sources[0]
    marked = replace(inversion, source=torch.tensor([True]))
    (expected,) = inverter.sample(half.denoiser(STEPS), marked, condition)
    assert (source - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize(
    ("part", "top"),
    [(EDICT(strength=0.5), STEPS // 2), (EditFriendly(skip=0.5), STEPS - STEPS // 2)],
)
def test_parts_of_the_sampling_are_parts_of_what_is_sampled(model, part, top):
    """A tenth of the sampling from the middle of the grid is not a part that is over by then."""
    moments = []

    def watch(plan, source, target, moment):
        moments.append((moment.number, moment.steps))
        return plan

    edited(model, part, inverted(model, part), Edit(TARGET, controllers=(watch,)))
    trial, *sampling = moments
    assert trial == (0, 1) and sampling == [(number, top) for number in range(top + 1)]


@pytest.fixture(scope="module")
def path(model):
    """The inversion by ``direct``."""
    return inverted(model, Direct())


def plain_path(model, noise, prompt):
    """Return the latents that plain sampling passes through, from clean to noisy."""
    denoiser, latents = model.denoiser(STEPS), []
    condition = model.condition([prompt], GUIDANCE)
    with torch.no_grad():
        sample(denoiser, noise, condition, on_step=lambda z, i: latents.append(z) or z)
    return torch.stack(latents[::-1], 1)


def test_source_branch_of_direct_equals_the_inverted_latents(model, path):
    """This holds for any network, and beside targets that are controlled, blended and free."""
    requests = TARGET, Edit(TARGET, blend=("star",)), Edit(TARGET, controllers=())
    result = edited(model, Direct(), path, *requests)
    assert_close(result.sources, path.state["path"][:, 0])
    free = plain_path(model, path.noise, TARGET)[0, 0]
    assert_close(result.targets[2], free)
    for controlled in result.targets[:2]:
        assert (controlled - free).abs().max() > 1e-4
    assert (plain_path(model, path.noise, SOURCE)[0, 0] - result.sources[0]).abs().max() > 1e-3


def test_branches_of_direct_are_equal_without_corrections(model, path):
    steady = replace(path, state={"path": plain_path(model, path.noise, SOURCE)})
    result = edited(model, Direct(), steady, SOURCE)
    assert_close(result.targets, result.sources)
    assert_close(result.sources, steady.state["path"][:, 0])
