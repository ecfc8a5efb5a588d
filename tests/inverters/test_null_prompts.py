"""Null-text and negative-prompt inversion: ddim's path at guidance 1, kept under any guidance."""

from dataclasses import replace

import pytest
import torch
import toy

from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.errors import UserError
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.negative_prompt import NegativePrompt
from fpinv.inverters.null_text import NullText
from fpinv.sampling import sample
from fpinv.solvers import rms


def close_guidance(guidance: float = 7.5) -> Condition:
    """Prompts so near to the null prompt that a few Adam steps make up for the guidance."""
    c = toy.condition(guidance=guidance)
    return replace(c, null=Embedding(c.prompt.tokens + 0.02 * torch.sign(c.prompt.tokens)))


@pytest.mark.parametrize("prediction", toy.PREDICTIONS)
@pytest.mark.parametrize("guidance", [0, 3, 7.5])
def test_negative_prompt_at_any_guidance_is_guidance_one(prediction, guidance):
    d, z, c = toy.denoiser(10, prediction), toy.latents(), toy.condition(guidance=guidance)
    inversion = NegativePrompt().invert(d, z, c)
    ddim = DDIM().invert(d, z, replace(c, guidance=1.0))
    assert torch.equal(inversion.noise, ddim.noise) and torch.equal(inversion.rows, ddim.rows)
    plain = sample(d, ddim.noise, replace(c, guidance=1.0))
    assert torch.allclose(NegativePrompt().sample(d, inversion, c), plain, rtol=1e-10)


def test_negative_prompt_keeps_the_source_prompt_when_the_target_changes():
    d, z, c = toy.denoiser(), toy.latents(), toy.condition(guidance=3)
    inversion = NegativePrompt().invert(d, z, c)
    target = Embedding(c.prompt.tokens.flip(0))
    edited = NegativePrompt().sample(d, inversion, replace(c, prompt=target))
    expected = sample(d, inversion.noise, Condition(target, c.prompt, 3))
    assert torch.equal(edited, expected)
    assert inversion.stored_numbers == c.prompt.tokens[0].numel()


@pytest.mark.parametrize("prediction", toy.PREDICTIONS)
def test_null_text_without_inner_steps_is_ddim_and_plain_guidance(prediction):
    d, z, c = toy.denoiser(10, prediction), toy.latents(), toy.condition(guidance=7.5)
    inversion = NullText(0).invert(d, z, c)
    ddim = DDIM().invert(d, z, replace(c, guidance=1.0))
    assert torch.equal(inversion.noise, ddim.noise)
    assert torch.equal(inversion.calls, ddim.calls) and torch.equal(inversion.rows, ddim.rows)
    assert torch.equal(NullText(0).sample(d, inversion, c), sample(d, ddim.noise, c))
    assert inversion.stored_numbers == 10 * c.null.tokens[0].numel()


def test_null_text_has_nothing_to_optimise_at_guidance_one():
    d, z, c = toy.denoiser(), toy.latents(), toy.condition(guidance=1)
    inversion = NullText().invert(d, z, c)
    assert inversion.calls.tolist() == [10] * 3 and d.calls == 10
    assert torch.equal(NullText().sample(d, inversion, c), sample(d, inversion.noise, c))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_null_text_brings_guided_sampling_back_to_the_path(prediction):
    d, z, c = toy.denoiser(50, prediction, 0.5), toy.latents(), close_guidance()
    path = rms(sample(d, NullText(0).invert(d, z, c).noise, replace(c, guidance=1.0)) - z)
    errors = [toy.error(NullText(k, tolerance=0, growth=0), d, z, c).max() for k in (0, 2, 20)]
    assert errors[1] < errors[0] and errors[2] < 0.2 * errors[0]
    assert errors[2] < 2 * (path / rms(z)).max()


def test_null_text_samples_as_it_optimised():
    """The latents that sampling passes are those that the embeddings were made for."""
    d, z, c = toy.denoiser(5), toy.latents(), toy.condition(guidance=3)
    inverter, seen = NullText(3), []
    inversion = inverter.invert(d, z, c)
    x, steps = inversion.noise, []
    for i in range(5, 0, -1):
        null = Embedding(inversion.state["null"][:, i - 1])
        x = d.schedule.transfer(x, d(x, i, replace(c, null=null)), i, i - 1)
        steps.append(x)
    network = d.network
    d.network = lambda z, t, e: seen.append(z[3:]) or network(z, t, e)
    assert torch.allclose(inverter.sample(d, inversion, c), steps[-1], rtol=1e-12)
    assert all(torch.allclose(a, b) for a, b in zip(seen[1:], steps, strict=False))


