"""The controllers that prompt-to-prompt answers a request with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fpinv.editing.controllers import (
    Controller,
    LocalBlend,
    Refine,
    Replace,
    Reweight,
    SelfReplace,
    Steps,
)
from fpinv.editing.request import Edit, Kind
from fpinv.editing.tokens import Tokens, edit_kind


@dataclass(frozen=True)
class PromptToPrompt:
    """Prompt-to-prompt: which controllers an edit is made with, and for how long each.

    References:
        | Prompt-to-Prompt Image Editing with Cross Attention Control (Hertz et al., 2022)
        | https://arxiv.org/abs/2208.01626

    Arguments:
        cross_steps: Part of the sampling in which common words take the source's cross-attention.
        self_steps: Part in which coarse self-attention is the source's.
        blend_threshold: See :class:`~fpinv.editing.controllers.LocalBlend`.
        blend_start: Likewise.

    Raises:
        UserError: a part of the sampling or a number is out of range.
    """

    cross_steps: Steps = 0.8
    self_steps: Steps = 0.4
    blend_threshold: float = 0.3
    blend_start: float = 0.2

    def __post_init__(self) -> None:
        # All four are checked now rather than at the first edit that blends.
        Replace(self.cross_steps), SelfReplace(self.self_steps), self._blend(("word",))

    def controllers(self, edit: Edit, source: Tokens, target: Tokens) -> tuple[Controller, ...]:
        """The controllers of one edit: its own, or else the recipe's."""
        if edit.controllers is not None:
            return edit.controllers
        return tuple(self._chosen(edit, edit.kind or edit_kind(source, target)))

    def _chosen(self, edit: Edit, kind: Kind) -> Iterator[Controller]:
        yield {"replace": Replace, "refine": Refine}[kind](self.cross_steps)
        yield SelfReplace(self.self_steps)
        if edit.reweight:
            yield Reweight(edit.reweight)
        if edit.blend:
            yield self._blend(edit.blend)

    def _blend(self, words: tuple[str, ...]) -> LocalBlend:
        return LocalBlend(words, self.blend_threshold, self.blend_start)
