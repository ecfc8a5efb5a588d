"""Pictures in a page: as data, small enough for many."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from fpinv.reporting.experiment import in_order
from fpinv.run.folder import read_rows
from fpinv.run.sweep import JobResult
from fpinv.run.sweep_pictures import side_by_side

EXAMPLES = 3  # of a gallery
SIDE = 256  # pixels that a picture of a gallery is high at most
TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}


@dataclass(frozen=True)
class Tile:
    """A picture of a gallery.

    Arguments:
        heading: Whose it is.
        words: What is measured of it.
        data: The picture, as a URI.
        wide: Whether it is a strip rather than a picture.
    """

    heading: str
    words: str
    data: str
    wide: bool


@dataclass(frozen=True)
class Gallery:
    """What runs on one ground made of the same examples.

    Arguments:
        title: What they share.
        examples: By prompt, the tiles.
    """

    title: str
    examples: Sequence[tuple[str, Sequence[Tile]]]


def galleries(folder: Path) -> list[Gallery]:
    """A gallery for each grid, guidance, model, data set and task of the sweeps in a folder."""
    finished = [job for job in in_order(folder).values() if job.summary.get("n")]
    grounds = groupby(sorted(finished, key=_ground), key=_ground)
    made = (_gallery(list(same)) for _, same in grounds)
    return [gallery for gallery in made if gallery.examples]


def _ground(job: JobResult) -> tuple[Any, ...]:
    summary = job.summary
    place = (str(summary.get(key)) for key in ("task", "dataset", "model"))
    return *place, -summary["steps"], summary["guidance"]


def _gallery(jobs: Sequence[JobResult]) -> Gallery:
    columns, ids = side_by_side(jobs)
    prompts = {row["id"]: _prompt(row) for row in read_rows(jobs[0].folder)}
    examples = [
        (prompts[id], [_tile(heading, *cells[id]) for heading, cells in columns.items()])
        for id in ids[:EXAMPLES]
    ]
    task, dataset, model, steps, guidance = _ground(jobs[0])
    place = f"{task}, {dataset} by {model}"
    return Gallery(f"w = {guidance:g}, N = {-steps} ({place})", examples)


def _prompt(row: Mapping[str, Any]) -> str:
    target = row.get("texts", {}).get("target")
    return f"{row['prompt']} → {target}" if target else row["prompt"]


def _tile(heading: str, file: Path, words: str) -> Tile:
    with Image.open(file) as image:
        width, height = image.size
    return Tile(heading.replace("\n", ", "), words, thumbnail(file), width > 2 * height)


def thumbnail(file: Path) -> str:
    """A picture of a run as a data URI; as it is where it is small."""
    with Image.open(file) as image:
        if image.height <= SIDE:
            return embedded(file)
        small = image.convert("RGB")
    small.thumbnail((small.width, SIDE))
    data = io.BytesIO()
    small.save(data, format="JPEG", quality=85)
    return _uri(data.getvalue(), "jpeg")


def embedded(file: Path) -> str:
    """A file as a data URI."""
    return _uri(file.read_bytes(), TYPES[file.suffix.lower()])


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
