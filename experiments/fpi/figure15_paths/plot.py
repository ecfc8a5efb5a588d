"""Draw the pictures along paths of seeds, a strip for each run (FPI, Fig. 15).

``plot.py outputs/table3_interpolation/<stamp> [results]`` reads records only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from fpinv.errors import UserError
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.grid import Tile, grid, read_picture
from fpinv.reporting.tables import grounds
from fpinv.run.folder import picture

STRIP = "strip"
LONGEST = 1400  # pixels that a strip is wide at most


def strips(job: Job) -> list[str]:
    """Return the ids of the examples whose strips a job kept."""
    return [row["id"] for row in job.examples if STRIP in row["images"]]


def shared(jobs: Sequence[Job]) -> str:
    """Return the last example whose strips all jobs kept: of scenes, one of the rarest shape.

    Raises:
        UserError: there is none.
    """
    candidates, *more = map(strips, jobs)
    for id in reversed(candidates):
        if all(id in ids for ids in more):
            return id
    raise UserError("the runs share no example whose strips they kept")


def label(job: Job) -> str:
    """Return the inverter and the path or centroid."""
    return f"{job.summary['inverter']}, {job.settings[f'task/{mode(job)}']}"


def mode(job: Job) -> str:
    """Return ``path`` or ``centroid``."""
    return job.settings["task.mode"]


def draw(strips: Mapping[str, Path]) -> Image.Image:
    """Return strips below each other, their names beside them."""
    rows = [[Tile(read_picture(file, LONGEST))] for file in strips.values()]
    return grid(rows, labels=list(strips))


def make(jobs: Sequence[Job]) -> Results:
    """Return a picture of the paths and one of the centroids, where there are such runs.

    Raises:
        UserError: no run kept a strip, or they share none.
    """
    pictured = [job for job in jobs if strips(job)]
    if not pictured:
        raise UserError("the runs kept no strips: name runs of task=interpolation")
    text, pictures = [], {}
    for runs in grounds(pictured, mode):
        id, file = shared(runs), f"{mode(runs[0])}.png"
        text.append(f"{mode(runs[0])} {id}: {'; '.join(map(label, runs))}\n\n![{id}]({file})")
        if all(job.folder is not None for job in runs):
            pictures[file] = draw({label(job): picture(job.folder, id, STRIP) for job in runs})
    return Results("\n\n".join(text), pictures)


experiment = Experiment(make, ("task.mode", "task/path", "task/centroid"), ("images",))

if __name__ == "__main__":
    sys.exit(experiment.main())
