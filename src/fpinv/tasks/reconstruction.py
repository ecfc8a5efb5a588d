"""Invert images, sample them back, and measure what came back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from fpinv.datasets.example import Example
from fpinv.denoiser import Condition
from fpinv.errors import UserError
from fpinv.images import to_pil
from fpinv.inversion import Inversion, Inverter
from fpinv.inverters.adjustment import Adjustment, Unadjusted
from fpinv.metrics import pixels
from fpinv.metrics.perceptual import PerceptualMetric
from fpinv.models.model import Model
from fpinv.sampling import sample
from fpinv.seeding import normal
from fpinv.tasks.loading import batches, by_example, diverged, load_pixels, over_steps
from fpinv.tasks.record import Record, finite
from fpinv.tasks.task import Settings
from fpinv.tasks.timing import clock, warm_up

DIFFERENCE_GAIN = 4


@dataclass(frozen=True)
class Batch:
    """Examples ready to be inverted.

    Arguments:
        examples: The B examples.
        images: Their pixels (B, 3, H, W) in [-1, 1].
        encoded: The latents E(x) of the images (B, C, h, w), float32.
        known: The latents z_0 that the images were decoded from, where the model made them.
        noise: The latents z_N that those were sampled from, likewise.
    """

    examples: list[Example]
    images: Tensor
    encoded: Tensor
    known: Tensor | None = None
    noise: Tensor | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: latents, images and cost."""

    inverted: Tensor
    inversion: Inversion
    latents: Tensor
    images: Tensor
    seconds: float
    adjust_calls: int
    adjust_rows: int
    sample_calls: int
    sample_rows: int


