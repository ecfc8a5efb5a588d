r"""Changes to a target's attention, as values that compose.

Those of prompt-to-prompt act on cross-attention. Let :math:`P_s` and :math:`P_t` be its
probabilities (pixels x tokens) in the source and in a target. All are linear in them:

.. math:: P_t' = P_s S + P_t \operatorname{diag}(d)

so a controller is a function from one :class:`Plan` (S, d, and the changes to self-attention and
to the latents) to the next, and controllers compose by being applied in turn. They have no state.
:class:`Replace` and :class:`Refine` set the weights of a token, :class:`Reweight` multiplies them:
it comes after the others.
:class:`Share` acts on attention to the picture and needs no words, so that it does where prompt
and picture are joined in one attention, too.

References:
    | Prompt-to-Prompt Image Editing with Cross Attention Control (Hertz et al., 2022)
    | https://arxiv.org/abs/2208.01626
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, get_args

import torch
from torch import Tensor

from fpinv.editing.projections import Block, Part
from fpinv.editing.request import Kind
from fpinv.editing.tokens import Tokens, align, suggestion
from fpinv.errors import UserError

Interval = float | tuple[float, float]
"""A part of the sampling, as fractions from its noisy start: (begin, end), or the end alone."""


@dataclass(frozen=True)
class Moment:
    """The place of a step in the sampling.

    Arguments:
        number: Steps taken before it: 0 where the sampling starts, all of them after the last.
        steps: Number of all steps: N, or fewer for a method that samples from below the noise.
    """

    number: int
    steps: int

    def within(self, interval: Interval) -> bool:
        """Return whether the step belongs to a part of the sampling."""
        begin, end = bounds(interval)
        return round(begin * self.steps) <= self.number < round(end * self.steps)


def bounds(interval: Interval, key: str = "steps") -> tuple[float, float]:
    """Return the begin and the end of an interval as two fractions.

    Arguments:
        interval: The interval.
        key: Its name in an error.

    Raises:
        UserError: the interval is not one number or two in order, in [0, 1].
    """
    ends = tuple(interval) if isinstance(interval, (tuple, list)) else (0, interval)
    if len(ends) == 2 and all(isinstance(end, (int, float)) for end in ends):
        if 0 <= ends[0] <= ends[1] <= 1:
            return ends
    raise UserError(
        f"{key}={interval} is no part of the sampling: give a fraction of it, e.g. 0.8, or its "
        "begin and end, e.g. [0.1,0.8]"
    )


@dataclass(frozen=True)
class Blend:
    """A limit to where a target may differ from its source.

    Arguments:
        source: Marks the words that are looked for in the source's maps, shape (L,).
        target: Marks those that are looked for in the target's maps, shape (L,).
        threshold: Share of a map's maximum above which a pixel belongs to the words; None where
            the size of the maps decides.
        active: True if the latents are blended at this moment, False if maps are only gathered.
    """

    source: Tensor
    target: Tensor
    threshold: float | None
    active: bool


@dataclass(frozen=True)
class Plan:
    """All changes to one target at one moment.

    Arguments:
        source_weights: S, shape (L, L): weights of the source's cross-attention in the target's.
        target_weights: d, shape (L,): weights of the target's own cross-attention.
        self_attention: True if the coarse self-attention is the source's.
        blend: Limit to where the latents may differ from the source's; None for no limit.
        shared: What the target's attention to the picture takes from the source's.
    """

    source_weights: Tensor
    target_weights: Tensor
    self_attention: bool = False
    blend: Blend | None = None
    shared: tuple[Share, ...] = ()

    @classmethod
    def untouched(cls, length: int) -> Plan:
        """Return the plan that changes nothing, for L tokens."""
        return cls(torch.zeros(length, length), torch.ones(length))


class Controller(Protocol):
    """A change to a plan, as a value that can be shared, compared and composed."""

    def __call__(self, plan: Plan, source: Tokens, target: Tokens, moment: Moment) -> Plan:
        """Return the plan with the change made, for one source, target and moment.

        Raises:
            UserError: the change does not fit the prompts.
        """


@dataclass(frozen=True)
class _CrossAttention:
    """The source's attention for all target tokens that have a partner in the source."""

    kind: ClassVar[Kind]

    steps: Interval = 0.8
    words: Mapping[str, Interval] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for interval in (self.steps, *self.words.values()):
            bounds(interval)

    def __call__(self, plan: Plan, source: Tokens, target: Tokens, moment: Moment) -> Plan:
        matrix = align(source, target, self.kind)
        injected = self._active(target, moment) & (matrix.sum(0) > 0)
        return replace(
            plan,
            source_weights=torch.where(injected, matrix, plan.source_weights),
            target_weights=torch.where(injected, 0.0, plan.target_weights),
        )

    def _active(self, target: Tokens, moment: Moment) -> Tensor:
        """Return the mask (L,) of the tokens whose interval the moment is in."""
        active = torch.full((target.length,), moment.within(self.steps))
        for phrase, interval in self.words.items():
            active[target.locate(phrase)] = moment.within(interval)
        return active


