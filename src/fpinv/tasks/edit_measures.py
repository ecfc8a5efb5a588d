"""Metrics, pictures and records of edited images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from fpinv.images import to_pil
from fpinv.inversion import Inversion
from fpinv.metrics import pixels
from fpinv.metrics.clip import CLIP, directional_similarity, similarity
from fpinv.metrics.edit_accuracy import AttributeReader, accuracy
from fpinv.metrics.perceptual import PerceptualMetric
from fpinv.reporting.grid import strip
from fpinv.tasks.columns import Column
from fpinv.tasks.edit_cases import Case, EditedBatch, EditedImages
from fpinv.tasks.record import Record

QUALITY = (
    *("background_psnr", "background_ssim", "background_mse", "truth_psnr"),
    *("edit_accuracy", "kept_accuracy", "edit_success"),
)
"""Metrics of an edit's outcome that a summary has even where no edit was measured."""


@dataclass(frozen=True, kw_only=True)
class EditMeasures:
    """The measures of an edit's outcome.

    Arguments:
        similarity: A CLIP for the fit of edits to their prompts.
        perceptual: A learned distance of edits to their originals.
        structure: A distance of edits to their originals in structure.
        reader: Reads attributes off edited scenes, for the accuracy of edits.
    """

    similarity: CLIP | None = None
    perceptual: PerceptualMetric | None = None
    structure: PerceptualMetric | None = None
    reader: AttributeReader | None = None

    def quality(self, edited: EditedImages) -> dict[str, Column]:
        """Return what there is to say of edited images."""
        distances = [d for d in (self.perceptual, self.structure) if d is not None]
        return {
            **comparisons(edited),
            **{d.name: d(edited.edits, edited.originals) for d in distances},
            **similarities(self.similarity, edited),
            **accuracies(self.reader, edited),
        }


def cost(batch: EditedBatch) -> dict[str, Column]:
    """Return the cost of the edits and the fidelity of their sources."""
    sampled, count = batch.sampled, len(batch.cases)
    inversions = [source.inversion for source in batch.sources]
    latents = [source.latents for source in batch.sources]
    times = [source.seconds for source in batch.sources]
    return {
        "reconstruction_psnr": pixels.psnr(batch.reconstructions, batch.originals),
        "reconstruction_latent_psnr": _where_available(
            pixels.latent_psnr,
            (batch.source_latents,),
            [None if z is None else z[0] for z in latents],
        ),
        "nfe_calls": torch.cat([inversion.calls for inversion in inversions]),
        "nfe_rows": torch.cat([inversion.rows for inversion in inversions]),
        "nfe_equivalents": torch.cat([inversion.equivalents for inversion in inversions]),
        "sample_nfe_calls": sampled.calls,
        "sample_nfe_rows": sampled.rows / count,
        "seconds_per_image": [None if s is None else s + batch.seconds / count for s in times],
        "stored_numbers": inversions[0].stored_numbers,
        "blend_share": sampled.masks.flatten(1).double().mean(1),
    }


def comparisons(batch: EditedImages) -> dict[str, Column]:
    """Return the likeness of edits to originals outside the mask, and to perfect edits."""
    truths = [case.truth for case in batch.cases]
    masks = [case.mask for case in batch.cases]
    pair = (batch.edits, batch.originals)
    return {
        "truth_psnr": _where_available(pixels.psnr, (batch.edits,), truths),
        "background_psnr": _where_available(pixels.background_psnr, pair, masks),
        "background_ssim": _where_available(pixels.background_ssim, pair, masks),
        "background_mse": _where_available(pixels.background_mse, pair, masks),
    }


def _where_available(
    measure: Callable[..., Tensor], images: Sequence[Tensor], references: Sequence[Tensor | None]
) -> list[float | None]:
    """Return ``measure(*images, references)`` of the rows with a reference, None of the others."""
    rows = [k for k, reference in enumerate(references) if reference is not None]
    column: list[float | None] = [None] * len(references)
    if rows:
        available = torch.stack([x for x in references if x is not None]).to(images[0].device)
        values = measure(*(x[rows] for x in images), available).tolist()
        for k, value in zip(rows, values, strict=True):
            column[k] = value
    return column


def similarities(clip: CLIP | None, batch: EditedImages) -> dict[str, Column]:
    """Return the fit of edits to their prompts by a CLIP; nothing without one."""
    if clip is None:
        return {}
    edits, originals = batch.edits, batch.originals
    sources = [case.example.prompt for case in batch.cases]
    targets = [case.request.edit.prompt for case in batch.cases]
    direction = directional_similarity(clip, edits, originals, targets, sources)
    return {clip.name: similarity(clip, edits, targets), f"{clip.name}_direction": direction}


def accuracies(reader: AttributeReader | None, batch: EditedImages) -> dict[str, Column]:
    """Return the share of edited and of unedited attributes that are right, where known."""
    edited: list[float | None] = [None] * len(batch.cases)
    unedited, success = list(edited), list(edited)
    rows = [k for k, case in enumerate(batch.cases) if case.request.attributes]
    if reader and rows:
        for k, read in zip(rows, reader(batch.edits[rows]), strict=True):
            case = batch.cases[k]
            score = accuracy(read, case.example.attributes, case.request.attributes or {})
            edited[k], unedited[k], success[k] = score.edit, score.preserved, score.success
    return {"edit_accuracy": edited, "kept_accuracy": unedited, "edit_success": success}


def pictures(batch: EditedBatch, k: int) -> dict[str, Image.Image]:
    """Return the pictures of case k by name."""
    return {
        "original": to_pil(batch.originals[k]),
        "reconstruction": to_pil(batch.reconstructions[k]),
        "edit": to_pil(batch.edits[k]),
        "mask": Image.fromarray(batch.free[k].cpu().numpy()).convert("RGB"),
    }


HEADS = {"mask": "may change: white", "truth": "perfect edit"}
"""Heads of pictures in a strip, where they are not the names."""


def record(
    case: Case,
    metrics: Mapping[str, float | None],
    named: Mapping[str, Image.Image],
    inversion: Inversion | None = None,
) -> Record:
    """Return the record of a case, with its pictures, the true edit and a strip of them all."""
    texts = {
        "target": case.request.edit.prompt,
        "change": case.example.attributes.get("change"),
        "instruction": case.request.instruction,
    }
    truth = {} if case.truth is None else {"truth": to_pil(case.truth)}
    images = {**named, **truth}
    return Record(
        case.example.id,
        case.example.prompt,
        metrics,
        images=images | {"strip": strip({HEADS.get(k, k): image for k, image in images.items()})},
        inversion=inversion,
        image=case.request.image,
        sources=[case.example],
        texts={name: text for name, text in texts.items() if text},
    )
