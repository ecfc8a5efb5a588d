from dataclasses import replace

import pytest
import torch
import toy

from fpinv import BELM, EDICT, IFE, Auto, FixedPoint, NegativePrompt, Newton, NullText
from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.errors import UserError


def test_guidance_is_linear_between_null_and_prompt():
    d, z = toy.denoiser(), toy.latents()
    at = {w: d(z, 5, toy.condition(guidance=w)) for w in (0, 1, 3, -0.5)}
    for w in (3, -0.5):
        assert torch.allclose(at[w], at[0] + w * (at[1] - at[0]))


def test_each_sample_may_have_its_own_guidance():
    d, z, c = toy.denoiser(), toy.latents(), toy.condition()
    each = replace(c, guidance=torch.tensor([1.0, 3.0, 0.0]))
    m = d(z, 5, each)
    for k, w in enumerate((1.0, 3.0, 0.0)):
        assert torch.allclose(m[k], d(z, 5, replace(c, guidance=w))[k])
    rows = torch.tensor([2, 1])
    assert torch.allclose(d(z[rows], 5, each[rows]), m[rows])
    assert each.rows_per_sample == 2
    with pytest.raises(UserError, match="null prompt"):
        Condition(c.prompt, None, torch.ones(3))


@pytest.mark.parametrize("guidance", [1, 3])
def test_prompts_of_another_number_of_images_are_refused(guidance):
    c = toy.condition(guidance=guidance)
    with pytest.raises(UserError, match="1 prompts for 3 latents"):
        toy.denoiser()(toy.latents(), 5, c[:1])


def test_noise_is_what_the_output_implies():
    z, c = toy.latents(), toy.condition(guidance=3)
    eps = [toy.denoiser(10, p).noise(z, 5, c) for p in toy.PREDICTIONS]
    assert torch.allclose(eps[0], eps[1]) and torch.allclose(eps[0], eps[2])


@pytest.mark.parametrize(("guidance", "rows"), [(0, 3), (1, 3), (7.5, 6)])
def test_counts_calls_and_rows(guidance, rows):
    d = toy.denoiser()
    d(toy.latents(), 1, toy.condition(guidance=guidance))
    assert (d.calls, d.rows) == (1, rows)
    assert toy.condition(guidance=guidance).rows_per_sample == rows / 3


def test_rows_of_a_batch_are_independent():
    d, z, c = toy.denoiser(), toy.latents(), toy.condition(guidance=3)
    rows = torch.tensor([2, 0])
    assert torch.allclose(d(z[rows], 4, c[rows]), d(z, 4, c)[rows])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_network_runs_in_its_precision_and_latents_keep_theirs(dtype):
    seen = []

    def network(z, t, embedding):
        seen.append(z.dtype)
        return z * 0.5

    d = Denoiser(network, toy.schedule(5), dtype=dtype)
    out = d(torch.randn(2, *toy.SHAPE), 1, Condition(Embedding(torch.zeros(2, 1, 8))))
    assert seen == [dtype] and out.dtype == torch.float32


def test_the_network_gets_the_label_of_the_grid_index_for_every_row():
    labels = []
    d = Denoiser(lambda z, t, e: labels.append(t) or z, toy.schedule(10), dtype=torch.float64)
    for i in range(11):
        d(toy.latents(), i, toy.condition())
    assert [t.tolist() for t in labels] == [[label] * 3 for label in d.schedule.timestep]


def test_null_rows_come_first():
    got = []
    d = Denoiser(lambda z, t, e: got.append(e) or z, toy.schedule(5), dtype=torch.float64)
    c = toy.condition(guidance=2)
    d(toy.latents(), 1, c)
    assert torch.equal(got[0].tokens, torch.cat([c.null.tokens, c.prompt.tokens]))


def test_records_that_differ_in_what_samples_share_are_not_joined():
    c = toy.condition()
    assert len(Condition.cat([c, c]).prompt) == 2 * len(c.prompt)
    with pytest.raises(UserError, match="1.0 and 7.5 cannot be joined"):
        Condition.cat([replace(c, guidance=1.0), replace(c, guidance=7.5)])
    numbered = replace(c, images=torch.arange(len(c.prompt)))
    for pair in ([c, numbered], [numbered, c]):
        with pytest.raises(UserError, match="cannot be joined"):
            Condition.cat(pair)


def test_guidance_without_null_is_refused():
    with pytest.raises(UserError, match="guidance=2"):
        replace(Condition(Embedding(torch.zeros(1, 1, 8))), guidance=2)


def test_embedding_carries_the_parts_of_stable_diffusion_xl():
    e = Embedding(torch.randn(1, 2, 3), torch.randn(1, 4))
    both = Embedding.cat([e.expand(2), e])
    assert len(both) == 3 and both.pooled.shape == (3, 4)
    assert torch.equal(both[2:].tokens, e.tokens)


def class_network():
    """Return a denoiser of class labels (B,), and the condition of three images."""
    means = torch.linspace(-1, 1, 4, dtype=torch.float64)

    def network(z, t, embedding):
        shift = means[embedding.tokens] * t / 1000
        return torch.tanh(0.3 * z + shift.view(-1, 1, 1, 1))

    labels = Embedding(torch.tensor([0, 1, 2])), Embedding(torch.tensor([3, 3, 3]))
    return Denoiser(network, toy.schedule(10), torch.float64), Condition(*labels, guidance=2.0)


def test_class_labels_are_an_embedding_for_every_iteration():
    d, c = class_network()
    for inverter in (FixedPoint(30), IFE(), Auto(), Newton(), NegativePrompt(), EDICT(), BELM()):
        z = toy.latents()
        error = toy.error(inverter, d, z, c)
        assert error.isfinite().all()
        if isinstance(inverter, FixedPoint | EDICT | BELM):
            assert error.max() < 1e-9, inverter


def test_class_labels_without_a_gradient_are_refused_by_null_text():
    d, c = class_network()
    with pytest.raises(UserError, match="class labels, without a gradient"):
        NullText().invert(d, toy.latents(), c)


def test_a_guidance_of_each_sample_is_on_the_device_of_the_prompts():
    with pytest.raises(UserError, match="guidance is on meta, the prompts are on cpu"):
        replace(toy.condition(), guidance=torch.ones(3, device="meta"))


def test_the_condition_of_all_samples_is_itself_with_its_embedding():
    c = toy.condition(guidance=3)
    assert c[slice(None)].embedding is c.embedding
    assert len(c[slice(1, 3)].prompt) == 2
