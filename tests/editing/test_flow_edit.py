"""FlowEdit: what it leaves alone, where it leads, and what it costs."""

from dataclasses import replace

import pytest
import torch
import toy

from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.editing.flow_edit import FlowEdit
from fpinv.errors import UserError
from fpinv.schedule import Schedule


def noise(i):
    return toy.latents(seed=100 + i)


def other(guidance):
    """Return the condition of other prompts than those of ``toy.condition``."""
    c = toy.condition(guidance=guidance)
    return replace(c, prompt=Embedding(c.prompt.tokens.flip(0) + 1))


@pytest.mark.parametrize("guidance", [0, float("nan"), float("inf")])
def test_guidance_at_which_a_prompt_has_no_part_is_refused(guidance):
    for key in ("source_guidance", "target_guidance"):
        with pytest.raises(UserError, match=f"{key}={guidance} is not possible"):
            FlowEdit(**{key: guidance})


def test_equal_prompts_leave_the_image_alone():
    d, c = toy.denoiser(10, "flow"), toy.condition(guidance=2)
    assert torch.equal(FlowEdit()(d, toy.latents(), c, c, noise), toy.latents())
    edited = FlowEdit()(d, toy.latents(), c, other(2.0), noise)
    assert (edited - toy.latents()).abs().max() > 0.1


@pytest.mark.parametrize("start", [0.3, 1.0])
def test_a_network_sure_of_its_images_moves_by_their_difference(start):
    """Whatever the noise, and from wherever it starts: the last step lands on it."""
    images = toy.latents(2, seed=5)
    grid = Schedule.flow(10)

    def network(z, t, embedding):
        return (z - images[embedding.tokens.flatten().long()]) / (t[0] / 1000)

    def prompt(number):
        return Condition(Embedding(torch.full((3, 1, 1), float(number))))

    d = Denoiser(network, grid, torch.float64)
    edited = FlowEdit(start=start)(d, toy.latents(), prompt(0), prompt(1), noise)
    assert torch.allclose(edited, toy.latents() + images[1] - images[0], atol=1e-5)


@pytest.mark.parametrize(("start", "steps"), [(0.66, 7), (1.0, 10), (0.01, 1)])
def test_evaluation_counts(start, steps):
    d = toy.denoiser(10, "flow")
    FlowEdit(start=start)(d, toy.latents(), toy.condition(guidance=2), other(3.0), noise)
    assert d.calls == 2 * steps and d.rows == 12 * steps


def test_less_of_the_grid_keeps_more_of_the_picture():
    d, c = toy.denoiser(20, "flow"), toy.condition(guidance=2)
    moved = [
        (FlowEdit(start=s)(d, toy.latents(), c, other(2.0), noise) - toy.latents()).abs().mean()
        for s in (0.1, 0.4, 0.8)
    ]
    assert moved == sorted(moved)


def test_refuses_models_of_noise_and_impossible_settings():
    with pytest.raises(UserError, match=r"'epsilon'.*model=scenes_flow"):
        c = toy.condition()
        FlowEdit()(toy.denoiser(), toy.latents(), c, c, noise)
    for start in (0.0, 1.1):
        with pytest.raises(UserError, match="start="):
            FlowEdit(start=start)
