"""Columns and names of rows of tables of edits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fpinv.reporting.experiment import Job
from fpinv.reporting.tables import Column

SUCCESS = Column("all right, %", ("edit_success",), 1, 100)

CLIPS = ("clip_scenes", "clip_ViT-L-14-quickgelu_openai", "clip_ViT-H-14_laion2b_s32b_b79k")
"""The metric of each option of ``clip``."""

DISTANCE = Column("distance to the original", ("features_scenes", "lpips_alex"), 3)

MEASURES = (
    Column("n", ("n",), 0),
    Column("edit right, %", ("edit_accuracy",), 1, 100),
    Column("kept, %", ("kept_accuracy",), 1, 100),
    SUCCESS,
    Column("PSNR to the truth, dB", ("truth_psnr",), 2),
    Column("background PSNR, dB", ("background_psnr",), 2),
    Column("CLIP", CLIPS, 3),
    DISTANCE,
    Column("s/image", ("seconds_per_image",), 2),
)

CONTROLS = {
    "perfect": "the true edit",
    "decoded": "the true edit through the VAE",
    "unedited": "no edit",
}
"""Names of the rows of control, by their ``task.picture``."""


@dataclass(frozen=True)
class Choice(Column):
    """A column of settings, which are words."""

    text: Callable[[Job], str] = str

    def cell(self, job: Job) -> str:
        """Return the words of a job; nothing for a row of control."""
        return "" if is_control(job) else self.text(job)


def is_control(job: Job) -> bool:
    """Return whether a job measured pictures that no inverter made."""
    return bool(job.settings.get("task.picture"))