@dataclass(frozen=True)
class Replace(_CrossAttention):
    """Word swap: each word of the target takes the attention of the source's word in its place.

    Arguments:
        steps: Part of the sampling in which the source's attention is taken.
        words: Words or phrases of the target with a part of the sampling of their own.

    Raises:
        UserError: ``steps`` is no part of the sampling; on use, the prompts have unequally many
            words, or ``words`` names one that the target lacks.
    """

    kind = "replace"


@dataclass(frozen=True)
class Refine(_CrossAttention):
    """Phrases added or left out: the words in common take the source's attention.

    The target's other words keep their own.

    Arguments:
        steps: Part of the sampling in which the source's attention is taken.
        words: Words or phrases of the target with a part of the sampling of their own.

    Raises:
        UserError: as for :class:`Replace`, but for the number of words.
    """

    kind = "refine"


@dataclass(frozen=True)
class Reweight:
    """Stronger or weaker words: their attention times a factor.

    It multiplies what the controllers before it have set.

    Arguments:
        factors: Factors by word or phrase of the target: above 1 strengthens it, below 1 weakens.
        steps: Part of the sampling in which the factors hold; in the authors' code that in which
            the source's attention is taken.

    Raises:
        UserError: a factor is no finite number, or ``steps`` is no part of the sampling; on use,
            the target lacks a word.
    """

    factors: Mapping[str, float]
    steps: Interval = 0.8

    def __post_init__(self) -> None:
        bounds(self.steps)
        for word, factor in self.factors.items():
            if not isinstance(factor, (int, float)) or not math.isfinite(factor):
                raise UserError(f"the weight of '{word}' is {factor}: give a number, e.g. 2")

    def __call__(self, plan: Plan, source: Tokens, target: Tokens, moment: Moment) -> Plan:
        scale = torch.ones(target.length)
        for phrase, factor in self.factors.items():
            scale[target.locate(phrase)] *= factor
        if not moment.within(self.steps):
            return plan
        return replace(
            plan,
            source_weights=plan.source_weights * scale,
            target_weights=plan.target_weights * scale,
        )


@dataclass(frozen=True)
class SelfReplace:
    """The source's self-attention at coarse resolution for some steps, which keeps the layout.

    Coarse are the token grids whose side is at most a quarter of the latent's, or the coarsest
    one where there is none.

    Arguments:
        steps: Part of the sampling in which the source's self-attention is taken.

    Raises:
        UserError: ``steps`` is no part of the sampling.
    """

    steps: Interval = 0.4

    def __post_init__(self) -> None:
        bounds(self.steps)

    def __call__(self, plan: Plan, source: Tokens, target: Tokens, moment: Moment) -> Plan:
        active = moment.within(self.steps)
        return replace(plan, self_attention=plan.self_attention or active)


