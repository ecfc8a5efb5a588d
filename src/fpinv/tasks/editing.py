"""Invert images once, edit them by their prompts, and measure what changed and what did not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from fpinv.datasets.example import EditCase, Example
from fpinv.editing.recipe import PromptToPrompt
from fpinv.editing.request import Edit
from fpinv.editing.sampling import Editable, plan_branches, sample_branches
from fpinv.errors import UserError
from fpinv.inversion import Inversion, Inverter
from fpinv.inverters.adjustment import Adjustment, Unadjusted
from fpinv.metrics.clip import CLIP
from fpinv.metrics.edit_accuracy import AttributeReader
from fpinv.metrics.perceptual import PerceptualMetric
from fpinv.seeding import normal
from fpinv.tasks.edit_cases import Case, Key, Outcome, Source
from fpinv.tasks.edit_measures import Readings, comparisons, cost, pictures
from fpinv.tasks.loading import (
    batches,
    by_example,
    decoding,
    diverged,
    require_inversions,
    saved_inversion,
)
from fpinv.tasks.record import Record
from fpinv.tasks.task import Settings
from fpinv.tasks.timing import clock, warm_up


@dataclass(frozen=True)
class Editing:
    """The editing task: E(x) -> (adjust) -> invert once -> sample source and targets -> D.

    Each example asks one edit of an image; examples of one image, one after the other, share its
    inversion. The source branch is the inverter's own reconstruction at the run's guidance.

    Arguments:
        adjustment: What is done to the encodings before the inversion.
        guidance: Guidance of the targets; None for the run's, which is the sources'.
        recipe: Which controllers an edit is made with.
        blend: Whether to hold what lies outside the words that an example names.
        similarity: A CLIP for how well edits fit their prompts.
        perceptual: A learned distance of edits to their originals.
        structure: A distance in structure, likewise.
        reader: Reads attributes off edited scenes, for the accuracy of edits.
        inversions: Folder of a finished run whose saved inversions are taken; None to invert.

    References:
        | Fixed-Point Inversion for Text-to-Image Diffusion Models (Meiri et al., 2023), 4.2
        | https://arxiv.org/abs/2312.12540
    """

    metrics: ClassVar[tuple[str, ...]] = (
        "reconstruction_psnr",
        "background_psnr",
        "background_ssim",
        "background_mse",
        "truth_psnr",
        "edit_accuracy",
        "kept_accuracy",
        "nfe_calls",
        "nfe_rows",
        "seconds_per_image",
        "stored_numbers",
    )

    adjustment: Adjustment = field(default_factory=Unadjusted)
    guidance: float | None = None
    recipe: PromptToPrompt = field(default_factory=PromptToPrompt)
    blend: bool = True
    similarity: CLIP | None = None
    perceptual: PerceptualMetric | None = None
    structure: PerceptualMetric | None = None
    reader: AttributeReader | None = None
    inversions: str | None = None

    def __post_init__(self) -> None:
        require_inversions(self.inversions)

    def __call__(
        self, model: Editable, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """One record an example, in order; an edit that cannot be made yields its error.

        Raises:
            UserError: an example asks no edit, as in a data set of another kind.
        """
        sources: dict[Key, Source] = {}
        for group in batches(examples, settings.batch_size):
            opened = [self._open(model, example, settings) for example in group]
            cases = [case for case in opened if isinstance(case, Case)]
            # Only the last batch's sources are kept: an image's edits stand together.
            sources = self._sources(model, inverter, cases, sources, settings)
            done = {r.id: r for r in self._edit(model, inverter, cases, sources, settings)}
            for example, case in zip(group, opened, strict=True):
                yield done[example.id] if isinstance(case, Case) else case

    def _open(self, model: Editable, example: Example, settings: Settings) -> Case | Record:
        """The case of an example, or the record of why there is none."""
        if example.case is None:
            raise UserError("the data set asks no edits: use one of edits, e.g. scene_edits")
        try:
            with decoding(example.id):
                case = Case.open(example, example.case, model.image_size)
            plan_branches(model, [example.prompt], [[self._wish(case.case)]], self.recipe)
            if self.inversions is not None:
                self._load(model, case.key, settings)
        except UserError as error:
            return Record(example.id, example.prompt, error=str(error))
        return case

    def _wish(self, case: EditCase) -> Edit:
        return case.edit if self.blend else replace(case.edit, blend=())

    def _load(self, model: Editable, key: Key, settings: Settings) -> Inversion:
        """The inversion that another run kept of an image.

        Raises:
            UserError: there is none, or it is of another prompt, model or grid.
        """
        image, prompt = key
        wanted = {"prompt": prompt, "model": model.name, "steps": settings.steps}
        return saved_inversion(self.inversions or "", image, model.device, wanted)

    def _sources(
        self,
        model: Editable,
        inverter: Inverter,
        cases: Sequence[Case],
        known: Mapping[Key, Source],
        settings: Settings,
    ) -> dict[Key, Source]:
        """The sources of some cases, each inverted once, or loaded, or known already."""
        wanted = {case.key: case for case in cases}
        new = [case for key, case in wanted.items() if key not in known]
        found = {key: known[key] for key in wanted if key in known}
        if not new:
            return found
        latents = model.encode(torch.stack([case.pixels for case in new]))
        if self.inversions is None:
            return found | self._inverted(model, inverter, new, latents, settings)
        for case, z in zip(new, latents, strict=True):
            found[case.key] = Source(z[None], self._load(model, case.key, settings), 0.0)
        return found

    def _inverted(
        self,
        model: Editable,
        inverter: Inverter,
        cases: Sequence[Case],
        latents: Tensor,
        settings: Settings,
    ) -> dict[Key, Source]:
        condition = model.condition([case.example.prompt for case in cases], settings.guidance)
        names = [case.case.image for case in cases]
        noise = normal(model.latent_shape, settings.seed, names, "adjustment", model.device)
        warm_up(model, latents, condition, settings.steps)
        denoiser = model.denoiser(settings.steps)
        began = clock(model)
        adjusted = self.adjustment(denoiser, latents, condition, noise)
        inversion = inverter.invert(denoiser, adjusted, condition)
        seconds = (clock(model) - began) / len(cases)
        rows = [slice(k, k + 1) for k in range(len(cases))]
        return {
            case.key: Source(adjusted[row], inversion[row], seconds)
            for case, row in zip(cases, rows, strict=True)
        }

    def _edit(
        self,
        model: Editable,
        inverter: Inverter,
        cases: Sequence[Case],
        sources: Mapping[Key, Source],
        settings: Settings,
    ) -> list[Record]:
        """The records of some cases, whose sources and targets are sampled in one batch."""
        if not cases:
            return []
        groups = [[case for case in cases if case.key == key] for key in sources]
        wishes = [[self._wish(case.case) for case in group] for group in groups]
        branches = plan_branches(model, [prompt for _, prompt in sources], wishes, self.recipe)
        inversion = Inversion.cat([source.inversion for source in sources.values()])
        scales = settings.guidance, self.guidance
        began = clock(model)
        sampled = sample_branches(model, inverter, inversion, branches, settings.steps, *scales)
        seconds = clock(model) - began
        ordered = [case for group in groups for case in group]
        outcome = Outcome(
            ordered,
            [sources[case.key] for case in ordered],
            torch.stack([case.pixels for case in ordered]).to(model.device),
            model.decode(sampled.sources)[branches.origins],
            model.decode(sampled.targets),
            sampled.sources[branches.origins],
            sampled,
            seconds,
        )
        return self._records(model, outcome)

    def _records(self, model: Editable, outcome: Outcome) -> list[Record]:
        distances = [d for d in (self.perceptual, self.structure) if d is not None]
        readings = Readings(self.similarity, distances, self.reader)
        measured = cost(outcome) | comparisons(outcome) | readings(outcome)
        columns = by_example(measured, len(outcome.cases))
        finite = outcome.edits.flatten(1).isfinite().all(1).tolist()
        return [
            _record(outcome, k, {name: column[k] for name, column in columns.items()})
            if finite[k]
            else Record(case.example.id, case.example.prompt, error=diverged(model))
            for k, case in enumerate(outcome.cases)
        ]


def _record(outcome: Outcome, k: int, values: Mapping[str, float | None]) -> Record:
    case = outcome.cases[k]
    kind = case.example.attributes.get("change")
    texts = {"target": case.case.edit.prompt} | ({} if kind is None else {"change": kind})
    return Record(
        case.example.id,
        case.example.prompt,
        values,
        images=pictures(outcome, k),
        inversion=outcome.sources[k].inversion,
        image=case.case.image,
        texts=texts,
    )
