"""Examples and the contract of data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fpinv.editing.request import Edit
from fpinv.errors import UserError
from fpinv.images.viewing import as_seen, open_picture

Mask = NDArray[np.bool_]
"""A mask (H, W) in the pixels of its image as a viewer shows it, True where an edit may show."""


@dataclass(frozen=True)
class EditCase:
    """A requested edit of an example, with its true outcome as far as it is known.

    Arguments:
        edit: The request; the example's prompt is the source's.
        image: Name of the image, which is inverted once for all examples that share it.
        mask: Pixels where the edit may show, or a function that draws them; None if unknown.
        truth: Function that draws the picture of a perfect edit; None if unknown.
        attributes: Attributes of that picture, if they are known.
        instruction: The edit in words, such as ``make the red star blue``; empty if unknown.
    """

    edit: Edit
    image: str
    mask: Mask | Callable[[], Mask] | None = None
    truth: Callable[[], Image.Image] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    instruction: str = ""

    def open_mask(self, size: tuple[int, int]) -> Mask | None:
        """Return the mask for an image of this width and height, or None if it is unknown.

        Raises:
            UserError: the mask has another size.
        """
        mask = self.mask() if callable(self.mask) else self.mask
        if mask is not None and mask.shape != size[::-1]:
            height, width = mask.shape
            raise UserError(
                f"{self.image}: its mask has {width}x{height} pixels and the image "
                f"{size[0]}x{size[1]} as a viewer shows it: give a mask of that size"
            )
        return mask


@dataclass(frozen=True)
class Example:
    """A prompt with its image, which is opened or drawn when needed, or with a seed.

    Arguments:
        id: Name that is unique in its data set and fit for a file name.
        prompt: The caption.
        image: The picture, its file, or a function that draws it; None for an image that the
            model generates itself.
        seed: Seed of the noise latent of a generated image.
        attributes: Further facts (ground-truth attributes, image size, category).
        case: The requested edit, in data sets for editing.
        objects: Mask of the objects in its picture, or a function that draws it; None if unknown.
    """

    id: str
    prompt: str
    image: Image.Image | Path | Callable[[], Image.Image] | None = None
    seed: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    case: EditCase | None = None
    objects: Mask | Callable[[], Mask] | None = None

    def open(self) -> Image.Image:
        """Return the image as a viewer shows it (:mod:`fpinv.images.viewing`), in RGB.

        Raises:
            UserError: the file is missing, too large or not an image; the message names it.
        """
        if self.image is None:
            raise UserError(f"example {self.id} has no image: it is generated from its seed")
        if isinstance(self.image, Path):
            return open_picture(self.image)
        return as_seen(self.image() if callable(self.image) else self.image)

    def open_objects(self) -> Mask | None:
        """Return the mask of the objects in the picture, or None if it is unknown."""
        return self.objects() if callable(self.objects) else self.objects


class Dataset(Protocol):
    """A sequence of examples. Taking one is cheap, because only ``Example.open`` opens files.

    With one kind of pictures only it has a name of that, ``domain`` (:mod:`fpinv.tasks.domains`).
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples in order."""
        return (self[index] for index in range(len(self)))


class ListedDataset(Dataset):
    """A data set of examples that are listed when it is made.

    Arguments:
        examples: The examples in order.
    """

    def __init__(self, examples: Iterable[Example]) -> None:
        self._examples = list(examples)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]
