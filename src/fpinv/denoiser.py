"""A prompt-conditioned network on a time grid: guidance, precision and the evaluation count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fpinv.errors import UserError
from fpinv.schedule import Schedule


@dataclass(frozen=True)
class Embedding:
    """What a text encoder says about a batch of prompts.

    Arguments:
        tokens: Token states, shape (B, L, D).
        pooled: Pooled state, shape (B, P); Stable Diffusion XL only.
        time_ids: Size and crop labels, shape (B, 6); Stable Diffusion XL only.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Embedding:
        parts = (self.tokens, self.pooled, self.time_ids)
        return Embedding(*(None if part is None else function(part) for part in parts))  # type: ignore[arg-type]

    def __getitem__(self, rows: Tensor | slice) -> Embedding:
        """The embeddings of some rows."""
        return self._map(lambda part: part[rows])

    def expand(self, batch: int) -> Embedding:
        """One row repeated ``batch`` times, without a copy."""
        return self._map(lambda part: part.expand(batch, *part.shape[1:]))

    @staticmethod
    def cat(first: Embedding, second: Embedding) -> Embedding:
        """The rows of ``first``, then those of ``second``."""

        def join(a: Tensor | None, b: Tensor | None) -> Tensor | None:
            return None if a is None or b is None else torch.cat([a, b])

        return Embedding(
            torch.cat([first.tokens, second.tokens]),
            join(first.pooled, second.pooled),
            join(first.time_ids, second.time_ids),
        )


@dataclass(frozen=True)
class Condition:
    r"""What the denoiser is asked for.

    Guidance is data: to change it use ``dataclasses.replace``. At 1 the network sees the prompt
    alone and at 0 the null prompt alone, one row a sample; at any other value both, two rows:

    .. math:: m = m_\varnothing + w (m_p - m_\varnothing)

    Arguments:
        prompt: Embedding of the prompts, B rows.
        null: Embedding of the null prompt, B rows; needed unless guidance is 1.
        guidance: Guidance scale w; a tensor (B,) gives each sample its own, two rows each, the
            prompt's being the answer where it is 1.

    References:
        | Classifier-Free Diffusion Guidance (Ho and Salimans, 2022)
        | https://arxiv.org/abs/2207.12598
    """

    prompt: Embedding
    null: Embedding | None = None
    guidance: float | Tensor = 1.0

    def __post_init__(self) -> None:
        if self.null is None and (isinstance(self.guidance, Tensor) or self.guidance != 1):
            raise UserError(f"guidance={self.guidance} needs the embedding of the null prompt")

    @property
    def rows_per_sample(self) -> int:
        """Network rows that one evaluation of one sample costs: 2 with guidance, else 1."""
        return 2 if isinstance(self.guidance, Tensor) or self.guidance not in (0, 1) else 1

    @cached_property
    def embedding(self) -> Embedding:
        """The embedding of all network rows that the guidance needs."""
        if self.null is None:
            return self.prompt
        if self.rows_per_sample == 2:
            return self.pair
        return self.prompt if self.guidance == 1 else self.null

    @cached_property
    def pair(self) -> Embedding:
        """The null rows, then the prompt rows, as diffusers orders them."""
        assert self.null is not None, "only guidance 1 does without the null prompt"
        return Embedding.cat(self.null, self.prompt)

    def __getitem__(self, rows: Tensor | slice) -> Condition:
        """The condition of some samples of the batch."""
        null = None if self.null is None else self.null[rows]
        guidance = self.guidance[rows] if isinstance(self.guidance, Tensor) else self.guidance
        return Condition(self.prompt[rows], null, guidance)


Network = Callable[[Tensor, Tensor, Embedding], Tensor]
"""``(latents (R, C, H, W), timestep (), embedding of R rows) -> output (R, C, H, W)``."""


class Denoiser:
    """Evaluates the network at grid indices, under guidance, and counts.

    The network runs in its own ``dtype``; latents, guidance and everything after it stay in the
    precision of the latents (float32, or float64 in tests), because inversion amplifies what half
    precision rounds away.

    Arguments:
        network: See :data:`Network`.
        schedule: The grid.
        dtype: Precision of the network's input.
        device: Where the network lives.

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
    ) -> None:
        self.network = network
        self.schedule = schedule
        self.dtype = dtype
        self.device = device
        self.calls = 0
        self.rows = 0
        self._timestep = torch.tensor(schedule.timestep, device=device)

    def __call__(self, z: Tensor, i: int, condition: Condition) -> Tensor:
        """The guided network output at latents ``z`` (B, C, H, W) and grid index ``i``."""
        output = self.evaluate(z, i, condition.embedding)
        if condition.rows_per_sample == 1:
            return output
        null, prompt = output.chunk(2)
        if isinstance(condition.guidance, Tensor):
            # lerp is exact at 1: such a sample gets what it would get alone, from one row.
            return null.lerp(prompt, condition.guidance.to(output).view(-1, 1, 1, 1))
        return null + condition.guidance * (prompt - null)

    def noise(self, z: Tensor, i: int, condition: Condition) -> Tensor:
        """The noise that the output at latents ``z`` and grid index ``i`` implies; as ``z``."""
        return self.schedule.noise(z, self(z, i, condition), i)

    def evaluate(self, z: Tensor, i: int, embedding: Embedding) -> Tensor:
        """The network's output for every row of an embedding, in one call.

        The latents (B, C, H, W) are repeated to as many rows, whole batches at a time.
        """
        repeats = len(embedding) // len(z)
        rows = torch.cat([z] * repeats) if repeats > 1 else z
        self.calls += 1
        self.rows += len(rows)
        return self.network(rows.to(self.dtype), self._timestep[i], embedding).to(z.dtype)
