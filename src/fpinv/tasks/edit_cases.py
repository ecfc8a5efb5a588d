"""Edits of images: the cases to be made, their sources, and the edited batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from torch import Tensor

from fpinv.datasets.example import EditCase, Example
from fpinv.editing.sampling import SampledBranches
from fpinv.errors import UserError
from fpinv.images import Frame
from fpinv.inversion import Inversion
from fpinv.tasks.loading import decoding, open_pixels
from fpinv.tasks.record import Record
from fpinv.tasks.stages import alike, each, run_stages

Key = tuple[str, str]
"""The name of an image and the prompt that it is inverted under: one inversion for each."""


@dataclass(frozen=True)
class Case:
    """One edit, ready to be made.

    Arguments:
        example: The example that has the edit.
        request: The edit, and the facts about a perfect one.
        pixels: The image (3, H, W) in [-1, 1].
        mask: Marks where the edit may show, (H, W); None where that is unknown.
        truth: The image of a perfect edit, (3, H, W); None where that is unknown.
    """

    example: Example
    request: EditCase
    pixels: Tensor
    mask: Tensor | None
    truth: Tensor | None

    @property
    def key(self) -> Key:
        """The image and the prompt of the edit's inversion."""
        return self.request.image, self.example.prompt

    @property
    def size(self) -> tuple[int, ...]:
        """The shape of the pixels."""
        return tuple(self.pixels.shape)

    @classmethod
    def open(cls, example: Example, frame: Frame) -> Case:
        """Return the case of an example, with the frame of its pictures.

        Raises:
            UserError: a picture cannot be read or is too narrow, or the mask or the truth does
                not fit it.
        """
        request, pixels = example.case, open_pixels(example, frame)
        assert request is not None, "examples have been through require_edit"
        with decoding(example.id):
            mask = request.open_mask(example.open().size)
            truth = None if request.truth is None else frame.pixels(request.truth())
        if truth is not None and truth.shape != pixels.shape:
            height, width = truth.shape[-2:]
            raise UserError(
                f"{example.id}: the picture of the true edit has {width}x{height} pixels at the "
                f"model's size, and the image {pixels.shape[-1]}x{pixels.shape[-2]}"
            )
        return cls(example, request, pixels, None if mask is None else frame.mask(mask), truth)


def require_edit(example: Example) -> Example:
    """Return the example.

    Raises:
        UserError: it has no edit.
    """
    if example.case is None:
        raise UserError("the data set has no edits: use one that has, e.g. dataset=scene_edits")
    return example


def run_cases(
    examples: Iterable[Example],
    batch_size: int,
    read: Callable[[Example], Case],
    edit: Callable[[Sequence[Case]], Sequence[Record | UserError]],
) -> Iterator[Record]:
    """Yield the record of each example, in order; a case that fails has its error there.

    Arguments:
        examples: The examples.
        batch_size: Number of cases that are edited together; they have pictures of one size.
        read: Reads the pictures of an example.
        edit: Edits and measures some cases.

    Raises:
        UserError: an example has no edit, as in a data set of another kind.
    """
    stages = each(read), alike(attrgetter("size"), edit)
    return run_stages(map(require_edit, examples), batch_size, *stages)


@dataclass(frozen=True)
class Source:
    """An image and its inversion.

    Arguments:
        latents: The latents that were inverted, (1, C, h, w); None for a saved inversion of
            latents that an adjustment had changed.
        inversion: The inversion of those.
        seconds: Time of the inversion; None for a saved one.
    """

    latents: Tensor | None
    inversion: Inversion
    seconds: float | None


@dataclass(frozen=True)
class EditedImages:
    """The images of T cases and their edits, whoever made them.

    Arguments:
        cases: The cases.
        originals: The image of each case (T, 3, H, W) in [-1, 1].
        edits: The edited images (T, 3, H, W) in [-1, 1].
    """

    cases: Sequence[Case]
    originals: Tensor
    edits: Tensor


@dataclass(frozen=True)
class EditedBatch(EditedImages):
    """The results of T cases that were inverted and edited.

    Arguments:
        sources: The source of each case.
        reconstructions: The image of each case's source branch (T, 3, H, W) in [-1, 1].
        source_latents: The latents of each case's source branch, (T, C, h, w).
        sampled: The latents and the cost of all branches.
        free: Marks where each edit was free to differ at the end, (T, H, W), bool.
        seconds: Time of the sampling.
    """

    sources: Sequence[Source]
    reconstructions: Tensor
    source_latents: Tensor
    sampled: SampledBranches
    free: Tensor
    seconds: float
