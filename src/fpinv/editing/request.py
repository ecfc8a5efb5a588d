"""What is asked of an edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from fpinv.errors import UserError

if TYPE_CHECKING:
    from fpinv.editing.controllers import Controller

Kind = Literal["replace", "refine"]


@dataclass(frozen=True)
class Edit:
    """A target prompt, and what to do to get there.

    Arguments:
        prompt: What the edited image should show.
        kind: ``replace`` or ``refine``; None derives it from the two prompts.
        blend: Words outside which the image should stay; each must be in one of the prompts.
        reweight: Factors by word of the target: above 1 for more of it, below 1 for less.
        controllers: Used as they are, in place of those of a recipe; None for the recipe's.

    Raises:
        UserError: an unknown kind.
    """

    prompt: str
    kind: Kind | None = None
    blend: tuple[str, ...] = ()
    reweight: Mapping[str, float] = field(default_factory=dict)
    controllers: tuple[Controller, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in (None, *get_args(Kind)):
            kinds = " or ".join(get_args(Kind))
            raise UserError(f"edit kind '{self.kind}' is unknown: choose {kinds}, or leave it out")
