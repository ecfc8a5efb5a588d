"""Pictures of edits."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

GAP = 2


def strip(images: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size side by side, a little apart."""
    width, height = images[0].size
    row = Image.new("RGB", ((width + GAP) * len(images) - GAP, height), "white")
    for k, image in enumerate(images):
        row.paste(image, (k * (width + GAP), 0))
    return row
