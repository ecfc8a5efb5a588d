"""Pictures side by side in a figure: rows of examples, columns of what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from PIL import Image

from fpinv.reporting.experiment import Job
from fpinv.run.folder import picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = 1.4  # side of a picture
LETTERS = 24  # that stand beside a row, or under a picture, in a line

Cell = tuple[Path, str]
"""A picture and the words under it."""


@dataclass(frozen=True)
class Shown:
    """A column: what a job kept of each example.

    Arguments:
        heading: Over the column.
        job: Whose pictures; its examples must have their ``images``.
        name: Which of its pictures.
        metric: Whose value in dB stands under each; empty for none.
    """

    heading: str
    job: Job
    name: str
    metric: str = ""

    @cached_property
    def examples(self) -> dict[str, Mapping[str, Any]]:
        """The examples with that picture, by id."""
        return {e["id"]: e for e in self.job.examples if self.name in e["images"]}

    def cell(self, id: str) -> Cell:
        """Of one of them."""
        assert self.job.folder is not None
        value = self.examples[id].get(self.metric)
        words = "" if value is None else f"{value:.2f} dB"
        return picture(self.job.folder, id, self.name), words


def side_by_side(
    columns: Sequence[Shown],
    most: int,
    title: Callable[[Mapping[str, Any]], str] = lambda example: "",
) -> Figure | None:
    """The first examples whose pictures all columns have.

    Arguments:
        columns: From left to right.
        most: Rows.
        title: Words beside the row of an example.

    Returns:
        None where the runs are not at hand, or kept no pictures in common.
    """
    if any(column.job.folder is None for column in columns):
        return None
    first, *others = (column.examples for column in columns)
    ids = [id for id in first if all(id in other for other in others)][:most]
    rows = [[column.cell(id) for column in columns] for id in ids]
    titles = [title(first[id]) for id in ids]
    return picture_grid([c.heading for c in columns], rows, titles) if ids else None


def new_words(text: str, other: str) -> str:
    """The words of a prompt that another lacks, without the punctuation after them."""
    known = other.split()
    return " ".join(word.strip(",.;") for word in text.split() if word not in known)


def picture_grid(
    headings: Sequence[str], rows: Sequence[Sequence[Cell]], titles: Sequence[str] = ()
) -> Figure:
    """Rows of pictures with words under them, headings over the first, titles beside each.

    A row may be shorter than the headings.
    """
    from matplotlib.figure import Figure

    beside = 1.5 if any(titles) else 0.0
    lines = max(fill(words, LETTERS).count("\n") for row in rows for _, words in row)
    high = INCHES + 0.15 * (lines + 1)
    size = (INCHES * len(headings) + beside, high * len(rows) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(headings), squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        for axis, cell in zip_longest(axes, row):
            if cell is None:
                axis.set_axis_off()
            else:
                _show(axis, cell)
    for axis, heading in zip(grid[0], headings, strict=True):
        axis.set_title(heading, fontsize=8)
    for axes, title in zip(grid, titles, strict=False):
        words = fill(title, LETTERS)
        axes[0].set_ylabel(words, fontsize=7, rotation=0, ha="right", va="center", labelpad=6)
    return figure


def _show(axis: Axes, cell: Cell) -> None:
    file, words = cell
    with Image.open(file) as image:
        axis.imshow(image.convert("RGB"), interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel(fill(words, LETTERS), fontsize=7, labelpad=2)
