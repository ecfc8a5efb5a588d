"""What is measured of edits, and their pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from fpinv.images import to_pil
from fpinv.metrics import pixels
from fpinv.metrics.clip import CLIP, directional_similarity, similarity
from fpinv.metrics.edit_accuracy import AttributeReader, accuracy
from fpinv.metrics.perceptual import PerceptualMetric
from fpinv.reporting.grid import strip
from fpinv.tasks.edit_cases import Outcome
from fpinv.tasks.loading import Column


def cost(outcome: Outcome) -> dict[str, Column]:
    """What the edits cost and how well their sources came back."""
    sampled, count = outcome.sampled, len(outcome.cases)
    inversions = [source.inversion for source in outcome.sources]
    latents = torch.cat([source.latents for source in outcome.sources])
    return {
        "reconstruction_psnr": pixels.psnr(outcome.reconstructions, outcome.originals),
        "reconstruction_latent_psnr": pixels.latent_psnr(outcome.found, latents),
        "nfe_calls": torch.cat([inversion.calls for inversion in inversions]),
        "nfe_rows": torch.cat([inversion.rows for inversion in inversions]),
        "sample_nfe_calls": sampled.calls,
        "sample_nfe_rows": sampled.rows / count,
        "seconds_per_image": [s.seconds + outcome.seconds / count for s in outcome.sources],
        "stored_numbers": inversions[0].stored_numbers,
        "blend_share": sampled.masks.flatten(1).double().mean(1),
    }


def comparisons(outcome: Outcome) -> dict[str, Column]:
    """How edits compare with originals outside the mask, and with perfect edits."""
    truths = [case.truth for case in outcome.cases]
    masks = [case.mask for case in outcome.cases]
    pair = (outcome.edits, outcome.originals)
    return {
        "truth_psnr": _where_known(pixels.psnr, (outcome.edits,), truths),
        "background_psnr": _where_known(pixels.background_psnr, pair, masks),
        "background_ssim": _where_known(pixels.background_ssim, pair, masks),
        "background_mse": _where_known(pixels.background_mse, pair, masks),
    }


def _where_known(
    measure: Callable[..., Tensor], images: Sequence[Tensor], known: Sequence[Tensor | None]
) -> list[float | None]:
    """``measure(*images, known)`` of the rows for which something is known; else None."""
    rows = [k for k, value in enumerate(known) if value is not None]
    values: list[float | None] = [None] * len(known)
    if rows:
        given = torch.stack([value for value in known if value is not None]).to(images[0].device)
        for k, value in zip(
            rows, measure(*(x[rows] for x in images), given).tolist(), strict=True
        ):
            values[k] = value
    return values


@dataclass(frozen=True)
class Readings:
    """What learned networks say about edits.

    Arguments:
        similarity: See :class:`~fpinv.tasks.editing.Editing`, as for all of these.
        distances: Distances of edits to their originals.
        reader: Reads attributes off scenes.
    """

    similarity: CLIP | None
    distances: Sequence[PerceptualMetric]
    reader: AttributeReader | None

    def __call__(self, outcome: Outcome) -> dict[str, Column]:
        """Each metric's values, one an edit."""
        distances: dict[str, Column] = {
            distance.name: distance(outcome.edits, outcome.originals)
            for distance in self.distances
        }
        return distances | self._similarities(outcome) | self._accuracies(outcome)

    def _similarities(self, outcome: Outcome) -> dict[str, Column]:
        if (clip := self.similarity) is None:
            return {}
        edits, originals = outcome.edits, outcome.originals
        sources = [case.example.prompt for case in outcome.cases]
        targets = [case.case.edit.prompt for case in outcome.cases]
        direction = directional_similarity(clip, edits, originals, targets, sources)
        return {clip.name: similarity(clip, edits, targets), f"{clip.name}_direction": direction}

    def _accuracies(self, outcome: Outcome) -> dict[str, Column]:
        """Whether the asked attribute changed and the others stayed, where they are known."""
        edit: list[float | None] = [None] * len(outcome.cases)
        kept = list(edit)
        known = [k for k, case in enumerate(outcome.cases) if case.case.attributes]
        if self.reader and known:
            for k, read in zip(known, self.reader(outcome.edits[known]), strict=True):
                case = outcome.cases[k]
                found = accuracy(read, case.example.attributes, case.case.attributes or {})
                edit[k], kept[k] = found.edit, found.preserved
        return {"edit_accuracy": edit, "kept_accuracy": kept}


def pictures(outcome: Outcome, k: int) -> dict[str, Image.Image]:
    """Original, reconstruction, edit, what was free to differ, the truth; and all in one strip."""
    free = Image.fromarray(outcome.sampled.masks[k].cpu().numpy()).convert("RGB")
    edit, truth = to_pil(outcome.edits[k]), outcome.cases[k].truth
    named = {
        "original": to_pil(outcome.originals[k]),
        "reconstruction": to_pil(outcome.reconstructions[k]),
        "edit": edit,
        "mask": free.resize(edit.size, Image.Resampling.NEAREST),
    }
    if truth is not None:
        named["truth"] = to_pil(truth)
    return named | {"strip": strip(named)}
