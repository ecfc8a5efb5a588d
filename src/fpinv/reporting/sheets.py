"""Pictures of several runs side by side: a row an example, a column a kind of picture of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from fpinv.errors import UserError
from fpinv.reporting.experiment import Job
from fpinv.reporting.grid import SIDE, Tile, grid, read_picture
from fpinv.run.folder import LINES_FILE, picture, read_rows

WIDE = 1400
"""Pixels that the longer side of a strip or sheet of pictures keeps."""
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
        """Return the examples whose picture is there, by id."""
        rows = [row for row in self.rows if self.folder and self.name in row["images"]]
        return {row["id"]: row for row in rows if self.file(row["id"]).is_file()}

    def file(self, id: str) -> Path:
        """Return the file of an example's picture."""
        assert self.folder is not None
        return picture(self.folder, id, self.name)

    def caption(self, id: str) -> str:
        """Return the value of the metric with its name, such as ``PSNR 29.13 dB``."""
        value = self.examples[id].get(self.metric)
        name = "background" if self.metric.startswith("background") else "PSNR"
        return "" if value is None else f"{name} {value:.2f} dB"


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


def stacked(columns: Sequence[PictureColumn], most: int) -> Image.Image | None:
    """Return strips below each other, those of an example together; None without any.

    Beside each stand the prompt and, of several columns, the title.

    Arguments:
        columns: The columns, of pictures with heads of their own.
        most: Number of examples at most.
    """
    places = [(id, column) for id in shared(columns)[:most] for column in columns]
    rows = [[Tile(read_picture(column.file(id), WIDE))] for id, column in places]
    labels = [
        "\n".join([prompts(column.examples[id]), *([column.title] if columns[1:] else [])])
        for id, column in places
    ]
    return grid(rows, labels=labels, side=1) if rows else None


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
    """Return the prompt of an example; of an edit, what was asked for in words."""
    texts = row.get("texts", row)
    return change(row) if texts.get("target") else row["prompt"]


def change(row: Row) -> str:
    """Return the instruction of an edit, or else what becomes of its prompt.

    That is such as ``“cat” becomes “dog”`` where one place of the prompt differs; otherwise both
    prompts.
    """
    texts = row.get("texts", row)
    if instruction := texts.get("instruction"):
        return str(instruction)
    before, after = row["prompt"].split(), texts["target"].split()
    changes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    places = [change[1:] for change in changes if change[0] != "equal"]
    if len(places) != 1 or len(changes) == 1:
        return f"{row['prompt']} → {texts['target']}"
    ((begin, end, start, stop),) = places
    lost, gained = _quoted(before[begin:end]), _quoted(after[start:stop])
    if lost and gained:
        return f"{lost} becomes {gained}"
    return f"{gained} is added" if gained else f"{lost} is dropped"


def _quoted(words: Sequence[str]) -> str:
    """Return words in quotes, without the punctuation around them; nothing for none."""
    return f"“{' '.join(words).strip(',.;')}”" if words else ""
