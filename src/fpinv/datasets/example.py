"""One example of a data set, and what a data set is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from fpinv.errors import UserError


@dataclass(frozen=True)
class Example:
    """A prompt with its image, which is opened or drawn when needed, or with a seed.

    Arguments:
        id: Name that is unique in its data set and fit for a file name.
        prompt: The caption.
        image: The picture, its file, or a function that draws it; None for an image that the
            model generates itself.
        seed: Seed of the noise latent of a generated image.
        attributes: What else is known (ground-truth attributes, image size, category).
    """

    id: str
    prompt: str
    image: Image.Image | Path | Callable[[], Image.Image] | None = None
    seed: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def open(self) -> Image.Image:
        """The image in RGB.

        Raises:
            UserError: the file is missing or is not an image; the message names it.
        """
        if self.image is None:
            raise UserError(f"example {self.id} has no image: it is generated from its seed")
        if isinstance(self.image, Image.Image):
            return self.image.convert("RGB")
        if callable(self.image):
            return self.image().convert("RGB")
        try:
            with Image.open(self.image) as image:
                return image.convert("RGB")
        except FileNotFoundError:
            raise UserError(f"{self.image}: no such image; check dataset.root") from None
        except (OSError, SyntaxError) as error:
            raise UserError(f"{self.image}: cannot be read as an image ({error})") from error


class Dataset(Protocol):
    """A sequence of examples; taking one is cheap: ``Example.open`` is what opens files."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...
