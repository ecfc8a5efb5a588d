"""The pictures along paths of seeds, a strip for each run (FPI, Fig. 15).

``plot.py outputs/table3_interpolation/<stamp> [results]`` reads records only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from fpinv.errors import UserError
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import grounds
from fpinv.run.folder import picture

STRIP = "strip"
WIDTH = 9.0  # inches, of which the labels take the first two
LABELS = 2.0


def strips(job: Job) -> list[str]:
    """The ids of the examples whose strips a job kept."""
    return [row["id"] for row in job.examples if STRIP in row["images"]]


def shared(jobs: Sequence[Job]) -> str:
    """The last example whose strips all jobs kept: of scenes, one of the rarest shape.

    Raises:
        UserError: there is none.
    """
    first, *others = map(strips, jobs)
    for id in reversed(first):
        if all(id in ids for ids in others):
            return id
    raise UserError("the runs share no example whose strips they kept")


def label(job: Job) -> str:
    """The inverter, and the path or centroid."""
    return f"{job.summary['inverter']}, {job.settings[f'task/{mode(job)}']}"


def mode(job: Job) -> str:
    """``path`` or ``centroid``."""
    return job.settings["task.mode"]


def draw(strips: Mapping[str, Path]) -> Figure:
    """A row a strip, its name beside it."""
    pictures = {name: _opened(file) for name, file in strips.items()}
    high = max((WIDTH - LABELS) * image.height / image.width for image in pictures.values())
    figure = Figure(figsize=(WIDTH, len(pictures) * (high + 0.08)))
    share = LABELS / WIDTH
    for k, (name, image) in enumerate(pictures.items()):
        bottom = 1 - (k + 1) / len(pictures)
        axis = figure.add_axes((share, bottom, 1 - share, 0.94 / len(pictures)))
        axis.imshow(image, interpolation="nearest")
        axis.axis("off")
        figure.text(share - 0.01, bottom + 0.47 / len(pictures), name, ha="right", va="center")
    return figure


def _opened(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


def make(jobs: Sequence[Job]) -> Results:
    """A picture of the paths and one of the centroids, where there are such runs.

    Raises:
        UserError: no run kept a strip, or they share none.
    """
    kept = [job for job in jobs if strips(job)]
    if not kept:
        raise UserError("the runs kept no strips: name runs of task=interpolation")
    text, pictures = [], {}
    for same in grounds(kept, mode):
        id, file = shared(same), f"{mode(same[0])}.png"
        text.append(f"{mode(same[0])} {id}: {'; '.join(map(label, same))}\n\n![{id}]({file})")
        if all(job.folder is not None for job in same):
            pictures[file] = draw({label(job): picture(job.folder, id, STRIP) for job in same})
    return Results("\n\n".join(text), pictures)


experiment = Experiment(make, ("task.mode", "task/path", "task/centroid"), ("images",))

if __name__ == "__main__":
    sys.exit(experiment.main())
