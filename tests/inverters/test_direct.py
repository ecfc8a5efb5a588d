from dataclasses import replace

import pytest
import torch
import toy

from fpinv.inverters.ddim import DDIM
from fpinv.inverters.direct import Direct
from fpinv.sampling import sample


@pytest.mark.parametrize("prediction", toy.PREDICTIONS)
@pytest.mark.parametrize("guidance", [1, 7.5])
def test_a_source_ends_where_it_came_from(prediction, guidance):
    d, z, c = toy.denoiser(10, prediction), toy.latents(), toy.condition(guidance=guidance)
    inversion = Direct().invert(d, z, c)
    assert torch.equal(inversion.noise, DDIM().invert(d, z, replace(c, guidance=1.0)).noise)
    assert torch.equal(Direct().sample(d, inversion, c), z)


def test_targets_are_left_alone_and_sources_seen_on_their_path():
    d, z, c = toy.denoiser(5), toy.latents(), toy.condition(guidance=3)
    inversion, seen, network = Direct().invert(d, z, c), [], d.network
    rows = torch.tensor([0, 0, 2])
    edit = replace(inversion[rows], source=torch.tensor([True, False, False]))
    d.network = lambda z, t, e: seen.append(z[3:]) or network(z, t, e)
    back = Direct().sample(d, edit, c[rows])
    assert torch.equal(back[0], z[0])
    assert torch.equal(back[1:], sample(d, inversion.noise[rows], c[rows])[1:])
    assert all(torch.equal(seen[5 - i][0], inversion.state["path"][0, i]) for i in range(1, 5))


@pytest.mark.parametrize("guidance", [1, 3])
def test_evaluation_counts_and_stored_numbers(guidance):
    d, c = toy.denoiser(), toy.condition(guidance=guidance)
    inversion = Direct().invert(d, toy.latents(), c)
    assert inversion.calls.tolist() == inversion.rows.tolist() == [10] * 3 and d.calls == 10
    assert inversion.stored_numbers == 10 * 16
    Direct().sample(d, inversion, c)
    assert (d.calls, d.rows) == (20, 30 + 30 * c.rows_per_sample)
