"""The pictures of a sweep side by side: the original, and what each job made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fpinv.reporting.grid import SIDE
from fpinv.reporting.sheets import (
    PictureColumn,
    of_one_original,
    prompts,
    side_by_side,
    stacked,
)
from fpinv.run.files import replacing
from fpinv.run.folder import read_rows
from fpinv.run.job_result import JobResult, varied

MOST_EXAMPLES, MOST_JOBS = 8, 8
LARGE = 256
"""Pixels of a picture's side in the overview of one run."""

COMMON = {"original": ("original", ""), "VAE ceiling": ("ceiling", "ceiling_psnr")}
TRUTH = {"original": ("original", ""), "perfect edit": ("truth", "")}
"""Columns that all jobs share, by title: the name of the picture, and the metric under it."""
SOURCE = {"reconstruction": ("reconstruction", "reconstruction_psnr")}
"""The column of the source branch of edits, where there is one run."""
VIEWS: Mapping[str, tuple[Mapping[str, tuple[str, str]], str]] = {
    "edit": (TRUTH, "background_psnr"),
    "reconstruction": (COMMON, "psnr"),
    "strip": ({}, ""),
    "sheet": ({}, ""),
}
"""Views of a sweep, by the picture in which its jobs differ: shared columns, and its metric."""
WHOLE = {"strip", "sheet"}
"""Views that are pictures of several, with heads of their own."""


def compare(jobs: Sequence[JobResult], path: Path) -> bool:
    """Draw original | ceiling | each job's reconstruction, a row an example, at most 8 of each.

    Editing runs give original | perfect edit, where it is known | each job's edit. Under the
    ceiling and the reconstructions stands their PSNR in dB, under the edits that of their
    backgrounds. Strips along paths and sheets of classes stand below each other.

    Returns:
        True if there was anything to draw: examples of one original whose pictures all jobs kept.
    """
    columns = picture_columns([job for job in jobs if job.summary.get("n")][:MOST_JOBS])
    names = {column.name for column in columns}
    sheet = None
    if names & WHOLE:
        sheet = stacked(columns, max(1, MOST_EXAMPLES // len(columns)))
    elif "original" in names:
        sheet = side_by_side(columns, MOST_EXAMPLES, prompts, SIDE if jobs[1:] else LARGE)
    if sheet is not None:
        with replacing(path) as partial:
            sheet.save(partial, format="PNG")
    return sheet is not None


def picture_columns(jobs: Sequence[JobResult]) -> list[PictureColumn]:
    """Return the pictures of finished jobs, of the examples for which all have one original.

    The pictures that all jobs have alike come first, once. Each job's own follow:
    reconstructions, edits, strips along paths of seeds or sheets of a class.
    """
    if not jobs:
        return []
    folders = [job.folder for job in jobs]
    examples = [read_rows(folder) for folder in folders]
    examples[0] = [row for row in examples[0] if of_one_original(folders, row["id"])]
    names = {name for row in examples[0] for name in row["images"]}
    view = next((name for name in VIEWS if name in names), None)
    if view is None:
        return []
    common, metric = VIEWS[view]
    if view == "edit" and not jobs[1:]:
        common = {**common, **SOURCE}
    return [
        *(
            PictureColumn(title, jobs[0].folder, examples[0], name, measure)
            for title, (name, measure) in common.items()
            if name in names
        ),
        *(
            PictureColumn(title, job.folder, rows, view, metric)
            for title, job, rows in zip(_titles(jobs, view), jobs, examples, strict=True)
        ),
    ]


def _titles(jobs: Sequence[JobResult], view: str) -> Iterator[str]:
    """Yield for each job the overrides in which it differs from the others, a line each.

    Without such it has the name of its inverter; the one picture of a run of its own has that of
    the view.
    """
    keys = varied([job.overrides for job in jobs])
    for job in jobs:
        inverter = str(job.summary.get("inverter", job.name))
        name = inverter if jobs[1:] or view in WHOLE else view
        settings = [(k.rpartition(".")[2], job.overrides[k]) for k in keys if k in job.overrides]
        yield "\n".join(f"{key} {value}" for key, value in settings) or name
