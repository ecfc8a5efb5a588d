"""Marks in noise: they are read where they are, by chance where they are not."""

import pytest
import torch
from scipy.stats import kstest

from fpinv.errors import UserError
from fpinv.watermarks.marks import GaussianShading, TreeRing

SHAPE = (4, 32, 32)


def noise(batch, seed=0):
    return torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mark", [TreeRing(), GaussianShading()], ids=repr)
def test_a_mark_is_read_where_it_is(mark):
    assert mark.read(mark.embed(noise(20)))["mark_p"].max() < 1e-4


@pytest.mark.parametrize("mark", [TreeRing(), GaussianShading()], ids=repr)
def test_the_mark_of_another_key_is_not_read(mark):
    other = type(mark)(key=1).embed(noise(20))
    assert mark.read(other)["mark_p"].median() > 0.01


def test_p_values_of_unmarked_noise_are_uniform():
    p = TreeRing().read(noise(400))["mark_p"].numpy()
    assert kstest(p, "uniform").pvalue > 0.001


def test_p_values_of_a_message_are_the_binomial_tail():
    """Exact: at most a share p of unmarked noise has a p-value of p."""
    p = GaussianShading(copies=128).read(noise(2000))["mark_p"]
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).double().mean() < level + 3 * (level * (1 - level) / 2000) ** 0.5


def test_rings_leave_the_other_channels_and_frequencies():
    z, mark = noise(3), TreeRing()
    marked = mark.embed(z)
    assert torch.equal(marked[:, :-1], z[:, :-1])
    before, after = (
        torch.fft.fftshift(torch.fft.fft2(x[:, -1]), dim=(-2, -1)) for x in (z, marked)
    )
    outside = ~mark._ring(z)
    # Its real part remains of the key, and with it that of frequencies opposite to the disc's.
    assert (before - after).abs()[:, outside].max() < 1e-2
    assert (before - after).abs()[:, ~outside].min() >= 0 and (before - after).abs().max() > 1


def test_a_message_changes_signs_alone_and_leaves_them_random():
    z, mark = noise(50), GaussianShading()
    marked = mark.embed(z)
    assert torch.equal(marked.abs(), z.abs())
    signs = marked[0].sign()
    assert abs(signs.mean()) < 0.05 and abs((signs[:, 1:] * signs[:, :-1]).mean()) < 0.05


@pytest.mark.parametrize("wrong", [0.1, 0.3])
def test_the_majority_of_copies_outvotes_wrong_signs(wrong):
    mark = GaussianShading(copies=64)
    marked = mark.embed(noise(10))
    flips = torch.rand(marked.shape, generator=torch.Generator().manual_seed(1)) < wrong
    read = mark.read(torch.where(flips, -marked, marked))
    assert read["bit_accuracy"].mean() > 0.99


def test_impossible_marks_are_refused():
    with pytest.raises(UserError, match="radius=0"):
        TreeRing(radius=0)
    with pytest.raises(UserError, match="copies=0"):
        GaussianShading(copies=0)
    with pytest.raises(UserError, match="copies=5000 is more than the 4096"):
        GaussianShading(copies=5000).embed(noise(1))
