"""Draw galleries in the manner of FPI's Fig. 6, 7, 11 and 12: ``plot.py FOLDER [RESULTS]``.

It reads records only, and draws the reconstructions that Fig. 6 shows, and the edits, six a
picture. ``page.py`` makes a page of all.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.sheets import PictureColumn, change, job_pictures, side_by_side
from fpinv.reporting.tables import setting

ROWS = 6
VALUES = ("images", "prompt", "target", "instruction", "reconstruction_psnr", "background_psnr")


def some(job: Job, ids: Sequence[str]) -> Job:
    """Return a job with the examples ``ids`` only."""
    return replace(job, examples=[example for example in job.examples if example["id"] in ids])


def reconstructions(jobs: Sequence[Job]) -> list[PictureColumn]:
    """Return the columns of Fig. 6: the image, and its reconstruction by each inverter."""
    return [
        job_pictures("original", jobs[0], "original"),
        *(
            job_pictures(job.summary["inverter"], job, "reconstruction", "reconstruction_psnr")
            for job in jobs
        ),
    ]


def edits(jobs: Sequence[Job]) -> list[PictureColumn]:
    """Return the columns of Fig. 7: the image, its edits, and the perfect one if it is known."""
    attempts = [
        job_pictures(job.summary["inverter"], job, "edit", "background_psnr") for job in jobs
    ]
    known = any("truth" in example["images"] for example in jobs[0].examples)
    truth = [job_pictures("perfect edit", jobs[0], "truth")] if known else []
    return [job_pictures("original", jobs[0], "original"), *attempts, *truth]


def make(jobs: Sequence[Job]) -> Results:
    """Return the pictures: reconstructions with their PSNR, edits with that of the background."""
    ids = [example["id"] for example in jobs[0].examples]
    pictures = {"reconstructions.jpg": side_by_side(reconstructions(jobs), ROWS)}
    for k in range(0, len(ids), ROWS):
        columns = edits([some(job, ids[k : k + ROWS]) for job in jobs])
        pictures[f"edits_{k // ROWS + 1}.jpg"] = side_by_side(columns, ROWS, change)
    run = jobs[0].summary
    text = [
        f"{setting(jobs[0])}, {run['model']}, {run['dataset']}; under a reconstruction its "
        "PSNR, under an edit that of the background"
    ]
    text += [f"![{name.partition('.')[0]}]({name})" for name in pictures]
    return Results("\n\n".join(text), {k: v for k, v in pictures.items() if v is not None})


experiment = Experiment(make, examples=VALUES, apart=("inverter",))

if __name__ == "__main__":
    sys.exit(experiment.main())
