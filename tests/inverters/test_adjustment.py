import pytest
import torch
import toy

from fpinv.denoiser import Denoiser
from fpinv.errors import UserError
from fpinv.inverters.adjustment import Grain, PromptAware, Unadjusted
from fpinv.solvers import rms


def test_unadjusted_is_the_identity():
    z = toy.latents()
    assert Unadjusted()(toy.denoiser(), z, toy.condition(), torch.randn_like(z)) is z


def test_grain_is_noise_where_latents_are_plain():
    z, noise = torch.zeros(2, 4, 16, 16), torch.randn(2, 4, 16, 16)
    z[:, 2, :, 8:] = 0.29
    z[0, 1, 4, 4] = 0.31
    d = toy.denoiser()
    change = Grain()(d, z, toy.condition(2), noise) - z
    cross = torch.zeros(16, 16, dtype=torch.bool)
    cross[3:6, 4], cross[4, 3:6] = True, True
    assert (change[0][:, cross] == 0).all() and d.calls == 0
    assert torch.allclose(change[0][:, ~cross], 0.022 * noise[0][:, ~cross], atol=1e-6)
    assert torch.allclose(change[1], 0.022 * noise[1], atol=1e-6)
    assert torch.equal(Grain(level=0.0)(d, z, toy.condition(2), noise), z)


def test_grain_of_less_than_nothing_is_refused():
    with pytest.raises(UserError, match="at least 0"):
        Grain(level=-0.1)


@pytest.mark.parametrize(("noise", "calls"), [("sdedit", 4), ("ddim", 8)])
def test_evaluation_count(noise, calls):
    d, z = toy.denoiser(), toy.latents()
    PromptAware(noise=noise)(d, z, toy.condition(guidance=2), torch.randn_like(z))
    assert (d.calls, d.rows) == (calls, calls * 6)


def test_sdedit_noising_equals_diffusers():
    from diffusers import DDIMScheduler

    d, z, seen = toy.denoiser(), toy.latents(), []
    d.network = lambda x, t, e: seen.append((x.clone(), int(t[0]))) or torch.zeros_like(x)
    noise = torch.randn_like(z)
    PromptAware(rounds=1)(d, z, toy.condition(), noise)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    x, t = seen[0]
    expected = scheduler.add_noise(z, noise, torch.tensor([t]))
    assert torch.allclose(x, expected, atol=1e-5)


def test_a_perfect_denoiser_moves_latents_towards_the_data():
    grid = toy.schedule(10)
    network = toy.Gaussian(grid)
    d = Denoiser(network, grid, dtype=torch.float64)
    z = torch.full((4, 1, 1, 1), 3.0, dtype=torch.float64)
    adjusted = PromptAware(rounds=4, depth=4)(d, z, toy.condition(4), torch.zeros_like(z))
    assert ((adjusted - network.mean).abs() < (z - network.mean).abs()).all()


def test_ddim_noise_keeps_what_an_exact_inversion_would_keep():
    """With noise that solves the sampler's own steps h is the identity; ddim noise comes near."""
    d, z, c = toy.denoiser(50, scale=0.3), toy.latents(), toy.condition()
    near = PromptAware(noise="ddim")(d, z, c, torch.zeros_like(z))
    far = PromptAware(noise="sdedit")(d, z, c, torch.randn_like(z))
    assert rms(near - z).max() < 0.1 * rms(far - z).min()


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"depth": 0}, {"noise": "x"}])
def test_refuses_unknown_settings(wrong):
    with pytest.raises(UserError):
        PromptAware(**wrong)


def test_refuses_more_depth_than_steps():
    z = toy.latents()
    with pytest.raises(UserError, match="depth=11"):
        PromptAware(depth=11)(toy.denoiser(), z, toy.condition(), z)
