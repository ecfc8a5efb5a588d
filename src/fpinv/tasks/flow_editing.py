"""The task of edits without an inversion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from fpinv.datasets.example import Example
from fpinv.editing.flow_edit import FlowEdit
from fpinv.errors import UserError
from fpinv.images import Frame, to_pil
from fpinv.inversion import Inverter
from fpinv.models.model import Model
from fpinv.seeding import normal
from fpinv.tasks.columns import by_example
from fpinv.tasks.edit_cases import Case, EditedImages, run_cases
from fpinv.tasks.edit_measures import QUALITY, EditMeasures, record
from fpinv.tasks.finite import diverged
from fpinv.tasks.loading import decode_like
from fpinv.tasks.record import Record
from fpinv.tasks.task import COSTS, Settings
from fpinv.tasks.timing import Stopwatch, warm_up


@dataclass(frozen=True)
class FlowEditing(EditMeasures):
    """Edits of images by a method that needs no inversion: E(x) -> edit -> D.

    One record an example. The inverter has no part in it, nor has the run's guidance: source and
    target have their own.

    Arguments:
        method: The method.
    """

    metrics: ClassVar[tuple[str, ...]] = (*QUALITY, *COSTS)

    method: FlowEdit = field(default_factory=FlowEdit)

    def __call__(
        self, model: Model, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """Yield one record an example, in order; that of an unreadable picture holds its error.

        Raises:
            UserError: an example has no edit, or the model is no rectified flow.
        """
        frame = Frame(model.image_size, settings.crop)
        read, edit = partial(Case.open, frame=frame), partial(self._edit, model, settings)
        return run_cases(examples, settings.batch_size, read, edit)

    def _edit(
        self, model: Model, settings: Settings, cases: Sequence[Case]
    ) -> list[Record | UserError]:
        originals = torch.stack([case.pixels for case in cases]).to(model.device)
        latents, method, watch = model.encode(originals), self.method, Stopwatch(model)
        source = model.condition([c.example.prompt for c in cases], method.source_guidance)
        target = model.condition([c.request.edit.prompt for c in cases], method.target_guidance)
        ids, denoiser = [case.example.id for case in cases], model.denoiser(settings.steps)

        def noise(i: int) -> Tensor:
            return normal(latents.shape[1:], settings.seed, ids, f"flow_edit {i}", latents.device)

        warm_up(model, latents, target, settings.steps)
        with watch.running():
            edited = method(denoiser, latents, source, target, noise)
        edits = decode_like(originals, model, edited)
        columns = {
            "nfe_calls": denoiser.calls,
            "nfe_rows": denoiser.rows / len(cases),
            "nfe_equivalents": denoiser.rows / len(cases),
            "seconds_per_image": watch.seconds / len(cases),
            "stored_numbers": 0,
            **self.quality(EditedImages(cases, originals, edits)),
        }
        pictures = zip(cases, by_example(columns, len(cases)), originals, edits, strict=True)
        return [
            record(case, metrics, {"original": to_pil(before), "edit": to_pil(after)})
            if after.isfinite().all()
            else diverged(model, "the edit")
            for case, metrics, before, after in pictures
        ]
