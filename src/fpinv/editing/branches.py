"""Sources and targets in one batch: who is whose source, and what is done to whom when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.editing.controllers import Controller, Moment, Plan
from fpinv.editing.tokens import Tokens


@dataclass(frozen=True)
class Target:
    """One target branch.

    Arguments:
        tokens: Its prompt.
        source: Number of the source branch that it edits.
        controllers: What keeps it close to that source, applied in turn.
    """

    tokens: Tokens
    source: int
    controllers: tuple[Controller, ...]


@dataclass(frozen=True)
class Branches:
    """The batch of an editing run: the sources, then the targets.

    Arguments:
        sources: The B source prompts.
        targets: The T targets; any number a source.
    """

    sources: tuple[Tokens, ...]
    targets: tuple[Target, ...]

    def __len__(self) -> int:
        return len(self.sources) + len(self.targets)

    @property
    def prompts(self) -> list[str]:
        """The prompt of each branch."""
        return [t.prompt for t in (*self.sources, *(target.tokens for target in self.targets))]

    @property
    def origins(self) -> list[int]:
        """The source of each target."""
        return [target.source for target in self.targets]

    def plans(self, moment: Moment) -> Plans:
        """What is done to all targets at a moment."""
        return Plans.stack([self._plan(target, moment) for target in self.targets])

    def _plan(self, target: Target, moment: Moment) -> Plan:
        plan = Plan.untouched(target.tokens.length)
        for controller in target.controllers:
            plan = controller(plan, self.sources[target.source], target.tokens, moment)
        return plan


@dataclass(frozen=True)
class Plans:
    """The plans of all T targets at one moment, as tensors; see :class:`Plan`.

    Arguments:
        source: S of each target, (T, L, L).
        own: d of each, (T, L).
        self_attention: Whether it takes the source's self-attention, (T,).
        words: The words whose maps it gathers, in its source and in itself, (T, 2, L).
        threshold: Part of a map's maximum that shows the words, (T,).
        blended: Whether its latents are blended now, (T,).
    """

    source: Tensor
    own: Tensor
    self_attention: Tensor
    words: Tensor
    threshold: Tensor
    blended: Tensor

    @classmethod
    def stack(cls, plans: Sequence[Plan]) -> Plans:
        """The plans of several targets as one; their prompts have the same number L of tokens."""
        blends = [plan.blend for plan in plans]
        nowhere = torch.zeros(2, len(plans[0].own))
        return cls(
            torch.stack([plan.source for plan in plans]),
            torch.stack([plan.own for plan in plans]),
            torch.tensor([plan.self_attention for plan in plans]),
            torch.stack([torch.stack([b.source, b.target]) if b else nowhere for b in blends]),
            torch.tensor([b.threshold if b else 0.0 for b in blends]),
            torch.tensor([b is not None and b.active for b in blends]),
        )

    @property
    def changes_prompt(self) -> bool:
        """Whether any target's cross-attention differs from its own."""
        return bool(self.source.any() or (self.own != 1).any())

    @property
    def gathers(self) -> bool:
        """Whether maps of any words are wanted."""
        return bool(self.words.any())
