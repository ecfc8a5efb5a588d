"""Galleries of pictures: what runs made of the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from fpinv.reporting.experiment import in_order
from fpinv.reporting.page.html import thumbnail
from fpinv.reporting.sheets import WIDE, prompts, shared
from fpinv.run.job_result import JobResult
from fpinv.run.sweep_pictures import picture_columns

EXAMPLES = 3  # of a gallery in a report


@dataclass(frozen=True)
class Thumbnail:
    """A picture of a gallery.

    Arguments:
        heading: The run or kind that it is of.
        caption: Measured values.
        data: The picture, as a URI.
        wide: True for a strip or sheet of several pictures, which takes a line of its own.
    """

    heading: str
    caption: str
    data: str
    wide: bool


@dataclass(frozen=True)
class Gallery:
    """Pictures of the same examples.

    Arguments:
        title: Words over the gallery.
        examples: For each example, its prompt (escaped unless it is markup) and its pictures.
    """

    title: str
    examples: Sequence[tuple[str, Sequence[Thumbnail]]]


def galleries(folder: Path) -> list[Gallery]:
    """Return a gallery for each grid, guidance, model, data set and task of a folder's sweeps."""
    finished = [job for job in in_order(folder).values() if job.summary.get("n")]
    grounds = groupby(sorted(finished, key=_ground), key=_ground)
    candidates = (_gallery(list(jobs)) for _, jobs in grounds)
    return [gallery for gallery in candidates if gallery.examples]


def _ground(job: JobResult) -> tuple[Any, ...]:
    """Return what makes the pictures of jobs comparable, the longest grid first."""
    summary = job.summary
    place = (str(summary.get(key)) for key in ("task", "dataset", "model"))
    return *place, -summary["steps"], summary["guidance"]


def _gallery(jobs: Sequence[JobResult]) -> Gallery:
    columns = picture_columns(jobs)
    examples = [
        (
            prompts(columns[0].examples[id]),
            [framed(c.title.replace("\n", ", "), c.caption(id), c.file(id)) for c in columns],
        )
        for id in shared(columns)[:EXAMPLES]
    ]
    task, dataset, model, steps, guidance = _ground(jobs[0])
    place = f"{task}, {dataset} by {model}"
    return Gallery(f"Pictures: w = {guidance:g}, N = {-steps} ({place})", examples)


def framed(heading: str, caption: str, file: Path) -> Thumbnail:
    """Return a picture of a run as one of a gallery."""
    with Image.open(file) as image:
        wide = image.width > 2 * image.height
    return Thumbnail(heading, caption, thumbnail(file, WIDE) if wide else thumbnail(file), wide)
