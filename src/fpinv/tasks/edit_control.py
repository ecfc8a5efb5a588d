"""Rows of control for tables of edits: pictures that no inverter makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, get_args

import torch

from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.images import Frame, to_pil
from fpinv.inversion import Inverter
from fpinv.models.model import Model
from fpinv.tasks.columns import by_example
from fpinv.tasks.edit_cases import Case, EditedImages, run_cases
from fpinv.tasks.edit_measures import QUALITY, EditMeasures, record
from fpinv.tasks.loading import decode_like
from fpinv.tasks.record import Record
from fpinv.tasks.task import Settings, option

Picture = Literal["perfect", "decoded", "unedited"]


@dataclass(frozen=True)
class EditControl(EditMeasures):
    """The measures of edits, of pictures that are known without one.

    They say what the measures are worth: a perfect edit must be read as right, an unedited picture
    as wrong, and no method that edits latents can come closer to the truth than the truth does
    through the model's autoencoder.

    Arguments:
        picture: ``perfect``, the true edit; ``decoded``, the true edit after the autoencoder;
            ``unedited``, the original.

    Raises:
        UserError: the picture is unknown.
    """

    metrics: ClassVar[tuple[str, ...]] = QUALITY

    picture: Picture = "perfect"

    def __post_init__(self) -> None:
        option("task.picture", self.picture, get_args(Picture))

    def __call__(
        self, model: Model, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """Yield one record an example, in order; that of an unknown picture holds its error.

        Raises:
            UserError: an example has no edit, as in a data set of another kind.
        """
        frame = Frame(model.image_size, settings.crop)
        read, measure = partial(self._open, frame), partial(self._measure, model)
        return run_cases(examples, settings.batch_size, read, measure)

    def _open(self, frame: Frame, example: Example) -> Case:
        case = Case.open(example, frame)
        if case.truth is None and self.picture != "unedited":
            raise UserError(
                f"{example.id}: its true edit is unknown: use task.picture=unedited, or "
                "dataset=scene_edits"
            )
        return case

    @torch.no_grad()
    def _measure(self, model: Model, cases: Sequence[Case]) -> list[Record]:
        originals = torch.stack([case.pixels for case in cases]).to(model.device)
        edits = originals
        if self.picture != "unedited":
            edits = torch.stack([case.truth for case in cases if case.truth is not None])
            edits = edits.to(model.device)
        if self.picture == "decoded":
            edits = decode_like(originals, model, model.encode(edits))
        rows = by_example(self.quality(EditedImages(cases, originals, edits)), len(cases))
        return [
            record(case, metrics, {"original": to_pil(before), "edit": to_pil(after)})
            for case, metrics, before, after in zip(cases, rows, originals, edits, strict=True)
        ]
