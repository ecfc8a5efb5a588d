"""The pictures along paths of seeds, a strip for each run (FPI, Fig. 15).

python experiments/figure15_paths/plot.py outputs/multirun/... --out paths.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image

from fpinv.errors import UserError
from fpinv.records import picture, read_rows
from fpinv.sweep import JobResult, read_jobs

STRIP = "strip"
WIDTH = 9.0  # inches, of which the labels take the first two
LABELS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="of runs or sweeps")
    parser.add_argument("--example", help="id of the pair or set; the first in common if absent")
    parser.add_argument("--out", type=Path, default=Path("paths.png"))
    given = parser.parse_args(arguments)
    try:
        jobs = [job for folder in given.folders for job in read_jobs(folder)]
        strips = find(jobs, given.example)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    draw(strips, given.out)
    print(given.out)
    return 0


def find(jobs: Sequence[JobResult], example: str | None = None) -> dict[str, Path]:
    """The strip of one example from each job that made any, by the job's name.

    Raises:
        UserError: no job kept a strip, or there is no example of which all kept one.
    """
    kept = {label(job): (job, strips(job)) for job in jobs}
    kept = {name: (job, ids) for name, (job, ids) in kept.items() if ids}
    if not kept:
        raise UserError("the folders hold no strips: name runs of task=interpolation")
    first, *others = (ids for _, ids in kept.values())
    common = [id for id in first if all(id in ids for ids in others)]
    chosen = example or next(iter(common), None)
    if chosen not in common:
        raise UserError(f"not all runs kept the strip of {chosen}; they share {common[:5]}")
    return {name: picture(job.folder, chosen, STRIP) for name, (job, _) in kept.items()}


def strips(job: JobResult) -> list[str]:
    """The ids of the examples whose strips a job kept."""
    rows = read_rows(job.folder) if (job.folder / "metrics.jsonl").exists() else []
    return [row["id"] for row in rows if STRIP in row["images"]]


def label(job: JobResult) -> str:
    """The inverter, and the path or centroid."""
    choices = OmegaConf.load(job.folder / ".hydra" / "hydra.yaml").hydra.runtime.choices
    mode = job.overrides.get("task.mode", "path")
    return f"{choices['inverter']}, {choices.get(f'task/{mode}')}"


def draw(strips: Mapping[str, Path], path: Path) -> None:
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
    FigureCanvasAgg(figure).print_figure(path, format="png", dpi=110)


def _opened(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    sys.exit(main())
