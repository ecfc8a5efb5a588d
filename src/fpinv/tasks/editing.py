"""The editing task: invert images once, edit them by their prompts, and measure the changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from fpinv.datasets.example import Example
from fpinv.editing.recipe import PromptToPrompt, Recipe
from fpinv.editing.request import Edit
from fpinv.editing.sampling import Editable, plan_branches, sample_branches
from fpinv.errors import UserError
from fpinv.images import Frame
from fpinv.inversion import Inversion, Inverter
from fpinv.inverters.adjustment import Adjustment, Unadjusted
from fpinv.tasks.columns import by_example
from fpinv.tasks.edit_cases import Case, EditedBatch, Key, Source, run_cases
from fpinv.tasks.edit_measures import QUALITY, EditMeasures, cost, pictures, record
from fpinv.tasks.finite import are_finite, diverged, solved
from fpinv.tasks.inverting import adjust, invert
from fpinv.tasks.loading import decode_like, vae_factor
from fpinv.tasks.record import Record
from fpinv.tasks.saved_inversions import require_inversions, saved_inversion
from fpinv.tasks.task import COSTS, Settings
from fpinv.tasks.timing import Stopwatch, warm_up


@dataclass(frozen=True)
class Editing(EditMeasures):
    """The editing task: E(x) -> (adjust) -> invert once -> sample source and targets -> D.

    Each example has one edit of an image; examples of one image, one after the other, share its
    inversion. The source branch is the inverter's own reconstruction at the run's guidance.

    Arguments:
        adjustment: Change of the encodings before the inversion.
        guidance: Guidance scale of the targets; None for the run's, which is the sources'.
        recipe: The controllers of an edit.
        blend: False ignores the words that an example names to hold what lies outside them.
        inversions: Folder of a finished run whose saved inversions are used; None to invert.

    Raises:
        UserError: ``inversions`` is a folder without any.

    References:
        | Fixed-Point Inversion for Text-to-Image Diffusion Models (Meiri et al., 2023), 4.2
        | https://arxiv.org/abs/2312.12540v1
    """

    metrics: ClassVar[tuple[str, ...]] = (
        "reconstruction_psnr",
        *QUALITY,
        *COSTS,
    )

    adjustment: Adjustment = field(default_factory=Unadjusted)
    guidance: float | None = None
    recipe: Recipe = field(default_factory=PromptToPrompt)
    blend: bool = True
    inversions: str | None = None

    def __post_init__(self) -> None:
        require_inversions(self.inversions)

    def __call__(
        self, model: Editable, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """Yield one record an example, in order; that of an impossible edit holds its error.

        Raises:
            UserError: an example has no edit, as in a data set of another kind, or the recipe
                does not fit the network.
        """
        # A recipe that does not fit the network is noticed before anything is computed.
        plan_branches(model, ["a picture"], [["a picture"]], self.recipe)
        run = _EditingRun(self, model, inverter, settings)
        return run_cases(examples, settings.batch_size, run.open, run.edit)


@dataclass
class _EditingRun:
    """The stages of one run of the task.

    Arguments:
        task: The task.
        model: The model.
        inverter: The inverter.
        settings: The run's numbers.
        sources: The sources of the last batch; no others are needed, as the edits of an image
            stand together.
    """

    task: Editing
    model: Editable
    inverter: Inverter
    settings: Settings
    sources: dict[Key, Source] = field(default_factory=dict)

    def open(self, example: Example) -> Case:
        """Return the case of an example.

        Raises:
            UserError: a picture cannot be read, or a word or a saved inversion does not fit.
        """
        case = Case.open(example, Frame(self.model.image_size, self.settings.crop))
        # What does not fit is noticed here, where it costs one example rather than the batch.
        plan_branches(self.model, [example.prompt], [[self._request(case)]], self.task.recipe)
        if self.task.inversions is not None:
            self._load(self.task.inversions, case)
        return case

    def _request(self, case: Case) -> Edit:
        edit = case.request.edit
        return edit if self.task.blend else replace(edit, blend=())

    def _load(self, folder: str, case: Case) -> Inversion:
        """Return the inversion that another run saved of the image of a case.

        Raises:
            UserError: there is none, or it is of another prompt, model, grid, size or inverter.
        """
        image, prompt = case.key
        made_of, components = (case.pixels, [case.example]), (self.inverter, self.task.adjustment)
        return saved_inversion(
            folder, image, self.model, *made_of, self.settings, *components, prompt=prompt
        )

    def edit(self, cases: Sequence[Case]) -> list[Record | UserError]:
        """Return the records of some cases, whose sources and targets are sampled in one batch."""
        self.sources = self._sources(cases)
        batch = self._sample(cases)
        ids = [case.example.id for case in batch.cases]
        records = dict(zip(ids, self._records(batch), strict=True))
        return [records[case.example.id] for case in cases]

    def _sources(self, cases: Sequence[Case]) -> dict[Key, Source]:
        """Return the sources of some cases: those of the last batch, loaded or inverted ones."""
        by_key = {case.key: case for case in cases}
        sources = {key: self.sources[key] for key in by_key if key in self.sources}
        new = [case for key, case in by_key.items() if key not in sources]
        if not new:
            return sources
        latents = self.model.encode(torch.stack([case.pixels for case in new]))
        if (folder := self.task.inversions) is None:
            return sources | self._inverted(new, latents)
        # What an adjustment made of the latents is not saved with the inversion.
        adjusted = not isinstance(self.task.adjustment, Unadjusted)
        for case, z in zip(new, latents, strict=True):
            encoded = None if adjusted else z[None]
            sources[case.key] = Source(encoded, self._load(folder, case), None)
        return sources

    def _inverted(self, cases: Sequence[Case], latents: Tensor) -> dict[Key, Source]:
        """Return the sources of some cases, inverted in one batch."""
        model, settings, watch = self.model, self.settings, Stopwatch(self.model)
        condition = model.condition([case.example.prompt for case in cases], settings.guidance)
        names = [case.request.image for case in cases]
        warm_up(model, latents, condition, settings.steps)
        denoiser = model.denoiser(settings.steps)
        with watch.running():
            adjusted = adjust(self.task.adjustment, denoiser, latents, condition, names, settings)
            inversion = invert(self.inverter, denoiser, adjusted, condition, names, settings)
        seconds = watch.seconds / len(cases)
        rows = [slice(k, k + 1) for k in range(len(cases))]
        return {
            case.key: Source(adjusted[row], inversion[row], seconds)
            for case, row in zip(cases, rows, strict=True)
        }

    def _sample(self, cases: Sequence[Case]) -> EditedBatch:
        """Return the cases, in the order of their sources, with all branches sampled."""
        model, task, settings = self.model, self.task, self.settings
        # A branch names its source by number, so that cases follow the order of the sources.
        groups = [[case for case in cases if case.key == key] for key in self.sources]
        requests = [[self._request(case) for case in group] for group in groups]
        prompts = [prompt for _, prompt in self.sources]
        branches = plan_branches(model, prompts, requests, task.recipe)
        inversion = Inversion.cat([source.inversion for source in self.sources.values()])
        scales, watch = (settings.guidance, task.guidance), Stopwatch(model)
        with watch.running():
            sampled = sample_branches(
                model, self.inverter, inversion, branches, settings.steps, *scales
            )
        ordered = [case for group in groups for case in group]
        originals = torch.stack([case.pixels for case in ordered]).to(model.device)
        return EditedBatch(
            ordered,
            originals,
            decode_like(originals, model, sampled.targets),
            [self.sources[case.key] for case in ordered],
            decode_like(originals, model, sampled.sources)[branches.origins],
            sampled.sources[branches.origins],
            sampled,
            self._enlarged(sampled.masks, originals),
            watch.seconds,
        )

    def _enlarged(self, masks: Tensor, images: Tensor) -> Tensor:
        """Return masks (T, h, w) of latents in the pixels of images (T, 3, H, W)."""
        height, width = images.shape[-2:]
        for side in (1, 2):
            masks = masks.repeat_interleave(vae_factor(self.model), side)
        return masks[:, :height, :width]

    def _records(self, batch: EditedBatch) -> Iterator[Record | UserError]:
        columns = {**cost(batch), **self.task.quality(batch)}
        sound = are_finite(batch.edits)
        for k, metrics in enumerate(by_example(columns, len(batch.cases))):
            case, inversion = batch.cases[k], batch.sources[k].inversion
            edited = record(case, metrics, pictures(batch, k), inversion)
            yield edited if sound[k] and all(solved(inversion)) else diverged(self.model)