def test_null_text_is_the_optimisation_of_its_authors():
    """Against the algorithm written down for one image: Adam, its rate, warm start, stopping."""
    d, z, c = toy.denoiser(10, scale=0.3), toy.latents(1), close_guidance(3.0)[:1]
    inversion = NullText(4, tolerance=1e-4, growth=1e-4).invert(d, z, c)
    pivots = [z]
    for i in range(1, 11):
        m = d(pivots[-1], i, replace(c, guidance=1.0))
        pivots.append(d.schedule.preimage(pivots[-1], m, i))
    null, x, evaluations = c.null.tokens.clone(), pivots[-1], 0
    for k, i in enumerate(range(10, 0, -1)):
        null = null.detach().requires_grad_()
        adam = torch.optim.Adam([null], lr=1e-2 * (1 - k / 100))
        for _ in range(4):
            m = d(x, i, replace(c, null=Embedding(null)))
            loss = (d.schedule.transfer(x, m, i, i - 1) - pivots[i - 1]).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            evaluations += 1
            if loss < 1e-4 + 1e-4 * k:
                break
        assert torch.allclose(inversion.state["null"][:, i - 1], null, rtol=1e-9)
        x = d.schedule.transfer(x, d(x, i, replace(c, null=Embedding(null.detach()))), i, i - 1)
    assert inversion.calls.tolist() == [30 + evaluations] and 10 < evaluations < 40


def test_null_text_counts_evaluations_per_image_and_lets_the_finished_go():
    d, z, c = toy.denoiser(10, scale=0.3), toy.latents(), close_guidance(3.0)
    inversion = NullText(10, tolerance=1e-3, growth=0).invert(d, z, c)
    assert len(set(inversion.calls.tolist())) > 1
    assert torch.equal(inversion.calls, inversion.rows)
    assert d.rows == inversion.rows.sum() and d.calls < inversion.calls.sum()
    never = NullText(10, tolerance=0, growth=0).invert(toy.denoiser(10, scale=0.3), z, c)
    assert never.calls.tolist() == [(1 + 1 + 10 + 1) * 10] * 3
    assert (inversion.calls < never.calls).all()


def test_null_text_batch_equals_images_alone():
    """Also where one image stops long before the others."""
    d, z, c = toy.denoiser(10, scale=0.3), toy.latents(), close_guidance(3.0)
    inverter = NullText(10, tolerance=1e-3, growth=0)
    together = inverter.invert(d, z, c)
    for k in range(3):
        alone = inverter.invert(d, z[k : k + 1], c[k : k + 1])
        assert torch.allclose(alone.state["null"], together.state["null"][k : k + 1], rtol=1e-9)
        assert torch.equal(alone.calls, together.calls[k : k + 1])


def test_null_text_asks_for_what_it_needs():
    z, c = toy.latents(), toy.condition()
    with pytest.raises(UserError, match="null prompt"):
        NullText().invert(toy.denoiser(), z, Condition(c.prompt))
    half = Denoiser(lambda z, t, e: z, toy.schedule(5), dtype=torch.float16)
    with pytest.raises(UserError, match="precision=fp32"):
        NullText().invert(half, z, toy.condition(guidance=3))


def test_a_guidance_for_each_image_is_refused_by_null_text():
    each = replace(close_guidance(), guidance=torch.tensor([1.0, 3.0, 7.5]))
    with pytest.raises(UserError, match="null_text takes one guidance for all images"):
        NullText().invert(toy.denoiser(4), toy.latents(), each)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: NullText(inner_steps=-1),
        lambda: NullText(learning_rate=-0.01),
        lambda: NullText(tolerance=float("nan")),
        lambda: NullText(growth=-1.0),
        lambda: NegativePrompt(inversion_guidance=None),
        lambda: NegativePrompt(inversion_guidance=3.0),
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UserError, match="is not possible"):
        wrong()
