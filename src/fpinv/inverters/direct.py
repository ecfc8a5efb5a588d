"""Direct inversion, also known as PnP inversion."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inversion import Inversion
from fpinv.inverters.ddim import ddim_path
from fpinv.sampling import Guided, Step, spent
from fpinv.solvers import per_sample


@dataclass(frozen=True)
class Direct(Guided):
    r"""Direct inversion: the source branch of an edit is put back on its path at every step.

    The pivots :math:`z^*_i` are DDIM inversion's at guidance 1. Sampling from :math:`z^*_N`, the
    source branch is corrected after each step, while the target branches, which look at it through
    their attention, are left alone:

    .. math:: z_{i-1} = \mathrm{DDIM}_i(z_i) + o_{i-1}, \qquad
              o_{i-1} = \begin{cases} z^*_{i-1} - \mathrm{DDIM}_i(z_i) & \text{source} \\
                        0 & \text{target} \end{cases}

    A source branch thus ends at the very latent that was inverted, whatever the network says:
    a reconstruction is no test of this method, only an edit is.

    NFE: N to invert, N to sample. Stores: the N latents :math:`z^*_0 \dots z^*_{N-1}`.

    References:
        | PnP Inversion: Boosting Diffusion-based Editing with 3 Lines of Code (Ju et al., 2024)
        | https://arxiv.org/abs/2310.01506
    """

    inversion_guidance: float | None = field(default=1.0, kw_only=True)

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Invert ``z0`` (B, C, H, W) by DDIM, and keep the path."""
        condition = self.inverting(condition, denoiser)
        *path, noise = z0, *ddim_path(denoiser, z0, condition)
        cost = spent(condition, denoiser.schedule.steps)
        return Inversion(noise, **cost, state={"path": torch.stack(path, 1)})

    def way_back(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Step:
        """Return the step of DDIM, corrected in the rows that ``inversion.source`` names."""
        ddim = super().way_back(denoiser, inversion, condition)
        path, source = inversion.state["path"], inversion.source
        if source is None:
            source = torch.ones(len(path), dtype=torch.bool, device=path.device)

        def step(z: Tensor, i: int) -> Tensor:
            return torch.where(per_sample(source, z), path[:, i - 1], ddim(z, i))

        return step
