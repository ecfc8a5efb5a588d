"""The pictures of a sweep side by side: the original, and what each job made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from fpinv.reporting.experiment import drawn
from fpinv.reporting.figures import Cell, picture_grid
from fpinv.run.folder import picture, read_rows, replacing
from fpinv.run.processes import ranks
from fpinv.run.sweep import JobResult, read_jobs, varied

MOST_EXAMPLES, MOST_JOBS = 8, 8

COMMON = {"original": ("original", ""), "VAE ceiling": ("ceiling", "ceiling_psnr")}
TRUTH = {"original": ("original", ""), "perfect edit": ("truth", "")}
"""By heading: a picture that all jobs have alike, and the metric under it."""
VIEWS = {
    "edit": (TRUTH, ("edit", "background_psnr")),
    "reconstruction": (COMMON, ("reconstruction", "psnr")),
    "strip": ({}, ("strip", "")),
    "sheet": ({}, ("sheet", "")),
}
"""By a picture that runs of a kind keep: what their jobs have alike, and what they differ in."""


class Gallery(Callback):
    """Hydra's callback that ends a sweep with ``comparison.png`` in its folder."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Draws the pictures that the jobs share; does nothing where there are none."""
        folder = Path(config.hydra.sweep.dir)
        if ranks().leads and compare(read_jobs(folder), folder / "comparison.png"):
            print((folder / "comparison.png").resolve())


def compare(jobs: Sequence[JobResult], path: Path) -> bool:
    """Draws original | ceiling | each job's reconstruction, a row an example, at most 8 of each.

    Of editing runs: original | perfect edit, where it is known | each job's edit. Under the
    ceiling and the reconstructions stands their PSNR in dB, under the edits that of their
    backgrounds. Returns whether there was anything to draw: examples whose pictures every job
    kept, and of the same original.
    """
    finished = [job for job in jobs if job.summary.get("n")][:MOST_JOBS]
    columns, ids = side_by_side(finished)
    drawable = bool(ids) and "original" in columns
    if drawable:
        _draw(columns, ids[:MOST_EXAMPLES], path)
    return drawable


def side_by_side(jobs: Sequence[JobResult]) -> tuple[dict[str, Mapping[str, Cell]], list[str]]:
    """What there is to see of finished jobs: columns of cells by heading, and what they share.

    The pictures that all jobs have alike come first, once; then each job's own: reconstructions,
    edits, strips along paths of seeds or sheets of a class. The ids are of the examples that all
    columns have, from the same original.
    """
    columns = dict(_columns(jobs, varied(jobs)))
    shared = [set(cells) for cells in columns.values()]
    ids = [id for id in next(iter(columns.values()), {}) if all(id in s for s in shared)]
    ids = [id for id in ids if len({_original(job, id) for job in jobs}) == 1]
    return columns, ids


def _original(job: JobResult, id: str) -> bytes | None:
    file = picture(job.folder, id, "original")
    return file.read_bytes() if file.exists() else None


def _columns(
    jobs: Sequence[JobResult], keys: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Cell]]]:
    """Heading and cells by example id; what all jobs have alike is the first one's."""
    kept = {name for job in jobs[:1] for row in read_rows(job.folder) for name in row["images"]}
    common, own = next((view for name, view in VIEWS.items() if name in kept), ({}, None))
    for heading, (name, metric) in common.items():
        if name in kept:
            yield heading, _cells(jobs[0].folder, name, metric)
    for job in jobs if own else ():
        heading = "\n".join(
            f"{key.rpartition('.')[2]} {job.overrides[key]}"
            for key in keys
            if key in job.overrides
        )
        yield heading or f"job {job.number}", _cells(job.folder, *own)


def _cells(folder: Path, name: str, metric: str) -> dict[str, Cell]:
    """The cells of one kind of picture by example id."""
    return {
        row["id"]: (picture(folder, row["id"], name), _words(row.get(metric)))
        for row in read_rows(folder)
        if name in row["images"]
    }


def _words(decibels: float | None) -> str:
    return "" if decibels is None else f"{decibels:.2f} dB"


def _draw(columns: Mapping[str, Mapping[str, Cell]], ids: Sequence[str], path: Path) -> None:
    figure = picture_grid(list(columns), [[cells[id] for cells in columns.values()] for id in ids])
    with replacing(path) as partial:
        drawn(figure).save(partial, format="PNG")
