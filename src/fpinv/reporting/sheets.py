"""Pictures of several runs side by side: a row an example, a column a kind of picture of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from fpinv.errors import UserError
from fpinv.reporting.experiment import Job
from fpinv.reporting.grid import SIDE, Tile, grid, read_picture
from fpinv.run.folder import LINES_FILE, picture, read_rows

Row = Mapping[str, Any]
"""The line of an example, with its ``id`` and ``images``."""


@dataclass(frozen=True)
class PictureColumn:
    """One kind of picture of one run.

    Arguments:
        title: Words over the column.
        folder: The run's folder; None where it is not at hand, which leaves the column empty.
        rows: The run's examples.
        name: Name of the picture, such as ``reconstruction``.
        metric: The metric in dB whose value stands under each picture; empty for none.
    """

    title: str
    folder: Path | None
    rows: Sequence[Row]
    name: str
    metric: str = ""

    @cached_property
    def examples(self) -> dict[str, Row]:
        """Return the examples with that picture, by id."""
        rows = self.rows if self.folder else ()
        return {row["id"]: row for row in rows if self.name in row["images"]}

    def file(self, id: str) -> Path:
        """Return the file of an example's picture."""
        assert self.folder is not None
        return picture(self.folder, id, self.name)

    def caption(self, id: str) -> str:
        """Return the value of the metric, such as ``29.13 dB``."""
        value = self.examples[id].get(self.metric)
        return "" if value is None else f"{value:.2f} dB"


def job_pictures(title: str, job: Job, name: str, metric: str = "") -> PictureColumn:
    """Return a column of pictures of a job, whose examples must have their ``images``."""
    return PictureColumn(title, job.folder, job.examples, name, metric)


def shared(columns: Sequence[PictureColumn]) -> list[str]:
    """Return the ids of the examples whose pictures all columns have, in the first one's order."""
    if not columns:
        return []
    return [id for id in columns[0].examples if all(id in c.examples for c in columns)]


def side_by_side(
    columns: Sequence[PictureColumn],
    most: int,
    label: Callable[[Row], str] = lambda row: "",
    side: int = SIDE,
) -> Image.Image | None:
    """Return a picture of the first ``most`` examples that all columns share; None without any.

    Arguments:
        columns: The columns from left to right.
        most: Number of rows at most.
        label: Gives the words beside the row of an example.
        side: Pixels that the shorter side of a picture has at least.
    """
    ids = shared(columns)[:most]
    rows = [[Tile(read_picture(c.file(id)), c.caption(id)) for c in columns] for id in ids]
    labels = [label(columns[0].examples[id]) for id in ids]
    return grid(rows, [c.title for c in columns], labels, side) if ids else None


def edits_with(folder: Path, *names: str) -> dict[str, Row]:
    """Return the lines of the edits of a run that kept all of the pictures ``names``, by id.

    Raises:
        UserError: The folder is no run's, or no edit kept them.
    """
    if not (folder / LINES_FILE).is_file():
        raise UserError(f"{folder}: no run's folder")
    rows: list[Row] = [row for row in read_rows(folder) if set(names) <= set(row["images"])]
    if not rows:
        raise UserError(f"{folder}: no pictures of edits; run task=editing with images=null")
    return {row["id"]: row for row in rows}


def of_one_original(folders: Iterable[Path], id: str) -> bool:
    """Return True if all runs kept the same original of an example, or none kept any."""
    files = [picture(folder, id, "original") for folder in folders]
    return len({file.read_bytes() if file.exists() else None for file in files}) == 1


def prompts(row: Row) -> str:
    """Return the prompt of an example, and that of its edit where it has one."""
    target = row.get("texts", row).get("target")
    return f"{row['prompt']} → {target}" if target else row["prompt"]


def new_words(text: str, reference: str) -> str:
    """Return the words of a prompt that a reference lacks, without their punctuation."""
    words = reference.split()
    return " ".join(word.strip(",.;") for word in text.split() if word not in words)
