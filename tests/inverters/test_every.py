"""Every inverter that conf/ names, on a toy network and on tiny pipelines."""

from dataclasses import replace
from itertools import product

import mixture
import pytest
import torch
import toy
from named_inverters import NAMES, build_inverter, needs_flow
from tiny_models import FAMILIES, tiny_model

from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.inverters.bdia import BDIA
from fpinv.inverters.belm import BELM
from fpinv.inverters.direct import Direct
from fpinv.inverters.edict import EDICT
from fpinv.inverters.edit_friendly import EditFriendly
from fpinv.inverters.fireflow import FireFlow
from fpinv.inverters.rf_inversion import RFInversion
from fpinv.inverters.stored_noises import StoredNoises
from fpinv.solvers import rms


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def inverter(name):
    return build_inverter(name)


@pytest.fixture
def home(name):
    """Return the toy family that an inverter is tried on: noise, or flow where it needs one."""
    return "flow" if needs_flow(name) else "epsilon"


def skip_unless_fit(home, prediction):
    if home == "flow" and prediction != "flow":
        pytest.skip("the inverter needs a rectified flow")


def inverted_or_refused(inverter, d, z, c):
    """Return the inversion; skip the test where a step with noise has none, in one line."""
    try:
        return inverter.invert(d, z, c)
    except UserError as error:
        assert isinstance(inverter, StoredNoises) and d.schedule.alpha[-1] == 0
        assert "forgets its latent" in str(error) and "\n" not in str(error)
        pytest.skip("the last step has no inverse")


@pytest.mark.parametrize("guidance", [0, 1, 3])
@pytest.mark.parametrize(
    ("steps", "family"),
    [*product((1, 11), ("epsilon", "flow")), *product((10,), toy.FAMILIES)],
)
def test_inverts_samples_and_counts(inverter, home, steps, guidance, family):
    skip_unless_fit(home, family)
    d, z = toy.denoiser(steps, family, 0.3), toy.latents()
    c = toy.condition(guidance=guidance)
    inversion = inverted_or_refused(inverter, d, z, c)
    assert d.rows == inversion.rows.sum()
    assert inversion.noise.shape == z.shape and inversion.noise.isfinite().all()
    back = inverter.sample(d, inversion, c)
    assert back.isfinite().all()
    # RF-Inversion leaves the path of the image for that of a noise.
    close = guidance == 1 or inverter.inversion_guidance is None
    if close and not isinstance(inverter, RFInversion):
        assert (rms(back - z) / rms(z) < 0.5).all()


@pytest.mark.parametrize("grid", mixture.GRIDS.values(), ids=mixture.GRIDS)
def test_is_finite_on_full_grids_and_exact_where_it_claims_to_be(inverter, home, grid):
    skip_unless_fit(home, grid.prediction)
    d, z, c = mixture.denoiser(grid), mixture.latents(4), mixture.condition(4)
    inversion = inverted_or_refused(inverter, d, z, c)
    back = inverter.sample(d, inversion, c)
    assert inversion.noise.isfinite().all() and back.isfinite().all()
    if isinstance(inverter, (BDIA, BELM, Direct, EDICT, EditFriendly)):
        assert torch.allclose(back, z, atol=1e-10)


def test_batch_equals_images_alone(inverter, home):
    toy.assert_batch_equals_images_alone(inverter, home)


def test_a_saved_inversion_samples_the_same(inverter, home, tmp_path):
    d, c = toy.denoiser(10, home), toy.condition(guidance=2)
    inversion = inverter.invert(d, toy.latents(), c)
    inversion.save(tmp_path / "inversion.safetensors", {})
    loaded, _ = Inversion.load(tmp_path / "inversion.safetensors")
    assert torch.equal(inverter.sample(d, loaded, c), inverter.sample(d, inversion, c))


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_sampling_hands_the_hook_each_latent_of_each_index(inverter, home, steps):
    d, c, indices = toy.denoiser(steps, home), toy.condition(guidance=3), []
    inversion = inverter.invert(d, toy.latents(), c)
    plain = inverter.sample(d, inversion, c)
    hooked = inverter.sample(d, inversion, c, on_step=lambda z, i: indices.append(i) or z)
    start = steps - int(getattr(inverter, "skip", 0) * steps)
    latents = 2 if isinstance(inverter, EDICT) else 1
    assert indices == [i for i in range(start - 1, -1, -1) for _ in range(latents)]
    assert torch.equal(hooked, plain)


def test_sampling_goes_on_with_what_the_hook_returns(inverter, home):
    """Two methods carry two latents of neighbouring indices, so that two indices are replaced.

    FireFlow carries a velocity that all latents before have had a part in.
    """
    d, c = toy.denoiser(5, home), toy.condition(guidance=3)
    inversion = inverter.invert(d, toy.latents(), c)
    inversion = replace(inversion, source=torch.zeros(3, dtype=torch.bool))
    elsewhere = replace(inversion, noise=inversion.noise + 1)

    def sampled(inversion, replaced):
        hook = lambda z, i: toy.latents(seed=i) if i in replaced else z  # noqa: E731
        return inverter.sample(d, inversion, c, on_step=hook)

    assert not torch.equal(sampled(inversion, ()), sampled(elsewhere, ()))
    if not isinstance(inverter, FireFlow):
        assert torch.equal(sampled(inversion, (2, 1)), sampled(elsewhere, (2, 1)))
    assert torch.equal(sampled(inversion, (0,)), toy.latents(seed=0))


@pytest.fixture(scope="module", params=list(FAMILIES))
def model(request, tmp_path_factory):
    return tiny_model(request.param, tmp_path_factory.mktemp(request.param))


def test_works_on_pipelines(inverter, home, model, tmp_path):
    """In float32, with every part of an embedding; what was saved samples the same."""
    steps = 10 if model.spacing == "trailing" else 3  # a trailing grid needs a divisor of 1000
    skip_unless_fit(home, model.denoiser(steps).schedule.prediction)
    d, c = model.denoiser(steps), model.condition(["a red circle", "two squares"], 2.0)
    z = torch.randn(2, *model.latent_shape)
    inversion = inverter.invert(d, z, c)
    assert d.rows == inversion.rows.sum() and not inversion.noise.requires_grad
    inversion.save(tmp_path / "inversion.safetensors", {})
    loaded, _ = Inversion.load(tmp_path / "inversion.safetensors")
    back = inverter.sample(d, loaded, c)
    assert back.dtype == torch.float32 and back.isfinite().all()
    assert torch.equal(back, inverter.sample(d, inversion, c))


@pytest.fixture(scope="module")
def turbo(tmp_path_factory):
    return tiny_model("sdxl_turbo", tmp_path_factory.mktemp("turbo"))


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_runs_on_few_steps(inverter, home, turbo, steps):
    """At guidance 1, which turbo models are made for."""
    skip_unless_fit(home, "epsilon")
    d, c = turbo.denoiser(steps), turbo.condition(["a red circle"], 1.0)
    z = torch.randn(1, *turbo.latent_shape, generator=torch.Generator().manual_seed(1))
    inversion = inverter.invert(d, z, c)
    back = inverter.sample(d, inversion, c)
    assert inversion.noise.isfinite().all() and back.isfinite().all()
    if isinstance(inverter, (BDIA, BELM, Direct, EDICT, EditFriendly)):
        assert torch.allclose(back, z, atol=1e-3)