@dataclass(frozen=True)
class Share:
    """The source's values, or keys or queries, in the target's attention to the picture.

    They are those of the source branch in the same network call, in the rows of the prompt and,
    under guidance, in those of the null prompt. In a UNet this is self-attention, in a transformer
    joint attention, of which the tokens of the picture are taken.

    References:
        | Values in the last blocks, first steps: Taming Rectified Flow for Inversion and Editing
        | (Wang et al., 2025), https://arxiv.org/abs/2411.04746
        | Keys and values in some blocks, all steps: Stable Flow: Vital Layers for Training-Free
        | Image Editing (Avrahami et al., 2025), https://arxiv.org/abs/2411.14430

    Deviations: the first stores the values of the inversion instead of sampling the source again,
    which is the same where the inversion is exact.

    Arguments:
        steps: Part of the sampling in which they are taken.
        parts: Which of ``query``, ``key`` and ``value``.
        blocks: Numbers of the blocks (:func:`~fpinv.editing.projections.find_blocks`); None for
            all.
        prompt_tokens: True to take those of the prompt's tokens as well, in blocks that project
            both together (FLUX's single blocks).

    Raises:
        UserError: ``steps`` is no part of the sampling, or a part or a block is impossible.
    """

    steps: Interval = 0.2
    parts: tuple[Part, ...] = ("value",)
    blocks: tuple[int, ...] | None = None
    prompt_tokens: bool = False

    def __post_init__(self) -> None:
        bounds(self.steps)
        if not self.parts or set(self.parts) - set(get_args(Part)):
            names = ", ".join(get_args(Part))
            raise UserError(f"parts={list(self.parts)} cannot be shared: choose of {names}")
        if self.blocks is not None and not (self.blocks and all(map(_is_number, self.blocks))):
            raise UserError(
                f"blocks={list(self.blocks)} is not possible: give the numbers of some blocks, "
                "counted from 0, or null for all"
            )

    def __call__(self, plan: Plan, source: Tokens, target: Tokens, moment: Moment) -> Plan:
        if not moment.within(self.steps):
            return plan
        return replace(plan, shared=(*plan.shared, self))

    def covers(self, block: Block, part: Part) -> bool:
        """Return whether a projection is one of those that are taken."""
        return part in self.parts and (self.blocks is None or block.number in self.blocks)


def _is_number(block: object) -> bool:
    """Return whether a block has a number: a whole one, from 0 on."""
    return isinstance(block, int) and not isinstance(block, bool) and block >= 0


@dataclass(frozen=True)
class LocalBlend:
    """The source's latents wherever neither prompt's maps show some words.

    The maps are the branches' own cross-attention probabilities of the words' tokens on the
    finest coarse grid (see :class:`SelfReplace`), averaged over heads, layers and the steps so
    far, spread by one grid point and divided by their maximum.

    Arguments:
        words: Words or phrases; each must be in one of the two prompts and is looked for in the
            maps of every one that has it.
        threshold: Share of the maximum above which a pixel belongs to the words, in [0, 1); None
            for 0.3, the paper's, on maps of 16 x 16 and finer, and 0.5 on coarser ones.
        start: Share of the sampling that passes before the first blend, in [0, 1). Where no step
            is left after it, the latents are never blended.

    Raises:
        UserError: no word, or a number out of range; on use, a word that is in neither prompt, or
            another blend before this one.
    """

    words: tuple[str, ...]
    threshold: float | None = None
    start: float = 0.2

    def __post_init__(self) -> None:
        if isinstance(self.words, str) or not self.words:
            raise UserError(f"local blend needs a list of words, not {self.words!r}")
        for name, value in (("threshold", self.threshold), ("start", self.start)):
            if value is not None and not 0 <= value < 1:
                raise UserError(
                    f"blend {name}={value} is not possible: give a number from 0 to below 1"
                )

    def __call__(self, plan: Plan, source: Tokens, target: Tokens, moment: Moment) -> Plan:
        for word in self.words:
            if not source.find(word) and not target.find(word):
                raise UserError(
                    f"the word to blend '{word}' is in neither '{source.prompt}' nor "
                    f"'{target.prompt}'{suggestion(word, [*source.words, *target.words])}"
                )
        if plan.blend is not None:
            raise UserError("an edit has one LocalBlend: name all words to blend in it")
        words = source.indicator(self.words), target.indicator(self.words)
        active = moment.number > round(self.start * moment.steps)
        return replace(plan, blend=Blend(*words, self.threshold, active))
