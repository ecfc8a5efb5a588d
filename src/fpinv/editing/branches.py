"""The sources and targets of one batch, and the plans of all targets as tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.batch import PerSample
from fpinv.editing.controllers import Controller, Moment, Plan, Share
from fpinv.editing.tokens import Tokens


@dataclass(frozen=True)
class TargetBranch:
    """One target of an editing run.

    Arguments:
        tokens: The target prompt.
        source: Number of the source branch that it edits.
        controllers: Changes to its attention and latents, applied in turn.
    """

    tokens: Tokens
    source: int
    controllers: tuple[Controller, ...]


@dataclass(frozen=True)
class Branches:
    """The batch of an editing run: the sources, then the targets.

    Arguments:
        sources: The B source prompts.
        targets: The T targets; any number of them for a source.
    """

    sources: tuple[Tokens, ...]
    targets: tuple[TargetBranch, ...]

    def __len__(self) -> int:
        return len(self.sources) + len(self.targets)

    @property
    def prompts(self) -> list[str]:
        """The prompt of each branch."""
        return [t.prompt for t in (*self.sources, *(target.tokens for target in self.targets))]

    @property
    def origins(self) -> list[int]:
        """The number of each target's source."""
        return [target.source for target in self.targets]

    def plans(self, moment: Moment) -> Plans:
        """Return the plans of all targets at a moment."""
        return Plans.stack([self._plan(target, moment) for target in self.targets])

    def _plan(self, target: TargetBranch, moment: Moment) -> Plan:
        plan = Plan.untouched(target.tokens.length)
        for controller in target.controllers:
            plan = controller(plan, self.sources[target.source], target.tokens, moment)
        return plan


@dataclass(frozen=True)
class Plans(PerSample):
    """The plans (:class:`~fpinv.editing.controllers.Plan`) of all T targets at one moment.

    Arguments:
        source_weights: S of each target, (T, L, L).
        target_weights: d of each target, (T, L).
        self_attention: Marks the targets that take their source's self-attention, (T,).
        words: Marks the words whose maps are gathered, in the source and in the target,
            (T, 2, L).
        threshold: Share of a map's maximum from which on a pixel belongs to the words, (T,); NaN
            where the size of the maps decides.
        blended: Marks the targets whose latents are blended now, (T,).
        shared: Marks the targets that take what a share says, (T,), for each share.
    """

    source_weights: Tensor
    target_weights: Tensor
    self_attention: Tensor
    words: Tensor
    threshold: Tensor
    blended: Tensor
    shared: Mapping[Share, Tensor]

    @classmethod
    def stack(cls, plans: Sequence[Plan]) -> Plans:
        """Stack the plans of several targets, whose prompts have the same number L of tokens."""
        blends = [plan.blend for plan in plans]
        thresholds = [b.threshold if b else None for b in blends]
        nowhere = torch.zeros(2, len(plans[0].target_weights))
        return cls(
            torch.stack([plan.source_weights for plan in plans]),
            torch.stack([plan.target_weights for plan in plans]),
            torch.tensor([plan.self_attention for plan in plans]),
            torch.stack([torch.stack([b.source, b.target]) if b else nowhere for b in blends]),
            torch.tensor([math.nan if t is None else t for t in thresholds]),
            torch.tensor([b is not None and b.active for b in blends]),
            {
                share: torch.tensor([share in plan.shared for plan in plans])
                for plan in plans
                for share in plan.shared
            },
        )

    @property
    def changes_prompt(self) -> bool:
        """True if the cross-attention of any target is changed."""
        return bool(self.source_weights.any() or (self.target_weights != 1).any())

    @property
    def gathers(self) -> bool:
        """True if the maps of any words are gathered."""
        return bool(self.words.any())
