"""Guided Newton-Raphson inversion: true gradients, the prior, and what a step does."""

import pytest
import torch
import toy

from fpinv.denoiser import Denoiser
from fpinv.errors import UserError
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.newton import Newton


@pytest.mark.parametrize("prediction", toy.PREDICTIONS)
@pytest.mark.parametrize("guidance", [1, 3])
def test_one_iteration_is_ddim_bit_for_bit(prediction, guidance):
    d, z, c = toy.denoiser(10, prediction), toy.latents(), toy.condition(guidance=guidance)
    assert torch.equal(Newton(1).invert(d, z, c).noise, DDIM().invert(d, z, c).noise)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_step_is_the_papers_with_the_true_gradient(prediction):
    """Against finite differences of the objective, which see the whole network."""
    d, z, c = toy.denoiser(1, prediction, 0.5), toy.latents(1), toy.condition(1)
    ratio = d.schedule.alpha[1] / d.schedule.alpha[0]

    def g(x):
        return d.schedule.move(z, d.noise(x, 1, c), 0, 1)

    def objective(x):
        distance = (x - ratio * z).norm() / (1 - ratio**2)
        return (x - g(x)).abs().sum() + 0.1 * distance

    slope = torch.zeros(16, dtype=torch.float64)
    for j in range(16):
        nudge = torch.zeros(16, dtype=torch.float64)
        nudge[j] = 1e-6
        nudge = nudge.view_as(z)
        slope[j] = (objective(z + nudge) - objective(z - nudge)) / 2e-6
    x = z - objective(z) / (16 * slope.view_as(z))
    best = min((z, x), key=objective)
    inversion = Newton(2).invert(d, z, c)
    assert torch.allclose(inversion.noise, g(best), rtol=1e-6)


@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_evaluation_counts(guidance, iterations):
    d, c = toy.denoiser(), toy.condition(guidance=guidance)
    inversion = Newton(iterations).invert(d, toy.latents(), c)
    calls = iterations * 10
    assert inversion.calls.tolist() == [calls] * 3 and d.calls == calls
    assert (
        inversion.rows.tolist() == [calls * c.rows_per_sample] * 3
        and d.rows == inversion.rows.sum()
    )


def test_without_a_prior_the_residual_falls_with_the_iterations():
    d, z, c = toy.denoiser(20, scale=0.3), toy.latents(), toy.condition()
    residuals = [Newton(k, prior=0.0).invert(d, z, c).residual.mean() for k in (1, 2, 4, 8)]
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] < 0.2 * residuals[0]


def test_the_prior_keeps_the_root_near_the_forward_process():
    d, z, c = toy.denoiser(10, scale=1.0), toy.latents(), toy.condition(guidance=3)
    free, bound = (Newton(5, prior=p).invert(d, z, c) for p in (0.0, 10.0))
    assert (bound.residual.mean(0) > free.residual.mean(0)).all()


def test_a_tolerance_lets_finished_images_go():
    d, c = toy.denoiser(scale=0.3), toy.condition()
    z = toy.latents() * torch.tensor([1.0, 3.0, 0.1], dtype=torch.float64).view(3, 1, 1, 1)
    inverter = Newton(20, tolerance=0.02, prior=0.0)
    inversion = inverter.invert(d, z, c)
    assert len(set(inversion.calls.tolist())) > 1
    assert d.rows == inversion.rows.sum() and d.calls < inversion.calls.sum()
    assert torch.equal(inversion.converged, inversion.residual <= 0.02)
    toy.assert_batch_equals_images_alone(inverter)


def test_a_sample_that_leaves_has_the_value_that_met_the_tolerance():
    """Though the prior may make F less at a point before it."""
    d, c = toy.denoiser(50, scale=0.3), toy.condition()
    inversion = Newton(8, tolerance=0.01).invert(d, toy.latents(), c)
    early = inversion.iterations < 8
    assert early.any() and (inversion.residual[early] <= 0.01).all()
    assert inversion.converged[early].all()


def test_the_network_keeps_no_gradient_and_the_result_no_graph():
    layer = torch.nn.Conv2d(1, 1, 1, dtype=torch.float64)
    d = Denoiser(lambda z, t, e: layer(z), toy.schedule(5), dtype=torch.float64)
    inversion = Newton(3).invert(d, toy.latents(), toy.condition())
    assert layer.weight.grad is None and not inversion.noise.requires_grad
    assert not inversion.residual.requires_grad


def test_a_network_that_breaks_down_leaves_the_best_point():
    d, z, c = toy.denoiser(5), toy.latents(), toy.condition()
    calls, network = [], d.network

    def breaking(z, t, e):
        calls.append(t)
        return network(z, t, e) * (float("nan") if len(calls) % 2 == 0 else 1)

    d.network = breaking
    inversion = Newton(2).invert(d, z, c)
    assert torch.equal(inversion.noise, DDIM().invert(toy.denoiser(5), z, c).noise)
    assert inversion.converged is None


@pytest.mark.parametrize(
    "wrong",
    [{"iterations": 0}, {"tolerance": 0.0}, {"tolerance": -1.0}, {"prior": -1.0}, {"eta": -1.0}],
)
def test_refuses_impossible_settings(wrong):
    with pytest.raises(UserError, match="is not possible"):
        Newton(**wrong)
