"""Draw the pictures along paths of seeds, a strip for each run (FPI, Fig. 15).

``plot.py outputs/table3_interpolation/<stamp> [results]`` reads records only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

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
    common = [id for id in candidates if all(id in ids for ids in more)]
    if not common:
        raise UserError("the runs share no example whose strips they kept")
    return common[-1]


def label(job: Job) -> str:
    """Return the inverter and the path or centroid."""
    return f"{job.summary['inverter']}, {job.settings[f'task/{mode(job)}']}"


def mode(job: Job) -> str:
    """Return ``path`` or ``centroid``."""
    return job.settings["task.mode"]


def draw(jobs: Sequence[Job], id: str) -> Image.Image:
    """Return the strips of an example below each other, the names of the runs beside them."""
    files = [picture(job.folder, id, STRIP) for job in jobs]
    return grid([[Tile(read_picture(f, LONGEST))] for f in files], labels=list(map(label, jobs)))


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
            pictures[file] = draw(runs, id)
    return Results("\n\n".join(text), pictures)


experiment = Experiment(
    make, ("task.mode", "task/path", "task/centroid"), ("images",), apart=("inverter",)
)

if __name__ == "__main__":
    sys.exit(experiment.main())
