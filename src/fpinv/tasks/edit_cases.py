"""Edits ready to be made, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fpinv.datasets.example import EditCase, Example
from fpinv.editing.sampling import Sampled
from fpinv.images import square, square_mask
from fpinv.inversion import Inversion

Key = tuple[str, str]
"""What an inversion is of: the name of an image and its prompt."""


@dataclass(frozen=True)
class Case:
    """One edit, ready to be made.

    Arguments:
        example: What it is asked of.
        case: What is asked, and what is known of the outcome.
        pixels: The image (3, H, W) in [-1, 1].
        mask: Where the edit may show, (H, W); None where that is unknown.
        truth: What a perfect edit would show, (3, H, W); None where that is unknown.
    """

    example: Example
    case: EditCase
    pixels: Tensor
    mask: Tensor | None
    truth: Tensor | None

    @property
    def key(self) -> Key:
        """What the edit's inversion is of."""
        return self.case.image, self.example.prompt

    @classmethod
    def open(cls, example: Example, case: EditCase, size: int) -> Case:
        """Opens the image, the mask and the truth of an edit, at a side of ``size`` pixels.

        Raises:
            UserError: one of them does not fit.
        """
        picture = example.open()
        mask = case.open_mask(picture.size)
        return cls(
            example,
            case,
            square(picture, size),
            None if mask is None else square_mask(mask, size),
            None if case.truth is None else square(case.truth(), size),
        )


@dataclass(frozen=True)
class Source:
    """An image and its inversion.

    Arguments:
        latents: What was inverted, (1, C, h, w).
        inversion: Of that.
        seconds: What it took; 0 for a saved one.
    """

    latents: Tensor
    inversion: Inversion
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What became of T cases.

    Arguments:
        cases: The cases.
        sources: The source of each.
        originals: Their images (T, 3, H, W) in [-1, 1].
        reconstructions: What the source branch of each gave back, likewise.
        edits: The edits, likewise.
        found: The latents of the source branch of each, (T, C, h, w).
        sampled: What the sampling of all branches gave and cost.
        seconds: What that took.
    """

    cases: list[Case]
    sources: list[Source]
    originals: Tensor
    reconstructions: Tensor
    edits: Tensor
    found: Tensor
    sampled: Sampled
    seconds: float
