"""The request for an edit, as a user or a data set writes it."""

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
    """A target prompt, and options for the way to it.

    Arguments:
        prompt: Description of the edited image.
        kind: ``replace`` or ``refine``; None derives it from the two prompts.
        blend: Words outside which the image should stay; each must be in one of the prompts.
        reweight: Factors by word of the target: above 1 strengthens it, below 1 weakens it.
        controllers: Controllers to use in place of the recipe's; None for the recipe's. They are
            all that is done, so that none of the three above may stand beside them.

    Raises:
        UserError: the kind is unknown, or there are controllers and what they would leave undone.
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
        if self.controllers is not None and (self.kind or self.blend or self.reweight):
            raise UserError(
                "an edit with controllers of its own has no kind, blend or reweight beside them: "
                "put Replace or Refine, LocalBlend and Reweight among the controllers"
            )
