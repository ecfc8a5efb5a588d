"""Marks in noise: they are read where they are, by chance where they are not."""

import pytest
import torch
from scipy.stats import binom

from fpinv.errors import UserError
from fpinv.watermarks.marks import GaussianShading, TreeRing

SHAPE = (4, 32, 32)
MARKS = pytest.mark.parametrize("mark", [TreeRing(), GaussianShading()], ids=repr)


def noise(batch, shape=SHAPE, seed=0):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed))


def names(batch):
    return [f"image {k}" for k in range(batch)]


def spectrum(x):
    return torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1))


def assert_share(found, level):
    """Assert that a share of the draws is ``level``: two in a thousand shares are further off."""
    low, high = binom.interval(0.998, len(found), level)
    assert low <= found.sum().item() <= high, (found.double().mean().item(), level)


@MARKS
def test_a_mark_is_read_where_it_is(mark):
    marked = mark.embed(noise(20), names(20))
    assert mark.read(marked, names(20))["mark_p"].max() < 1e-9


def test_the_distance_from_the_key_is_none_where_it_is_and_large_in_plain_noise():
    """In plain noise a number in the disc has the variance h w, the key half of that."""
    mark, z = TreeRing(), noise(20)
    marked = mark.read(mark.embed(z, names(20)), names(20))["mark_distance"]
    plain = mark.read(z, names(20))["mark_distance"]
    assert marked.max() < 1e-3
    assert plain.min() > 0.5 * 32 and plain.max() < 3 * 32


@MARKS
def test_the_mark_of_another_key_is_not_read(mark):
    others = [type(mark)(key=key).embed(noise(20), names(20)) for key in range(1, 20)]
    p = torch.cat([mark.read(other, names(20))["mark_p"] for other in others])
    assert p.median() > 0.1


@MARKS
def test_a_mark_does_not_depend_on_the_batch(mark):
    z, ids = noise(3), names(3)
    marked = mark.embed(z, ids)
    assert torch.allclose(marked[1:], mark.embed(z[1:], ids[1:]), atol=1e-6)
    together, alone = mark.read(z, ids), mark.read(z[1:], ids[1:])
    for name, values in together.items():
        assert torch.allclose(values[1:], alone[name], rtol=1e-5)


@pytest.mark.parametrize("key", range(4))
def test_p_values_of_unmarked_noise_are_uniform(key):
    p = TreeRing(key=key).read(noise(10_000, (1, 32, 32), seed=key), names(10_000))["mark_p"]
    for level in (0.01, 0.05, 0.5):
        assert_share(p < level, level)


def test_p_values_do_not_depend_on_the_scale_of_the_noise():
    z = noise(20) + 0.5 * TreeRing().embed(noise(20, seed=1), names(20))
    p, scaled = (TreeRing().read(x, names(20))["mark_p"] for x in (z, 0.1 * z))
    assert torch.allclose(p, scaled, rtol=1e-4)


@pytest.mark.parametrize("copies", [64, 63])
def test_p_values_of_a_message_are_the_binomial_tail(copies):
    """Exact at the levels that there are, also where signs of an even number may be a draw."""
    p = GaussianShading(copies).read(noise(4000, (1, 32, 32)), names(4000))["mark_p"]
    levels = binom.sf(range(-1, 16), 16, 0.5)
    assert all(abs(levels - value).min() < 1e-12 for value in p.unique().numpy())
    for level in levels[7:15]:
        assert_share(p <= level + 1e-12, level)
    assert (p < 0.01).double().mean() < 0.01


def test_a_key_lies_in_the_disc_and_is_constant_on_rings():
    z, mark = noise(3), TreeRing()
    marked = mark.embed(z, names(3))
    assert torch.equal(marked[:, :-1], z[:, :-1])
    rows, columns = torch.meshgrid(*[torch.arange(-16.0, 16)] * 2, indexing="ij")
    distance = (rows.square() + columns.square()).sqrt()
    before, after = spectrum(z[:, -1]), spectrum(marked[:, -1])
    outside = distance > 5
    assert (before - after).abs()[:, outside].max() < 1e-4
    assert (before - after).abs()[:, ~outside].min() > 1e-2
    rings = [after[:, (distance > i) & (distance <= i + 1)] for i in range(5)]
    values = torch.stack([ring[0, 0] for ring in rings])
    assert all(
        (ring - value).abs().max() < 1e-4 for ring, value in zip(rings, values, strict=True)
    )
    assert (after[:, 16, 16] - values[0]).abs().max() < 1e-4
    assert len(values.real.round(decimals=2).unique()) == 5


def test_a_message_changes_signs_alone_and_leaves_them_random():
    z, mark = noise(50), GaussianShading()
    marked = mark.embed(z, names(50))
    assert torch.equal(marked.abs(), z.abs())
    signs = marked[0].sign()
    assert abs(signs.mean()) < 0.05 and abs((signs[:, 1:] * signs[:, :-1]).mean()) < 0.05


def test_messages_of_two_images_are_independent():
    marked = GaussianShading().embed(noise(50), names(50)).flatten(1)
    correlation = torch.corrcoef(marked) - torch.eye(50)
    assert correlation.abs().max() < 5 / marked.shape[1] ** 0.5
    swapped = GaussianShading().read(marked.view(50, *SHAPE), names(50)[::-1])
    assert swapped["bit_accuracy"].mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("wrong", [0.1, 0.3])
def test_the_majority_of_copies_outvotes_wrong_signs(wrong):
    mark = GaussianShading(copies=64)
    marked = mark.embed(noise(10), names(10))
    flips = torch.rand(marked.shape, generator=torch.Generator().manual_seed(1)) < wrong
    read = mark.read(torch.where(flips, -marked, marked), names(10))
    assert read["bit_accuracy"].mean() > 0.99


def test_impossible_marks_are_refused():
    with pytest.raises(UserError, match="radius=0"):
        TreeRing(radius=0)
    with pytest.raises(UserError, match="copies=0"):
        GaussianShading(copies=0)


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (GaussianShading(copies=5000), "copies=5000 is more than the 4096"),
        (TreeRing(channel=4), "channel=4 is not one of the 4 of z_N: choose -4 to 3"),
        (TreeRing(channel=-5), "channel=-5 is not one of the 4 of z_N: choose -4 to 3"),
        (TreeRing(radius=0.03), "radius=0.03 of the 32 rows .* choose more, e.g. 0.0625"),
    ],
)
def test_marks_that_noise_cannot_hold_are_refused(mark, message):
    for work in (mark.embed, mark.read):
        with pytest.raises(UserError, match=message):
            work(noise(1), names(1))


def test_the_smallest_disc_has_a_ring():
    mark = TreeRing(radius=1 / 32)
    assert mark.read(mark.embed(noise(1), names(1)), names(1))["mark_p"] < 0.01
