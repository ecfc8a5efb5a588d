"""The referee of PIE-Bench: anybody's edited images, scored by type of edit."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fpinv.datasets.example import Example
from fpinv.datasets.pie_bench import PieBench, decode_mask
from fpinv.errors import UserError
from fpinv.evaluate.scores import EditedImage, Measure
from fpinv.images import Frame, square
from fpinv.metrics.intervals import mean_ci95
from fpinv.reporting.tables import Column, markdown
from fpinv.run.files import write
from fpinv.run.folder import picture
from fpinv.run.messages import explain

IMAGES = "annotation_images"
SIDE = 512  # pixels of PIE-Bench's images
EDIT = "edit"
RUN_PICTURE = picture(Path(), "", EDIT).name

Readings = Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Score:
    """The scores of an edit.

    Arguments:
        id: Its name in the benchmark.
        kind: Its type.
        side: Its height and width in pixels.
        annotated: Whether the benchmark has a mask of its image.
        readings: Both readings of each measure, by its name.
    """

    id: str
    kind: str
    side: int
    annotated: bool
    readings: Readings


def score(folder: Path, root: str, measures: Mapping[str, Measure], out: Path | None) -> str:
    """Return the table of a folder of edited images, and write it where ``out`` says.

    Arguments:
        folder: The images: ``<image_path>`` of the mapping file, under ``annotation_images/`` or
            not, or ``images/<id>/edit.png`` of a run.
        root: Folder of PIE-Bench.
        measures: The measures by their names; one that cannot be taken is left out, and named on
            stderr.
        out: Folder for ``scores.csv`` and ``results.md``; None writes nothing.

    Raises:
        UserError: a folder is missing, holds none of the edits, or holds one that cannot be read.
    """
    dataset = PieBench(root)
    pairs = [(example, file) for example in dataset if (file := edited_file(folder, example))]
    if not pairs:
        expected = folder / _name(dataset[0])
        raise UserError(
            f"{folder}: holds no edited image of {root}/mapping_file.json, such as {expected}"
        )
    measures = available(measures, pairs[0])
    scores = [_score(*pair, measures) for pair in pairs]
    text = f"{counts(scores, len(dataset))}\n\n{table(scores, measures)}"
    if out:
        write(out / "results.md", text + "\n")
        _write_csv(out / "scores.csv", scores, measures)
    return text


def counts(scores: Sequence[Score], size: int) -> str:
    """Return how many of the ``size`` edits are scored, and what images without a mask lack."""
    text = f"{len(scores)} of {size} edits"
    if bare := sum(not score.annotated for score in scores):
        text += (
            f"; without a mask in the mapping file: {bare}, where the published code masks the "
            "outermost pixels and the corrected measures of the background do not exist"
        )
    if others := sum(score.side != SIDE for score in scores):
        text += (
            f"; not of {SIDE} pixels: {others}, which the published code refuses, so that their "
            "numbers in its column are by its definitions, but not to be set beside published ones"
        )
    return text


def edited_file(folder: Path, example: Example) -> Path | None:
    """Return the file of an example's edit, or None if there is none."""
    name = _name(example)
    inner = name.relative_to(IMAGES)
    candidates = (folder / name, folder / inner, picture(folder, example.id, EDIT))
    return next((file for file in candidates if file.is_file()), None)


def _name(example: Example) -> Path:
    """Return the path of an example's image below the benchmark's folder."""
    assert isinstance(example.image, Path)
    parts = example.image.parts
    first = len(parts) - 1 - parts[::-1].index(IMAGES)
    return Path(*parts[first:])


def available(measures: Mapping[str, Measure], pair: tuple[Example, Path]) -> dict[str, Measure]:
    """Return the measures that can be taken; the others are named on stderr.

    Weights may be absent, and libraries may not fit each other: neither costs the other measures.
    """
    image, usable = probe(edited_image(*pair)), {}
    for name, measure in measures.items():
        try:
            measure(image)
        except Exception as error:
            print(f"left out: {name}: {explain(error)}", file=sys.stderr)
        else:
            usable[name] = measure
    if not usable:
        raise UserError("none of the measures can be taken")
    return usable


def probe(image: EditedImage) -> EditedImage:
    """Return an edit with a mask of its left half, which no measure passes over."""
    mask = torch.zeros_like(image.mask)
    mask[..., : mask.shape[-1] // 2] = 1
    return replace(image, mask=mask, annotated=True)


def _score(example: Example, file: Path, measures: Mapping[str, Measure]) -> Score:
    image = edited_image(example, file)
    readings = {name: measure(image) for name, measure in measures.items()}
    kind, side = str(example.attributes["change"]), image.edit.shape[-1]
    return Score(example.id, kind, side, image.annotated, readings)


def edited_image(example: Example, file: Path) -> EditedImage:
    """Return an example with its edit.

    An edit that is several squares wide is taken for a strip of pictures, whose last one counts,
    as in PnPInversion's own output. Original and mask are resized to the edit.

    Raises:
        UserError: a file cannot be read as an image, or is neither a square nor such a strip.
    """
    assert example.case is not None
    edit = Example(example.id, "", file).open()
    side = edit.height
    if edit.width != side and file.name == RUN_PICTURE:
        raise UserError(
            f"{file}: has {edit.width}x{side} pixels, and PIE-Bench's images are squares: edit "
            "them with a model.image_size of one number"
        )
    if edit.width % side:
        raise UserError(
            f"{file}: has {edit.width}x{side} pixels: an edit is a square, as PIE-Bench's images "
            "are, or the last square of a strip"
        )
    edit, original = edit.crop((edit.width - side, 0, edit.width, side)), example.open()
    mask = example.case.open_mask(original.size)
    annotated = mask is not None
    if mask is None:
        mask = decode_mask([], original.width)
    return EditedImage(
        square(edit, side)[None],
        square(original, side)[None],
        Frame((side, side)).mask(mask)[None],
        annotated,
        example.case.edit.prompt,
    )


def table(scores: Sequence[Score], measures: Mapping[str, Measure]) -> str:
    """Return the means over all edits and of each type, with intervals."""
    rows = [
        [measure.title, *(_mean(scores, name, measure, k) for k in (0, 1))]
        for name, measure in measures.items()
    ]
    whole = markdown(["all edits", "PnPInversion's code", "corrected"], rows)
    kinds = dict.fromkeys(score.kind for score in scores)
    titles = ["type", "n", *(measure.title for measure in measures.values())]
    return f"{whole}\n\n{markdown(titles, [_by_kind(k, scores, measures) for k in kinds])}"


def _by_kind(kind: str, scores: Sequence[Score], measures: Mapping[str, Measure]) -> list[str]:
    """Return a type, its number of edits and both readings of each measure."""
    members = [score for score in scores if score.kind == kind]
    cells = [
        " / ".join(_mean(members, name, measure, k) for k in (0, 1))
        for name, measure in measures.items()
    ]
    return [kind, str(len(members)), *cells]


def _mean(scores: Iterable[Score], name: str, measure: Measure, reading: int) -> str:
    column = Column(measure.title, (), measure.digits, measure.factor, absent="-")
    return column.shown(mean_ci95([score.readings[name][reading] for score in scores]))


def _write_csv(file: Path, scores: Sequence[Score], measures: Mapping[str, Measure]) -> None:
    """Write a line for each edit: id, type and both readings of each measure."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream)
        heads = [
            f"{name}_{reading}" for name in measures for reading in ("published", "corrected")
        ]
        lines.writerow(["id", "type", *heads])
        for score in scores:
            values = [value for name in measures for value in score.readings[name]]
            lines.writerow([score.id, score.kind, *values])