@dataclass(frozen=True)
class Reconstruction:
    """The reconstruction task: E(x) -> (adjust) -> invert -> sample -> D.

    The image is compared with the original and with the VAE's own round trip D(E(x)), the ceiling
    of every method. Times are of adjustment, inversion and sampling alone, after a warm-up
    evaluation at each batch size and with the device waited for.

    Arguments:
        adjustment: What is done to the encodings before the inversion.
        perceptual: A learned distance to report besides PSNR, SSIM and MSE.
        invert_known: Invert a generated image's own z_0 instead of the encoding of its pixels:
            the seed error is then the inverter's alone.

    References:
        | Fixed-Point Inversion for Text-to-Image Diffusion Models (Meiri et al., 2023), 4.1
        | https://arxiv.org/abs/2312.12540
    """

    metrics: ClassVar[tuple[str, ...]] = (
        "psnr",
        "ceiling_psnr",
        "gap",
        "ssim",
        "mse",
        "latent_mse",
        "latent_psnr",
        "residual",
        "nfe_calls",
        "nfe_rows",
        "seconds_per_image",
        "stored_numbers",
    )

    adjustment: Adjustment = field(default_factory=Unadjusted)
    perceptual: PerceptualMetric | None = None
    invert_known: bool = False

    def __call__(
        self, model: Model, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """One record an example, in order; an image that cannot be read yields its error."""
        warm: set[int] = set()
        for group in batches(examples, settings.batch_size):
            loaded = [load_pixels(example, model) for example in group]
            good = [k for k, image in enumerate(loaded) if not isinstance(image, UserError)]
            records = {}
            if good:
                condition = model.condition([group[k].prompt for k in good], settings.guidance)
                batch = _prepare(
                    model, [group[k] for k in good], [loaded[k] for k in good], condition, settings
                )
                if len(good) not in warm:
                    warm_up(model, batch.encoded, condition, settings.steps)
                    warm.add(len(good))
                outcome = self._run(model, inverter, batch, condition, settings)
                records = dict(zip(good, self._measure(model, batch, outcome), strict=True))
            for k, (example, image) in enumerate(zip(group, loaded, strict=True)):
                failed = Record(example.id, example.prompt, error=str(image))
                yield records.get(k, failed)

    def _run(
        self,
        model: Model,
        inverter: Inverter,
        batch: Batch,
        condition: Condition,
        settings: Settings,
    ) -> Outcome:
        known = batch.known if self.invert_known else None
        encoded = batch.encoded if known is None else known
        noise = _normal(model, settings.seed, batch.examples, "adjustment")
        denoiser = model.denoiser(settings.steps)
        began = clock(model)
        inverted = self.adjustment(denoiser, encoded, condition, noise)
        adjust_calls, adjust_rows = denoiser.calls, denoiser.rows // len(encoded)
        inversion = inverter.invert(denoiser, inverted, condition)
        calls, rows = denoiser.calls, denoiser.rows
        latents = inverter.sample(denoiser, inversion, condition)
        seconds = clock(model) - began
        return Outcome(
            inverted,
            inversion,
            latents,
            model.decode(latents),
            seconds,
            adjust_calls,
            adjust_rows,
            denoiser.calls - calls,
            (denoiser.rows - rows) // len(encoded),
        )

    def _measure(self, model: Model, batch: Batch, outcome: Outcome) -> list[Record]:
        ceiling = model.decode(batch.encoded)
        columns = by_example(self._columns(batch, outcome, ceiling), len(batch.examples))
        records = []
        finite = _finite(outcome)
        for k, example in enumerate(batch.examples):
            if not finite[k]:
                records.append(Record(example.id, example.prompt, error=diverged(model)))
                continue
            values = {name: column[k] for name, column in columns.items()}
            series = _series(outcome.inversion, k)
            pictures = _pictures(batch.images[k], ceiling[k], outcome.images[k])
            inversion = outcome.inversion[slice(k, k + 1)]
            records.append(
                Record(example.id, example.prompt, values, series, pictures, inversion=inversion)
            )
        return records

    def _columns(
        self, batch: Batch, outcome: Outcome, ceiling: Tensor
    ) -> dict[str, Tensor | float | None]:
        """Each metric's values (B,), or the one value that all images share."""
        x, rec, inversion = batch.images, outcome.images, outcome.inversion
        psnr, ceiling_psnr = pixels.psnr(rec, x), pixels.psnr(ceiling, x)
        columns: dict[str, Tensor | float | None] = {
            "psnr": psnr,
            "ceiling_psnr": ceiling_psnr,
            "gap": ceiling_psnr - psnr,
            "ssim": pixels.ssim(rec, x),
            "mse": pixels.mse(rec, x),
            "latent_mse": pixels.latent_mse(outcome.latents, outcome.inverted),
            "latent_psnr": pixels.latent_psnr(outcome.latents, outcome.inverted),
            "residual": over_steps(inversion.residual),
            "iterations": over_steps(inversion.iterations),
            "converged": over_steps(inversion.converged),
            "nfe_calls": inversion.calls,
            "nfe_rows": inversion.rows,
            "sample_nfe_calls": outcome.sample_calls,
            "sample_nfe_rows": outcome.sample_rows,
            "adjust_nfe_calls": outcome.adjust_calls,
            "adjust_nfe_rows": outcome.adjust_rows,
            "seconds_per_image": outcome.seconds / len(x),
            "stored_numbers": inversion.stored_numbers,
            "noise_norm": pixels.norm_ratio(inversion.noise),
            "adjustment_distance": _distance(outcome.inverted, batch.encoded),
        }
        if self.perceptual is not None:
            columns[self.perceptual.name] = self.perceptual(rec, x)
        if batch.known is not None and batch.noise is not None:
            columns |= {
                "seed_error": pixels.seed_error(inversion.noise, batch.noise),
                "encoding_distance": _distance(batch.encoded, batch.known),
                "adjusted_distance": _distance(outcome.inverted, batch.known),
                "reconstruction_distance": _distance(outcome.latents, batch.known),
            }
        return columns


def _prepare(
    model: Model,
    examples: list[Example],
    loaded: list[Any],
    condition: Condition,
    settings: Settings,
) -> Batch:
    """Pixels and encodings; images that the model makes itself are sampled here."""
    if loaded[0] is None:
        noise = torch.stack([_seeded(model, e) for e in examples]).to(model.device)
        with torch.no_grad():
            known = sample(model.denoiser(settings.steps), noise, condition)
        images = model.decode(known)
        return Batch(examples, images, model.encode(images), known, noise)
    images = torch.stack(loaded).to(model.device)
    return Batch(examples, images, model.encode(images))


def _finite(outcome: Outcome) -> list[bool]:
    """Whether the noise and the reconstruction of each image are finite."""
    both = torch.stack([outcome.inversion.noise, outcome.latents], 1)
    return both.flatten(1).isfinite().all(1).tolist()


def _seeded(model: Model, example: Example) -> Tensor:
    """The noise that a stock pipeline draws for the seed: one CPU generator, manual_seed."""
    assert example.seed is not None
    generator = torch.Generator().manual_seed(example.seed)
    return torch.randn(model.latent_shape, generator=generator)


def _normal(model: Model, seed: int, examples: list[Example], purpose: str) -> Tensor:
    return normal(model.latent_shape, seed, [e.id for e in examples], purpose, model.device)


def _distance(z: Tensor, reference: Tensor) -> Tensor:
    """Euclidean distance of latents, (B,); what the paper's Fig. 4 quotes."""
    return (z.double() - reference.double()).flatten(1).norm(dim=1)


def _series(inversion: Inversion, k: int) -> dict[str, list[float]]:
    """Of image k; ``residual_n`` is that of the n-th point which a step evaluated."""
    per_step = {"residual": inversion.residual, "iterations": inversion.iterations}
    trace = () if inversion.trace is None else inversion.trace
    per_step |= {f"residual_{n}": residual for n, residual in enumerate(trace, 1)}
    return {name: finite(v[:, k].tolist()) for name, v in per_step.items() if v is not None}


def _pictures(original: Tensor, ceiling: Tensor, rec: Tensor) -> dict[str, Image.Image]:
    """The difference is |original - reconstruction|, brightened so that an eye can see it."""
    difference = (original - rec).abs() * DIFFERENCE_GAIN - 1
    named = {"original": original, "ceiling": ceiling, "reconstruction": rec}
    return {name: to_pil(image) for name, image in (named | {"difference": difference}).items()}
