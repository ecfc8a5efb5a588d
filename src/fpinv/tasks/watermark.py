"""The watermark task: a mark in the noise of a generated image, found again by inversion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from fpinv.datasets.example import Example
from fpinv.denoiser import Condition
from fpinv.errors import UserError
from fpinv.images import to_pil
from fpinv.inversion import Inversion, Inverter
from fpinv.metrics import pixels
from fpinv.models.model import Model
from fpinv.sampling import sample
from fpinv.seeding import generator, normal
from fpinv.tasks.columns import by_example
from fpinv.tasks.finite import are_finite, diverged, solved
from fpinv.tasks.inverting import invert
from fpinv.tasks.record import Record
from fpinv.tasks.stages import run_stages
from fpinv.tasks.task import Settings, option
from fpinv.tasks.timing import Stopwatch, warm_up
from fpinv.watermarks.attacks import ATTACKS, attacked
from fpinv.watermarks.marks import Mark, TreeRing

DETECTED = 0.01
"""P-value below which a mark counts as found: in at most one of a hundred draws of noise that
have none."""

Known = Literal["known", "lost"]
Seen = Literal["image", "latents"]


@dataclass(frozen=True)
class MarkedImage:
    """An image with what it was generated from.

    Arguments:
        example: The example.
        condition: Its prompt at the run's guidance, one row.
        noise: The noise z_N (C, h, w).
        latents: The latents z_0 (C, h, w) sampled from it.
        image: The image (3, H, W) in [-1, 1].
    """

    example: Example
    condition: Condition
    noise: Tensor
    latents: Tensor
    image: Tensor


@dataclass(frozen=True)
class Watermark:
    """The watermark task: caption -> marked noise -> image -> attack -> invert -> read the mark.

    Images are generated from the captions of the examples; pictures that these may have are not
    used. The better an inversion recovers z_N, the surer the mark is read. Times are of the
    inversion alone, after a warm-up evaluation.

    Arguments:
        mark: The mark.
        marked: False leaves the mark out and reads all the same, to see what is read by chance.
        attack: The change of the image before it is read, one of
            :data:`~fpinv.watermarks.attacks.ATTACKS`.
        prompt: ``known`` inverts with the prompt at the guidance of the inverter; ``lost`` with
            the model's null prompt alone, as a reader who knows neither. The null prompt is that
            of the model's guidance: the encoded empty text, but zeros for SDXL.
        seen: ``image`` or, for a reader whose autoencoder loses nothing, the ``latents`` z_0.

    Raises:
        UserError: a word is unknown, or latents are to be attacked.
    """

    metrics: ClassVar[tuple[str, ...]] = (
        *("detected", "mark_p", "sign_accuracy", "seed_error"),
        *("nfe_calls", "nfe_rows", "nfe_equivalents", "seconds_invert"),
    )

    mark: Mark = field(default_factory=TreeRing)
    marked: bool = True
    attack: str = "none"
    prompt: Known = "known"
    seen: Seen = "image"

    def __post_init__(self) -> None:
        option("task.attack", self.attack, tuple(ATTACKS))
        option("task.prompt", self.prompt, get_args(Known))
        option("task.seen", self.seen, get_args(Seen))
        if self.seen == "latents" and self.attack != "none":
            raise UserError(
                f"task.attack={self.attack} changes an image, and task.seen=latents reads none: "
                "choose task.attack=none or task.seen=image"
            )

    def check_inverter(self, inverter: Inverter) -> None:
        """Raise UserError for an inverter whose noise is not the z_N of an image's own path."""
        if end := getattr(inverter, "other_end", ""):
            raise UserError(
                f"{type(inverter).__name__} ends at {end}, where no mark is: use an inverter that "
                "climbs to the z_N of the image, e.g. inverter=ddim, fpi or auto"
            )

    def __call__(
        self, model: Model, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """Yield one record an example, in order; that of a diverged one holds its error.

        Raises:
            UserError: the inverter's noise is not the z_N of an image's own path, or noise takes
                the place of steps.
        """
        self.check_inverter(inverter)
        if settings.noised_steps:
            raise UserError(
                f"noised_steps={settings.noised_steps} puts new noise into z_N, over the mark: "
                "use noised_steps=0"
            )
        generate = partial(self._generate, model, settings)
        read = partial(self._read, model, inverter, settings)
        return run_stages(examples, settings.batch_size, generate, read)

    @torch.no_grad()
    def _generate(
        self, model: Model, settings: Settings, batch: Sequence[Example]
    ) -> list[MarkedImage | UserError]:
        """Return the images of a batch of captions."""
        ids = [example.id for example in batch]
        condition = model.condition([example.prompt for example in batch], settings.guidance)
        noise = self._noise(model, ids, settings.seed)
        latents = sample(model.denoiser(settings.steps), noise, condition)
        images = model.decode(latents)
        sound = are_finite(latents, images)
        return [
            MarkedImage(example, condition[k : k + 1], noise[k], latents[k], images[k])
            if sound[k]
            else diverged(model, "the image to be marked")
            for k, example in enumerate(batch)
        ]

    def _noise(self, model: Model, ids: Sequence[str], seed: int) -> Tensor:
        """Return the noise (B, C, h, w) that the images are sampled from."""
        noise = normal(model.latent_shape, seed, ids, "watermark", model.device)
        # Unmarked noise, too, shows before anything is sampled whether it could hold the mark.
        marked = self.mark.embed(noise, ids)
        return marked if self.marked else noise

    def _read(
        self, model: Model, inverter: Inverter, settings: Settings, batch: Sequence[MarkedImage]
    ) -> list[Record | UserError]:
        """Return the records of a batch of images."""
        ids = [item.example.id for item in batch]
        images = self._attacked(batch, settings.seed)
        latents = torch.stack([item.latents for item in batch])
        encoded = latents if self.seen == "latents" else model.encode(images)
        condition = self._known_of(Condition.cat([item.condition for item in batch]))
        warm_up(model, encoded, condition, settings.steps)
        denoiser, watch = model.denoiser(settings.steps), Stopwatch(model)
        with watch.running():
            inversion = invert(inverter, denoiser, encoded, condition, ids, settings)
        columns = self._columns(inversion, torch.stack([item.noise for item in batch]), ids)
        columns["seconds_invert"] = torch.full((len(batch),), watch.seconds / len(batch))
        metrics, sound = by_example(columns, len(batch)), solved(inversion)
        return [
            Record(
                item.example.id,
                item.example.prompt,
                metrics[k],
                images={"marked": to_pil(item.image), "attacked": to_pil(images[k])},
                inversion=inversion[k : k + 1],
            )
            if sound[k]
            else diverged(model)
            for k, item in enumerate(batch)
        ]

    def _attacked(self, batch: Sequence[MarkedImage], seed: int) -> Tensor:
        """Return the images (B, 3, H, W) as the reader gets them."""
        images = []
        for item in batch:
            draw = generator(seed, item.example.id, f"attack {self.attack}")
            images.append(attacked(self.attack, item.image.cpu(), draw))
        return torch.stack(images).to(batch[0].image)

    def _known_of(self, condition: Condition) -> Condition:
        """Return what the reader knows of the condition that images were generated under."""
        if self.prompt == "known":
            return condition
        if condition.null is None:
            raise UserError(
                "task.prompt=lost needs the null prompt, and the model's condition has none: use "
                "task.prompt=known"
            )
        # In the prompt's place, since an inverter may have a guidance of its own.
        return replace(condition, prompt=condition.null, guidance=1.0)

    def _columns(
        self, inversion: Inversion, noise: Tensor, ids: Sequence[str]
    ) -> dict[str, Tensor]:
        """Return what the inversion's noise says of the mark, and how far it is from the true."""
        values = dict(self.mark.read(inversion.noise, ids))
        right = inversion.noise.sign() == noise.sign()
        return values | {
            "detected": (values["mark_p"] < DETECTED).double(),
            "sign_accuracy": right.double().flatten(1).mean(1),
            "seed_error": pixels.seed_error(inversion.noise, noise),
            "nfe_calls": inversion.calls,
            "nfe_rows": inversion.rows,
            "nfe_equivalents": inversion.equivalents,
        }
