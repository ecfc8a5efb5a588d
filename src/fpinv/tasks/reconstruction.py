"""The reconstruction task: invert images, sample them back, and compare."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from fpinv.datasets.example import Example
from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.images import Frame, to_pil
from fpinv.inversion import Inversion, Inverter
from fpinv.inverters.adjustment import Adjustment, Unadjusted
from fpinv.metrics import pixels
from fpinv.metrics.noise import noise_quality
from fpinv.metrics.perceptual import PerceptualMetric
from fpinv.metrics.regions import regions
from fpinv.models.model import Model
from fpinv.sampling import sample
from fpinv.tasks.columns import Column, by_example, over_steps
from fpinv.tasks.finite import are_finite, diverged
from fpinv.tasks.inverting import adjust, invert
from fpinv.tasks.loading import decode_like, open_pixels, vae_factor
from fpinv.tasks.record import Record, finite
from fpinv.tasks.stages import alike, each, run_stages
from fpinv.tasks.task import COSTS, Settings
from fpinv.tasks.timing import Stopwatch, warm_up

DIFFERENCE_GAIN = 4
MARGIN = 1.0
"""dB by which latent_psnr may fall short of what was foretold."""


@dataclass(frozen=True)
class Batch:
    """Examples ready to be inverted.

    Arguments:
        examples: The B examples.
        condition: Their prompts at the run's guidance.
        images: Their pixels (B, 3, H, W) in [-1, 1].
        encoded: The latents E(x) of the images (B, C, h, w), float32.
        true_latents: The latents z_0 (B, C, h, w) that generated images were decoded from.
        true_noise: The latents z_N (B, C, h, w) that those were sampled from.
    """

    examples: list[Example]
    condition: Condition
    images: Tensor
    encoded: Tensor
    true_latents: Tensor | None = None
    true_noise: Tensor | None = None


@dataclass(frozen=True)
class RoundTrip:
    """A batch that was inverted and sampled back.

    Arguments:
        inverted: The latents that were inverted, (B, C, h, w).
        inversion: The inversion.
        latents: The latents that were sampled back, (B, C, h, w).
        images: The images of those, (B, 3, H, W) in [-1, 1].
        seconds: Time of adjustment, inversion and sampling.
        adjusting: The denoiser of the adjustment, with its counts.
        sampling: The denoiser of the sampling, with its counts.
    """

    inverted: Tensor
    inversion: Inversion
    latents: Tensor
    images: Tensor
    seconds: float
    adjusting: Denoiser
    sampling: Denoiser

    @property
    def costs(self) -> dict[str, Column]:
        """Evaluations, iterations, time and memory."""
        inversion, count = self.inversion, len(self.images)
        return {
            "residual": over_steps(inversion.residual),
            "iterations": over_steps(inversion.iterations),
            "converged": over_steps(inversion.converged),
            "nfe_calls": inversion.calls,
            "nfe_rows": inversion.rows,
            "nfe_equivalents": inversion.equivalents,
            "sample_nfe_calls": self.sampling.calls,
            "sample_nfe_rows": self.sampling.rows // count,
            "adjust_nfe_calls": self.adjusting.calls,
            "adjust_nfe_rows": self.adjusting.rows // count,
            "seconds_per_image": self.seconds / count,
            "stored_numbers": inversion.stored_numbers,
        }


@dataclass(frozen=True)
class Reconstruction:
    """The reconstruction task: E(x) -> (adjust) -> invert -> sample -> D.

    The image is compared with the original and with the VAE's own round trip D(E(x)), the ceiling
    of every method. Times are of adjustment, inversion and sampling alone, after a warm-up
    evaluation at each batch size and with the device waited for.

    Arguments:
        adjustment: Change of the encodings before the inversion.
        perceptual: A learned distance to report besides PSNR, SSIM and MSE.
        invert_known: Invert a generated image's own z_0 instead of the encoding of its pixels:
            the seed error is then the inverter's alone.

    References:
        | Fixed-Point Inversion for Text-to-Image Diffusion Models (Meiri et al., 2023), 4.1
        | https://arxiv.org/abs/2312.12540v1
    """

    metrics: ClassVar[tuple[str, ...]] = (
        *("psnr", "ceiling_psnr", "gap", "ssim", "mse"),
        *("latent_mse", "latent_psnr", "residual"),
        *COSTS,
    )

    adjustment: Adjustment = field(default_factory=Unadjusted)
    perceptual: PerceptualMetric | None = None
    invert_known: bool = False

    def __call__(
        self, model: Model, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """Yield one record an example, in order; that of an unreadable image holds its error."""
        run = _ReconstructionRun(self, model, inverter, settings)
        stages = each(run.load), alike(_size, run.reconstruct)
        return run_stages(examples, settings.batch_size, *stages)


@dataclass(frozen=True)
class _ReconstructionRun:
    """The stages of one run of the task.

    Arguments:
        task: The task.
        model: The model.
        inverter: The inverter.
        settings: The run's numbers.
    """

    task: Reconstruction
    model: Model
    inverter: Inverter
    settings: Settings

    @property
    def frame(self) -> Frame:
        """The part of a picture that the model sees."""
        return Frame(self.model.image_size, self.settings.crop)

    def load(self, example: Example) -> tuple[Example, Tensor | None]:
        """Return the example with its pixels, None for an image yet to be generated.

        Raises:
            UserError: the image cannot be read, or there is neither an image nor a seed.
        """
        if example.image is not None:
            return example, open_pixels(example, self.frame)
        if example.seed is None:
            raise UserError(f"{example.id}: has neither an image nor a seed")
        return example, None

    def reconstruct(
        self, loaded: Sequence[tuple[Example, Tensor | None]]
    ) -> Iterator[Record | UserError]:
        """Yield the records of a batch."""
        batch = self._batch(loaded)
        trip = self._round_trip(batch)
        ceiling = decode_like(batch.images, self.model, batch.encoded)
        metrics = by_example(self._columns(batch, trip, ceiling), len(batch.examples))
        sound = are_finite(trip.inversion.noise, trip.latents)
        for k, example in enumerate(batch.examples):
            yield (
                diverged(self.model)
                if not sound[k]
                else Record(
                    example.id,
                    example.prompt,
                    metrics[k],
                    _series(trip.inversion, k),
                    _pictures(batch.images[k], ceiling[k], trip.images[k]),
                    inversion=trip.inversion[slice(k, k + 1)],
                    image=None if example.case is None else example.case.image,
                    sources=[example],
                )
            )

    def _batch(self, loaded: Sequence[tuple[Example, Tensor | None]]) -> Batch:
        """Return pixels and encodings; images that the model makes itself are sampled here."""
        model, examples = self.model, [example for example, _ in loaded]
        prompts = [example.prompt for example in examples]
        condition = model.condition(prompts, self.settings.guidance)
        if opened := [image for _, image in loaded if image is not None]:
            images = torch.stack(opened).to(model.device)
            return Batch(examples, condition, images, model.encode(images))
        noise = torch.stack([_draw(model, example) for example in examples]).to(model.device)
        with torch.no_grad():
            latents = sample(model.denoiser(self.settings.steps), noise, condition)
        images = model.decode(latents)
        return Batch(examples, condition, images, model.encode(images), latents, noise)

    def _round_trip(self, batch: Batch) -> RoundTrip:
        """Return the batch inverted and sampled back, with a denoiser for each of the stages."""
        model, condition, steps = self.model, batch.condition, self.settings.steps
        truth = batch.true_latents if self.task.invert_known else None
        encoded, ids = batch.encoded if truth is None else truth, [e.id for e in batch.examples]
        settings = self.settings
        warm_up(model, encoded, condition, steps)
        adjusting, inverting, sampling = (model.denoiser(steps) for _ in range(3))
        watch = Stopwatch(model)
        with watch.running():
            inverted = adjust(self.task.adjustment, adjusting, encoded, condition, ids, settings)
            inversion = invert(self.inverter, inverting, inverted, condition, ids, settings)
            latents = self.inverter.sample(sampling, inversion, condition)
        images = decode_like(batch.images, model, latents)
        return RoundTrip(inverted, inversion, latents, images, watch.seconds, adjusting, sampling)

    def _columns(self, batch: Batch, trip: RoundTrip, ceiling: Tensor) -> dict[str, Column]:
        """Return the values of each metric."""
        images, original, noise = trip.images, batch.images, self._noise(trip.inversion)
        psnr, ceiling_psnr = pixels.psnr(images, original), pixels.psnr(ceiling, original)
        latent_psnr = pixels.latent_psnr(trip.latents, trip.inverted)
        columns: dict[str, Column] = {
            "psnr": psnr,
            "ceiling_psnr": ceiling_psnr,
            "gap": ceiling_psnr - psnr,
            "ssim": pixels.ssim(images, original),
            "mse": pixels.mse(images, original),
            "latent_mse": pixels.latent_mse(trip.latents, trip.inverted),
            "latent_psnr": latent_psnr,
            **self._expectations(trip, latent_psnr),
            **trip.costs,
            **self._noise_columns(batch, noise),
            "adjustment_distance": _distance(trip.inverted, batch.encoded),
        }
        if (perceptual := self.task.perceptual) is not None:
            columns[perceptual.name] = perceptual(images, original)
        return columns | _seed_columns(batch, trip, noise)

    def _expectations(self, trip: RoundTrip, latent_psnr: Tensor) -> dict[str, Column]:
        """Return what the inversion expects of the sampling, if that is at its guidance.

        Whether it was right is said without guidance alone: auto measures it with guidance.
        """
        error, guidance = trip.inversion.expected_error, self.settings.guidance
        inversion_guidance = getattr(self.inverter, "inversion_guidance", None)
        if error is None or inversion_guidance not in (None, guidance):
            return {}
        expected = pixels.decibels(error, trip.inverted)
        columns: dict[str, Column] = {"latent_psnr_expected": expected}
        if guidance in (0, 1):
            foretold = 1.0 * (latent_psnr >= expected - MARGIN)
            columns["foretold"] = torch.where(error.isfinite(), foretold, math.nan)
        return columns

    def _noise(self, inversion: Inversion) -> Tensor | None:
        """Return z_N; None after an inverter that stops below the noise end of the grid."""
        steps = self.settings.steps
        top = getattr(self.inverter, "top", lambda steps: steps)(steps)
        return inversion.noise if top == steps else None

    def _noise_columns(self, batch: Batch, noise: Tensor | None) -> dict[str, Column]:
        """Return how much z_N is like noise; None where a region is too small to tell."""
        if noise is None:
            return {}
        factor = vae_factor(self.model)
        objects = [example.open_objects() for example in batch.examples]
        masks = [None if mask is None else self.frame.mask(mask) for mask in objects]
        quality = noise_quality(noise, regions(batch.images, masks, factor, noise.shape[-2:]))
        columns = {name: finite(values.tolist()) for name, values in quality.items()}
        return {"noise_norm": pixels.norm_ratio(noise)} | columns


def _size(loaded: tuple[Example, Tensor | None]) -> tuple[int, ...] | None:
    """Return the shape of the pixels of an example, None for an image yet to be generated."""
    pixels = loaded[1]
    return None if pixels is None else tuple(pixels.shape)


def _seed_columns(batch: Batch, trip: RoundTrip, noise: Tensor | None) -> dict[str, Column]:
    """Return the distances to the latents of generated images; none for images of another kind."""
    if batch.true_latents is None or batch.true_noise is None:
        return {}
    return {
        "seed_error": None if noise is None else pixels.seed_error(noise, batch.true_noise),
        "encoding_distance": _distance(batch.encoded, batch.true_latents),
        "adjusted_distance": _distance(trip.inverted, batch.true_latents),
        "reconstruction_distance": _distance(trip.latents, batch.true_latents),
    }


def _draw(model: Model, example: Example) -> Tensor:
    """Return the noise that a stock pipeline draws with a CPU generator of the example's seed."""
    assert example.seed is not None
    generator = torch.Generator().manual_seed(example.seed)
    return torch.randn(model.latent_shape, generator=generator)


def _distance(z: Tensor, reference: Tensor) -> Tensor:
    """Return the Euclidean distances (B,) of latents, which the paper's Fig. 4 quotes."""
    return (z.double() - reference.double()).flatten(1).norm(dim=1)


def _series(inversion: Inversion, k: int) -> dict[str, list[float]]:
    """Return image k's numbers by step; ``residual_n`` is that of the n-th point of each step."""
    per_step = {"residual": inversion.residual, "iterations": inversion.iterations}
    trace = () if inversion.trace is None else inversion.trace
    per_step |= {f"residual_{n}": residual for n, residual in enumerate(trace, 1)}
    return {name: finite(v[:, k].tolist()) for name, v in per_step.items() if v is not None}


def _pictures(original: Tensor, ceiling: Tensor, image: Tensor) -> dict[str, Image.Image]:
    """Return the pictures of a record by name.

    The difference |original - reconstruction| is brightened so that an eye can see it.
    """
    difference = (original - image).abs() * DIFFERENCE_GAIN - 1
    named = {"original": original, "ceiling": ceiling, "reconstruction": image}
    return {name: to_pil(image) for name, image in (named | {"difference": difference}).items()}
