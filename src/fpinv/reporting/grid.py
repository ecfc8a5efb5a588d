"""Labelled pictures in rows and columns, drawn as one picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import zip_longest
from math import ceil
from pathlib import Path
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont, ImageOps

SIDE = 128
"""Pixels that the shorter side of a picture has at least: smaller pictures are enlarged."""
LONGEST = 256
"""Pixels that the longer side of a picture keeps when it is read for an overview."""
GUTTER = 160
"""Pixels that labels beside the rows take at most."""
LETTER, LINE, GAP = 13, 17, 6
"""Size of the letters, distance of lines and distance of cells, in pixels."""


@dataclass(frozen=True)
class Tile:
    """A picture of a grid.

    Arguments:
        picture: The picture.
        caption: Words under it.
    """

    picture: Image.Image
    caption: str = ""


def grid(
    rows: Sequence[Sequence[Tile]],
    titles: Sequence[str] = (),
    labels: Sequence[str] = (),
    side: int = SIDE,
) -> Image.Image:
    """Return rows of pictures as one picture.

    Pictures whose shorter side is below ``side`` pixels are enlarged by a whole factor; larger
    ones keep their size.

    Arguments:
        rows: The tiles of each row; rows may differ in length.
        titles: Words over the columns, one text for each.
        labels: Words beside the rows, one text for each.
        side: Pixels that the shorter side of a picture has at least.
    """
    rows = [[replace(tile, picture=enlarged(tile.picture, side)) for tile in row] for row in rows]
    columns = zip_longest(*rows)
    widths = [max(tile.picture.width for tile in column if tile) for column in columns]
    heads = titles or [""] * len(widths)
    lines = [[_text(title, width) for title, width in zip(heads, widths, strict=True)]]
    lines += [[_cell(*cell) for cell in zip_longest(row, widths)] for row in rows]
    if any(labels):
        heights = [max(tile.picture.height for tile in row) for row in rows]
        margin = _margin(labels, heights)
        lines = [[label, *line] for label, line in zip(margin, lines, strict=True)]
    head, *body = lines
    picture = _joined([_joined(head, place=1.0), *map(_joined, body)], down=True)
    return ImageOps.expand(picture, GAP, "white")


def strip(pictures: Mapping[str, Image.Image]) -> Image.Image:
    """Return pictures in a row, under their names."""
    return grid([[Tile(picture) for picture in pictures.values()]], list(pictures))


def read_picture(file: Path, longest: int = LONGEST) -> Image.Image:
    """Return the picture in a file, reduced to ``longest`` pixels where it is larger."""
    with Image.open(file) as image:
        picture = image.convert("RGB")
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return picture


def enlarged(picture: Image.Image, side: int = SIDE) -> Image.Image:
    """Return a picture whose shorter side has at least ``side`` pixels, each a whole square."""
    factor = ceil(side / min(picture.size))
    return picture.resize(
        (factor * picture.width, factor * picture.height), Image.Resampling.NEAREST
    )


def _cell(tile: Tile | None, width: int) -> Image.Image:
    """Return a picture with its caption, in a column of a width."""
    if tile is None:
        return _text("", width)
    return _joined([tile.picture, _text(tile.caption, width)], down=True, place=0.5, gap=2)


def _margin(labels: Sequence[str], heights: Sequence[int]) -> Iterator[Image.Image]:
    """Yield a blank beside the titles, then each label at half the height of its pictures."""
    widest = max(_length(line) for label in labels for line in label.split("\n"))
    width = min(GUTTER, ceil(widest))
    yield _text("", width)
    for label, height in zip(labels, heights, strict=True):
        yield _text(label, width, height, right=True)


def _text(words: str, width: int, height: int = 0, right: bool = False) -> Image.Image:
    """Return words as a picture of a width, wrapped, in the middle of at least a height."""
    lines = _wrapped(words, width)
    picture = Image.new("RGB", (width, max(height, LINE * len(lines))), "white")
    draw, top = ImageDraw.Draw(picture), (picture.height - LINE * len(lines)) // 2
    x, anchor = (width, "ra") if right else (width // 2, "ma")
    for k, line in enumerate(lines):
        draw.text((x, top + k * LINE), line, "black", _font(), anchor)
    return picture


@cache
def _wrapped(words: str, width: int) -> Sequence[str]:
    """Return words in lines of at most a width in pixels."""
    lines: list[str] = []
    # textwrap counts letters, which differ in width: fewer are tried until the longest line fits.
    for letters in range(max(1, width // 4), 0, -1):
        lines = [line for paragraph in words.split("\n") for line in wrap(paragraph, letters)]
        if all(_length(line) <= width for line in lines):
            break
    return lines


def _length(line: str) -> float:
    return _font().getlength(line)


@cache
def _font() -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which matplotlib brings: Pillow's own font has no arrows or accents."""
    import matplotlib

    file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(file, LETTER)


def _joined(
    pictures: Sequence[Image.Image], down: bool = False, place: float = 0.0, gap: int = GAP
) -> Image.Image:
    """Return pictures in a row or column on white.

    Arguments:
        pictures: The pictures, in order.
        down: Set them below each other rather than side by side.
        place: Where smaller ones lie across the line, from 0 (top or left) to 1.
        gap: Pixels between them.
    """
    along, across = (1, 0) if down else (0, 1)
    size = [0, 0]
    size[along] = sum(picture.size[along] + gap for picture in pictures) - gap
    size[across] = breadth = max(picture.size[across] for picture in pictures)
    canvas, at = Image.new("RGB", (size[0], size[1]), "white"), [0, 0]
    for picture in pictures:
        at[across] = round(place * (breadth - picture.size[across]))
        canvas.paste(picture, (at[0], at[1]))
        at[along] += picture.size[along] + gap
    return canvas
