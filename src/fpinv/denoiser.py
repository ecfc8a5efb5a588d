"""A prompt-conditioned network on a time grid: guidance, precision and the evaluation count."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fpinv.batch import PerSample, combine
from fpinv.errors import UserError
from fpinv.schedule import Schedule


@dataclass(frozen=True)
class Embedding(PerSample):
    """Embeddings of the prompts of a batch: the output of a text encoder, or labels.

    Arguments:
        tokens: Token states, shape (B, L, D). A network of one's own may take anything else that
            has a row a prompt, such as class labels (B,).
        pooled: Pooled state, shape (B, P); None for Stable Diffusion 1 and 2, which have none.
    """

    tokens: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def expand(self, batch: int) -> Embedding:
        """Return the one row repeated ``batch`` times, without a copy."""
        return combine([self], lambda x, axis: x[0].expand(batch, *x[0].shape[1:]))


@dataclass(frozen=True)
class Condition(PerSample):
    r"""Prompts and guidance of the samples of a batch.

    Guidance is data: to change it use ``dataclasses.replace``. At 1 the network sees the prompt
    alone and at 0 the null prompt alone, one row a sample; at any other value both, two rows:

    .. math:: m = m_\varnothing + w (m_p - m_\varnothing)

    Arguments:
        prompt: Embedding of the prompts, B rows.
        null: Embedding of the null prompt, B rows; needed unless guidance is 1.
        guidance: Guidance scale w; a tensor (B,) on the embeddings' device gives each sample its
            own, two rows each, the prompt's being the answer where it is 1.
        images: Numbers of the images, (B,), int64, for inverters that draw noise for each
            (:func:`fpinv.seeding.drawn`); None: they draw one for all.

    References:
        | Classifier-Free Diffusion Guidance (Ho and Salimans, 2022)
        | https://arxiv.org/abs/2207.12598
    """

    prompt: Embedding
    null: Embedding | None = None
    guidance: float | Tensor = 1.0
    images: Tensor | None = None

    def __post_init__(self) -> None:
        if self.null is None and (isinstance(self.guidance, Tensor) or self.guidance != 1):
            raise UserError(f"guidance={self.guidance} needs the embedding of the null prompt")
        if isinstance(self.guidance, Tensor):
            here, there = self.guidance.device, self.prompt.tokens.device
            if here != there:
                raise UserError(f"the guidance is on {here}, the prompts are on {there}: move it")

    @property
    def rows_per_sample(self) -> int:
        """Return the network rows that a sample costs an evaluation: 2 with guidance, else 1."""
        return 2 if isinstance(self.guidance, Tensor) or self.guidance not in (0, 1) else 1

    @cached_property
    def embedding(self) -> Embedding:
        """Return the embedding of all network rows that the guidance needs."""
        if self.null is None:
            return self.prompt
        if self.rows_per_sample == 2:
            return self.pair
        return self.prompt if self.guidance == 1 else self.null

    @cached_property
    def pair(self) -> Embedding:
        """Return the null rows, then the prompt rows, as diffusers orders them."""
        assert self.null is not None, "only guidance 1 does without the null prompt"
        return Embedding.cat([self.null, self.prompt])


Network = Callable[[Tensor, Tensor, Embedding], Tensor]
"""``(latents (R, C, H, W), timestep (R,), embedding of R rows) -> output (R, C, H, W)``."""


class Denoiser:
    """Network on a time grid: evaluations under guidance, and their count.

    The network runs in its own ``dtype``; latents, guidance and everything after it stay in the
    precision of the latents (float32, or float64 in tests), because inversion amplifies what half
    precision rounds away.

    Arguments:
        network: See :data:`Network`.
        schedule: The grid.
        dtype: Precision of the network's input.
        device: Where the network lives.
        epsilon: Relative error that the network rounds away; None is the machine epsilon of
            ``dtype``.

    Attributes:
        calls: Network calls so far; the null and prompt rows of guidance share one.
        rows: Batch rows that the network has processed so far.
    """

    def __init__(
        self,
        network: Network,
        schedule: Schedule,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        epsilon: float | None = None,
    ) -> None:
        self.network = network
        self.schedule = schedule
        self.dtype = dtype
        self.device = device
        self.epsilon = torch.finfo(dtype).eps if epsilon is None else epsilon
        self.calls = 0
        self.rows = 0
        self._timestep = torch.tensor(schedule.timestep, device=device)

    @property
    def latent_dtype(self) -> torch.dtype:
        """Return the precision of the latents, float32 at least."""
        return torch.promote_types(self.dtype, torch.float32)

    @contextmanager
    def on(self, schedule: Schedule) -> Iterator[Denoiser]:
        """Yield a denoiser of the same network on another grid, and count its evaluations."""
        other = Denoiser(self.network, schedule, self.dtype, self.device, self.epsilon)
        yield other
        self.calls, self.rows = self.calls + other.calls, self.rows + other.rows

    def __call__(self, z: Tensor, i: float, condition: Condition) -> Tensor:
        """Return the guided network output at latents ``z`` (B, C, H, W) and grid index ``i``.

        An index and a half is the middle of a step of a rectified flow.

        Raises:
            UserError: the condition is of another number of images.
        """
        if len(condition.embedding) != condition.rows_per_sample * len(z):
            raise UserError(
                f"{len(condition.prompt)} prompts for {len(z)} latents: give a prompt for each"
            )
        output = self.evaluate(z, i, condition.embedding)
        if condition.rows_per_sample == 1:
            return output
        null, prompt = output.chunk(2)
        if isinstance(condition.guidance, Tensor):
            # lerp is exact at 1: such a sample gets what it would get alone, from one row.
            return null.lerp(prompt, condition.guidance.to(output).view(-1, 1, 1, 1))
        return null + condition.guidance * (prompt - null)

    def noise(self, z: Tensor, i: int, condition: Condition) -> Tensor:
        """Return the noise that the output at ``z`` and grid index ``i`` implies, as ``z``."""
        return self.schedule.noise(z, self(z, i, condition), i)

    def held(self, z: Tensor, i: int, condition: Condition) -> Tensor:
        """Return what the implicit step to ``i`` holds of the output at ``z``, as ``z``."""
        return self.schedule.held(z, self(z, i, condition), i)

    def step(
        self, z: Tensor, i: int, condition: Condition, above: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the sampler's latents at grid index i - 1, and the image latent seen at ``i``.

        That of the step before is ``above``; see :meth:`fpinv.schedule.Schedule.step`.
        """
        return self.schedule.step(z, self(z, i, condition), i, above)

    def ddim_step(self, z: Tensor, i: int, condition: Condition) -> Tensor:
        """Return the latents at grid index i - 1 that DDIM makes of ``z`` at ``i``."""
        return self.schedule.transfer(z, self(z, i, condition), i, i - 1)

    def evaluate(self, z: Tensor, i: float, embedding: Embedding) -> Tensor:
        """Return the network's output for every row of an embedding, from one call.

        The latents (B, C, H, W) are repeated to as many rows, whole batches at a time.
        """
        repeats = len(embedding) // len(z)
        rows = torch.cat([z] * repeats) if repeats > 1 else z
        self.calls += 1
        self.rows += len(rows)
        labels = self._label(i).expand(len(rows))
        return self.network(rows.to(self.dtype), labels, embedding).to(z.dtype)

    def _label(self, i: float) -> Tensor:
        """Return the label of an index; labels of a flow are linear in its noise scale."""
        if isinstance(i, int):
            return self._timestep[i]
        return (self._timestep[math.floor(i)] + self._timestep[math.ceil(i)]) / 2
