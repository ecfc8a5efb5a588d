"""The count of evaluations that were differentiated."""

import torch
import toy

from fpinv import DDIM, EDICT, Auto, FixedPoint, Newton, NullText, ReNoise
from fpinv.inverters.stored_noises import StoredNoises
from fpinv.inverters.sweeps import Sweeps


def test_gradients_are_counted_as_the_network_sees_them():
    """Count the rows of calls whose latents or prompts require one, of every such method."""
    methods = (
        *(Newton(3), NullText(4), Auto(accuracy=80.0, iterations=2, descents=6)),
        *(Sweeps(accuracy=80.0, iterations=1, descents=6), StoredNoises(Newton(3))),
    )
    for inverter in methods:
        d, z, c = toy.denoiser(6, scale=2.0), toy.latents(2), toy.condition(2, guidance=3)
        network, seen = d.network, []

        def counting(z, t, embedding, network=network, seen=seen):
            seen.append(len(z) if z.requires_grad or embedding.tokens.requires_grad else 0)
            return network(z, t, embedding)

        d.network = counting
        inversion = inverter.invert(d, z, c)
        assert inversion.gradients.sum() == sum(seen) > 0, inverter
        assert torch.equal(inversion.equivalents, inversion.rows + 2 * inversion.gradients)
        assert inversion.rows.sum() == d.rows


def test_methods_without_gradients_count_none():
    for inverter in (DDIM(), FixedPoint(3), EDICT(), ReNoise()):
        d, z, c = toy.denoiser(6), toy.latents(2), toy.condition(2, guidance=3)
        inversion = inverter.invert(d, z, c)
        assert torch.equal(inversion.equivalents, inversion.rows), inverter
