"""Edit-friendly DDPM inversion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.sampling import Guided, Step, part_of, spent
from fpinv.schedule import Schedule
from fpinv.seeding import drawn


@dataclass(frozen=True)
class EditFriendly(Guided):
    r"""Edit-friendly inversion: independent noisings of the image, and the maps that join them.

    Each latent :math:`z_i` is the image noised anew, and the map :math:`\xi_i` of a step is what
    the stochastic DDIM step needs to lead from one to the next:

    .. math::
        z_i &= \alpha_i z_0 + \sigma_i n_i, \qquad n_i \sim \mathcal{N}(0, 1) \\
        z_{i-1} &= \mu_i(z_i) + \tau_i \xi_i, \qquad
        \mu_i = \alpha_{i-1} \hat x_0 + \sqrt{\sigma_{i-1}^2 - \tau_i^2}\; \epsilon \\
        \tau_i &= \eta \frac{\sigma_{i-1}}{\sigma_i}
        \sqrt{\sigma_i^2 - \sigma_{i-1}^2 \alpha_i^2 / \alpha_{i-1}^2}

    It is exact by construction, but its latents are no samples of the sampler's own noise: a
    map's variance is larger than 1 and neighbouring maps are anti-correlated, which is what lets
    an edit keep the image. Images come back under the guidance that they were inverted with;
    the guidance of the sampling is that of the rows which ``Inversion.source`` excludes.

    NFE: n to invert, n to sample, n = N - floor(skip N). Stores: n maps. The inversion's ``noise``
    is the latent at index n.

    References:
        | An Edit Friendly DDPM Noise Space: Inversion and Manipulations
        | (Huberman-Spiegelglas et al., 2024), https://arxiv.org/abs/2304.06140

    With a sampler whose steps have noise (``sampler=ancestral`` or ``lcm``), those take the place
    of the stochastic DDIM step.

    Deviations: the authors' code sets the last map to 0, which costs exactness; we keep it, also
    where the clean end has no noise and :math:`\tau_1 = 0`: then it has the unit 1. Each image has
    noise of its own, by its number, so that results do not depend on the batch.

    Arguments:
        eta: Stochasticity :math:`\eta` in (0, 1]; that of a sampler with noise outranks it.
        skip: Share of the steps at the noise end that is left out, in [0, 1).
        seed: Seed of the noisings.
    """

    stochastic: ClassVar[bool] = True

    eta: float = 1.0
    skip: float = 0.36
    seed: int = 0
    inversion_guidance: float | None = field(default=3.5, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 < self.eta <= 1:
            raise UserError(f"eta={self.eta} is not possible: choose 0 < eta <= 1")
        if not 0 <= self.skip < 1:
            raise UserError(f"skip={self.skip} is not possible: choose 0 <= skip < 1")

    @property
    def other_end(self) -> str:
        """See :class:`~fpinv.sampling.Guided`."""
        return "noise that it draws itself"

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Noise ``z0`` (B, C, H, W) to every index and solve for the maps."""
        condition, schedule = self.inverting(condition, denoiser), denoiser.schedule
        stochastic, steps = schedule.stochastic(self.eta), range(1, self.top(schedule.steps) + 1)
        # Drawn before the first evaluation, because a draw waits for the device.
        path = [z0, *(self._noised(schedule, z0, i, condition.images) for i in steps)]
        maps = []
        for i in steps:
            mean, spread = _step(denoiser, stochastic, path[i], i, condition)
            maps.append((path[i - 1] - mean) / spread)
        cost = spent(condition, len(maps))
        return Inversion(path[-1], **cost, state={"maps": torch.stack(maps, 1)})

    def way_back(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Step:
        """Return the stochastic DDIM step, fed with the stored maps."""
        condition = self._returning(condition, denoiser, inversion.source)
        stochastic = denoiser.schedule.stochastic(self.eta)

        def step(z: Tensor, i: int) -> Tensor:
            mean, spread = _step(denoiser, stochastic, z, i, condition)
            return mean + spread * inversion.state["maps"][:, i - 1]

        return step

    def _returning(
        self, condition: Condition, denoiser: Denoiser, source: Tensor | None
    ) -> Condition:
        """Return the condition with the inversion's guidance in the rows ``source``."""
        inverting = self.inverting(condition, denoiser)
        if source is None or inverting is condition:
            return inverting
        back, edited = (
            torch.as_tensor(c.guidance, dtype=denoiser.latent_dtype, device=source.device)
            for c in (inverting, condition)
        )
        return replace(condition, guidance=torch.where(source, back, edited))

    def top(self, steps: int) -> int:
        """Return the index n that sampling starts from, below the ``steps``."""
        return steps - int(part_of(steps, self.skip))

    def _noised(self, schedule: Schedule, z0: Tensor, i: int, images: Tensor | None) -> Tensor:
        """Return z0 (B, C, H, W) noised to index i."""
        return schedule.noised(z0, drawn(z0, self.seed, images, f"edit_friendly {i}"), i)


def _step(
    denoiser: Denoiser, stochastic: Schedule, z: Tensor, i: int, condition: Condition
) -> tuple[Tensor, float]:
    """Return the mean of the stochastic step from index i, and the unit of its map.

    That is the spread; 1 where the step ends without noise, so that its map is what the mean
    misses.
    """
    mean = stochastic.landed(z, denoiser(z, i, condition), i)
    return mean, stochastic.landings[i - 1].spread or 1.0
