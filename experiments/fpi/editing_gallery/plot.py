"""Galleries in the manner of FPI's Fig. 6, 7, 11 and 12: ``plot.py FOLDER [RESULTS]``.

Reads records only: reconstructions, which Fig. 6 shows, and edits, six a picture. ``page.py``
makes a page of all.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.figures import Shown, new_words, side_by_side
from fpinv.reporting.tables import setting

ROWS = 6
KEPT = ("images", "prompt", "target", "reconstruction_psnr", "background_psnr")


def changed(example: Mapping[str, Any]) -> str:
    """The words that the prompt loses, and those that it gains."""
    before, after = example["prompt"], example["target"]
    lost, gained = new_words(before, after), new_words(after, before)
    return f"{lost or '–'} → {gained or '–'}"


def part(job: Job, ids: Sequence[str]) -> Job:
    """The job with some of its examples only."""
    return replace(job, examples=[example for example in job.examples if example["id"] in ids])


def reconstructions(jobs: Sequence[Job]) -> list[Shown]:
    """Fig. 6: the image, and what each inverter brings back."""
    made = [
        Shown(job.summary["inverter"], job, "reconstruction", "reconstruction_psnr")
        for job in jobs
    ]
    return [Shown("original", jobs[0], "original"), *made]


def edits(jobs: Sequence[Job]) -> list[Shown]:
    """Fig. 7: the image and its edits, the perfect one, where it is known, at the end."""
    made = [Shown(job.summary["inverter"], job, "edit", "background_psnr") for job in jobs]
    known = any("truth" in example["images"] for example in jobs[0].examples)
    truth = [Shown("perfect edit", jobs[0], "truth")] if known else []
    return [Shown("original", jobs[0], "original"), *made, *truth]


def make(jobs: Sequence[Job]) -> Results:
    """The pictures: reconstructions with their PSNR, edits with that of their backgrounds."""
    ids = [example["id"] for example in jobs[0].examples]
    drawn = {"reconstructions.jpg": side_by_side(reconstructions(jobs), ROWS)}
    for k in range(0, len(ids), ROWS):
        some = [part(job, ids[k : k + ROWS]) for job in jobs]
        drawn[f"edits_{k // ROWS + 1}.jpg"] = side_by_side(edits(some), ROWS, changed)
    first = jobs[0].summary
    text = [
        f"{setting(jobs[0])}, {first['model']}, {first['dataset']}; under a reconstruction its "
        "PSNR, under an edit that of the background"
    ]
    text += [f"![{name.partition('.')[0]}]({name})" for name in drawn]
    return Results("\n\n".join(text), {k: v for k, v in drawn.items() if v is not None})


experiment = Experiment(make, examples=KEPT)

if __name__ == "__main__":
    sys.exit(experiment.main())
