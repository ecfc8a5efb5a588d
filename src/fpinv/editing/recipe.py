"""The recipe of prompt-to-prompt: which controllers an edit is made with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fpinv.editing.controllers import (
    Controller,
    Interval,
    LocalBlend,
    Refine,
    Replace,
    Reweight,
    SelfReplace,
)
from fpinv.editing.request import Edit, Kind
from fpinv.editing.tokens import Tokens, edit_kind


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

    Raises:
        UserError: a part of the sampling or a number is out of range.
    """

    cross_steps: Interval = 0.8
    self_steps: Interval = 0.4
    blend_threshold: float = 0.3
    blend_start: float = 0.2

    def __post_init__(self) -> None:
        # The controllers check all four: made here, they fail before the first edit does.
        Replace(self.cross_steps), SelfReplace(self.self_steps), self._blend(("word",))

    def controllers(self, edit: Edit, source: Tokens, target: Tokens) -> tuple[Controller, ...]:
        """Return the controllers that an edit brings along, or else those of the recipe."""
        if edit.controllers is not None:
            return edit.controllers
        return tuple(self._compose(edit, edit.kind or edit_kind(source, target)))

    def _compose(self, edit: Edit, kind: Kind) -> Iterator[Controller]:
        yield {"replace": Replace, "refine": Refine}[kind](self.cross_steps)
        yield SelfReplace(self.self_steps)
        if edit.reweight:
            yield Reweight(edit.reweight)
        if edit.blend:
            yield self._blend(edit.blend)

    def _blend(self, words: tuple[str, ...]) -> LocalBlend:
        return LocalBlend(words, self.blend_threshold, self.blend_start)
