"""Recipes: which controllers an edit is made with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fpinv.editing.controllers import (
    Controller,
    Interval,
    LocalBlend,
    Refine,
    Replace,
    Reweight,
    SelfReplace,
    Share,
    bounds,
)
from fpinv.editing.projections import Part
from fpinv.editing.request import Edit, Kind
from fpinv.editing.tokens import Tokens, edit_kind
from fpinv.errors import UserError


class Recipe(Protocol):
    """The choice of controllers for the edits that bring none along."""

    def controllers(self, edit: Edit, source: Tokens, target: Tokens) -> tuple[Controller, ...]:
        """Return the controllers that an edit brings along, or else those of the recipe.

        Raises:
            UserError: the edit asks for what the recipe does not do.
        """


@dataclass(frozen=True)
class PromptToPrompt:
    """The controllers of prompt-to-prompt, and the part of the sampling in which each acts.

    References:
        | Prompt-to-Prompt Image Editing with Cross Attention Control (Hertz et al., 2022)
        | https://arxiv.org/abs/2208.01626

    Arguments:
        cross_steps: Part of the sampling in which common words take the source's cross-attention.
        self_steps: Part in which coarse self-attention is the source's.
        blend_threshold: ``threshold`` of :class:`~fpinv.editing.controllers.LocalBlend`.
        blend_start: ``start`` of :class:`~fpinv.editing.controllers.LocalBlend`.
        kind: ``replace`` or ``refine`` for the edits that do not say it themselves; None derives
            it from the two prompts.
        emphasis: Factor of the blended words that the target has, on top of the edit's own.
        reweight_steps: Part in which words are reweighted; None for ``cross_steps``, as in the
            authors' code.

    Raises:
        UserError: a part of the sampling or a number is out of range, or the kind is unknown.
    """

    cross_steps: Interval = 0.8
    self_steps: Interval = 0.4
    blend_threshold: float | None = None
    blend_start: float = 0.2
    kind: Kind | None = None
    emphasis: float = 1.0
    reweight_steps: Interval | None = None

    def __post_init__(self) -> None:
        for key in ("cross_steps", "self_steps", "reweight_steps"):
            if (interval := getattr(self, key)) is not None:
                bounds(interval, key)
        if not (isinstance(self.emphasis, (int, float)) and math.isfinite(self.emphasis)):
            raise UserError(f"emphasis={self.emphasis} is not possible: give a number, e.g. 2")
        # Blends and edits check the rest: made here, they fail before the first edit does.
        self._blend(("word",)), Edit("word", self.kind)

    def controllers(self, edit: Edit, source: Tokens, target: Tokens) -> tuple[Controller, ...]:
        """Return the controllers that an edit brings along, or else those of the recipe."""
        if edit.controllers is not None:
            return edit.controllers
        return tuple(self._compose(edit, source, target))

    def _compose(self, edit: Edit, source: Tokens, target: Tokens) -> Iterator[Controller]:
        kind = edit.kind or self.kind or edit_kind(source, target)
        yield {"replace": Replace, "refine": Refine}[kind](self.cross_steps)
        yield SelfReplace(self.self_steps)
        emphasised = [word for word in edit.blend if target.find(word)]
        if self.emphasis != 1 and emphasised:
            yield self._reweight(dict.fromkeys(emphasised, self.emphasis))
        if edit.reweight:
            yield self._reweight(edit.reweight)
        if edit.blend:
            yield self._blend(edit.blend)

    def _reweight(self, factors: Mapping[str, float]) -> Reweight:
        steps = self.cross_steps if self.reweight_steps is None else self.reweight_steps
        return Reweight(factors, steps)

    def _blend(self, words: tuple[str, ...]) -> LocalBlend:
        return LocalBlend(words, self.blend_threshold, self.blend_start)


@dataclass(frozen=True)
class PlainEdit:
    """No controller: the target prompt is sampled from the inversion, and that is the edit.

    It needs no cross-attention, and has no use for the kind of an edit. It is the edit of
    RF-Inversion with ``inverter=rf_inversion``, that of EDICT with ``inverter=edict``.
    """

    def controllers(self, edit: Edit, source: Tokens, target: Tokens) -> tuple[Controller, ...]:
        """Return the controllers that an edit brings along, or else none.

        Raises:
            UserError: the edit names words to blend or to reweight.
        """
        return _without_words(edit)


@dataclass(frozen=True)
class AttentionSharing:
    """The source's values, or keys or queries, in the target's attention to the picture.

    It needs no cross-attention, and has no use for the kind of an edit.
    :class:`~fpinv.editing.controllers.Share` says what is taken.

    Arguments:
        steps: See :class:`~fpinv.editing.controllers.Share`, as for all others.
        parts: As there.
        blocks: As there.
        prompt_tokens: As there.

    Raises:
        UserError: as there.
    """

    steps: Interval = 0.2
    parts: Part | Sequence[Part] = ("value",)
    blocks: Sequence[int] | None = None
    prompt_tokens: bool = False

    def __post_init__(self) -> None:
        self._share()

    def controllers(self, edit: Edit, source: Tokens, target: Tokens) -> tuple[Controller, ...]:
        """Return the controllers that an edit brings along, or else the one of the recipe.

        Raises:
            UserError: the edit names words to blend or to reweight.
        """
        return _without_words(edit, self._share())

    def _share(self) -> Share:
        blocks = None if self.blocks is None else tuple(self.blocks)
        parts = [self.parts] if isinstance(self.parts, str) else self.parts
        # Plans are told apart by what they share, and a list cannot be hashed.
        steps = self.steps if isinstance(self.steps, (int, float)) else bounds(self.steps)
        return Share(steps, tuple(parts), blocks, self.prompt_tokens)


def _without_words(edit: Edit, *controllers: Controller) -> tuple[Controller, ...]:
    """Return an edit's own controllers or else these, which know nothing of words."""
    if edit.controllers is not None:
        return edit.controllers
    if words := [*edit.blend, *edit.reweight]:
        raise UserError(
            f"the recipe cannot single out words, such as '{words[0]}', to blend or to reweight "
            "them: use task.blend=false and no weights, or the recipe of prompt-to-prompt"
        )
    return controllers
