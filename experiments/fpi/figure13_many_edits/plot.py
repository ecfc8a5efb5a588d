"""Many edits of one image from one inversion (FPI, Fig. 13): ``plot.py FOLDER [RESULTS]``.

Reads records only. A row an image: the source, its reconstruction, and its edits with the words
that are not the source's.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from matplotlib.figure import Figure

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.figures import Cell, new_words, picture_grid
from fpinv.reporting.tables import setting
from fpinv.run.folder import picture

MOST = 6  # edits of an image
NAMES = ("original", "reconstruction", "edit")


def sources(job: Job) -> list[list[Mapping[str, Any]]]:
    """The edits with pictures, those of one prompt together."""
    kept = [example for example in job.examples if set(NAMES) <= set(example["images"])]
    return [list(edits) for _, edits in groupby(kept, key=lambda example: example["prompt"])]


def row(job: Job, edits: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """The source, its reconstruction and its edits."""
    assert job.folder is not None
    first, words = edits[0], f"{edits[0]['reconstruction_psnr']:.2f} dB"
    cells = [(picture(job.folder, first["id"], NAMES[0]), "")]
    cells += [(picture(job.folder, first["id"], NAMES[1]), words)]
    return cells + [
        (picture(job.folder, edit["id"], NAMES[2]), new_words(edit["target"], edit["prompt"]))
        for edit in edits[:MOST]
    ]


def draw(job: Job) -> Figure:
    """All images of a job."""
    found = sources(job)
    most = min(MOST, max(map(len, found)))
    headings = ["source", "reconstruction", *[f"edit {k}" for k in range(1, most + 1)]]
    titles = [edits[0]["prompt"] for edits in found]
    return picture_grid(headings, [row(job, edits) for edits in found], titles)


def line(job: Job) -> str:
    """What was run, and how much of it came from how many inversions."""
    images = sources(job)
    return (
        f"{job.summary['inverter']}, {setting(job)}, {job.summary['model']}: "
        f"{sum(map(len, images))} edits of {len(images)} images, each inverted once"
    )


def make(jobs: Sequence[Job]) -> Results:
    """A picture a job."""
    files = {f"edits_{job.summary['inverter']}.jpg": job for job in jobs}
    text = [f"{line(job)}\n\n![Edits of one image]({file})" for file, job in files.items()]
    at_hand = {file: job for file, job in files.items() if job.folder is not None}
    pictures = {file: draw(job) for file, job in at_hand.items() if sources(job)}
    return Results("\n\n".join(text), pictures)


experiment = Experiment(make, examples=("images", "prompt", "target", "reconstruction_psnr"))

if __name__ == "__main__":
    sys.exit(experiment.main())
