"""Draw many edits of one image from one inversion (FPI, Fig. 13): ``plot.py FOLDER [RESULTS]``.

It reads records only. A row shows an image, its reconstruction, and its edits with what they
change.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from PIL import Image

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.grid import Tile, grid, read_picture
from fpinv.reporting.sheets import PictureColumn, change, job_pictures
from fpinv.reporting.tables import setting

MOST = 6  # edits of an image
NAMES = ("original", "reconstruction", "edit")
"""Pictures of an edit that the figure shows."""


def sources(job: Job) -> list[list[Mapping[str, Any]]]:
    """Return the edits that have their pictures, those of one prompt together."""
    pictured = [example for example in job.examples if set(NAMES) <= set(example["images"])]
    return [list(edits) for _, edits in groupby(pictured, lambda example: example["prompt"])]


def row(columns: Sequence[PictureColumn], edits: Sequence[Mapping[str, Any]]) -> list[Tile]:
    """Return the source, its reconstruction and its edits."""
    source, reconstruction, edit = columns
    id, edits = edits[0]["id"], edits[:MOST]
    words = list(map(change, edits))
    files = [source.file(id), reconstruction.file(id), *(edit.file(row["id"]) for row in edits)]
    captions = ["", reconstruction.caption(id), *words]
    return list(map(Tile, map(read_picture, files), captions))


def draw(job: Job) -> Image.Image:
    """Return a row for each image of a job."""
    images = sources(job)
    columns = [job_pictures(name, job, name, "reconstruction_psnr") for name in NAMES]
    most = min(MOST, max(map(len, images)))
    titles = ["source", "reconstruction", *(f"edit {k}" for k in range(1, most + 1))]
    rows = [row(columns, edits) for edits in images]
    return grid(rows, titles, [edits[0]["prompt"] for edits in images])


def line(job: Job) -> str:
    """Return a line on what was run, and on the edits that came from each inversion."""
    run, images = job.summary, sources(job)
    counts = f"{sum(map(len, images))} edits of {len(images)} images, each inverted once"
    return f"{run['inverter']}, {setting(job)}, {run['model']}: {counts}"


def make(jobs: Sequence[Job]) -> Results:
    """Return a picture for each job."""
    files = {f"edits_{job.summary['inverter']}.jpg": job for job in jobs}
    text = [f"{line(job)}\n\n![Edits of one image]({file})" for file, job in files.items()]
    at_hand = {file: job for file, job in files.items() if job.folder is not None}
    pictures = {file: draw(job) for file, job in at_hand.items() if sources(job)}
    return Results("\n\n".join(text), pictures)


experiment = Experiment(
    make,
    examples=("images", "prompt", "target", "instruction", "reconstruction_psnr"),
    apart=("inverter",),
)

if __name__ == "__main__":
    sys.exit(experiment.main())
