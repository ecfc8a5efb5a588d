"""The optimal bidirectional explicit linear multi-step sampler."""

from __future__ import annotations

from dataclasses import dataclass

from fpinv.inverters.two_step import TwoStep
from fpinv.schedule import Schedule


@dataclass(frozen=True)
class BELM(TwoStep):
    r"""O-BELM: the exactly invertible two-step recursion of least local error.

    With :math:`\bar z = z / \alpha`, :math:`\bar\sigma = \sigma / \alpha` and
    :math:`h_i = \bar\sigma_i - \bar\sigma_{i-1}`:

    .. math:: \bar z_{i-1} = \frac{h_i^2}{h_{i+1}^2} \bar z_{i+1}
              + \Big(1 - \frac{h_i^2}{h_{i+1}^2}\Big) \bar z_i
              - \frac{h_i (h_i + h_{i+1})}{h_{i+1}} \epsilon(z_i, t_i)

    Inversion solves it for :math:`z_{i+1}`; :math:`z_1` is DDIM inversion's. At the clean end
    :math:`\alpha_0` is the scheduler's: 1, or with ``set_alpha_to_one=False`` that of timestep 0.
    Where
    :meth:`fpinv.schedule.Schedule.form` holds the network's output, the recursion is that of the
    output in its own :meth:`~fpinv.schedule.Schedule.time`, which divides by no signal scale.

    NFE: N to invert, N - 1 to sample. Stores: :math:`z_{N-1}`.

    References:
        | BELM: Bidirectional Explicit Linear Multi-step Sampler for Exact Inversion in Diffusion
        | Models (Wang et al., 2024), https://arxiv.org/abs/2410.07273
    """

    def recursion(self, schedule: Schedule, i: int) -> tuple[float, float, float]:
        """Return the recursion of :class:`~fpinv.inverters.two_step.TwoStep`."""
        form = schedule.form(i + 1)
        (below, down), (scale, here), (above, up) = (
            schedule.time(j, form) for j in (i - 1, i, i + 1)
        )
        h, h_up = here - down, up - here
        ratio, slope = (h / h_up) ** 2, -below * h * (h + h_up) / h_up
        p, q = below / above * ratio, below / scale * (1 - ratio)
        if form == "epsilon":
            return p, q, slope
        # The output of which the noise is r z + t m.
        _, (r, t) = schedule.implied(i)
        return p, q - slope * r / t, slope / t
