"""The watermark task: a mark in the noise of a generated image, found again by inversion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.images import to_pil
from fpinv.inversion import Inversion, Inverter
from fpinv.metrics import pixels
from fpinv.models.model import Model
from fpinv.sampling import sample
from fpinv.seeding import generator, normal
from fpinv.tasks.inverting import invert
from fpinv.tasks.loading import by_example
from fpinv.tasks.record import Record
from fpinv.tasks.stages import run_stages
from fpinv.tasks.task import Settings, option
from fpinv.tasks.timing import Stopwatch
from fpinv.watermarks.attacks import ATTACKS, attacked
from fpinv.watermarks.marks import Mark, TreeRing

DETECTED = 0.01
"""P-value below which a mark counts as found: in at most one of a hundred draws of noise that
have none."""

Known = Literal["known", "lost"]
Seen = Literal["image", "latents"]


@dataclass(frozen=True)
class Watermark:
    """The watermark task: caption -> marked noise -> image -> attack -> invert -> read the mark.

    Images are generated from the captions of the examples; pictures that these may have are not
    used. The better an inversion recovers z_N, the surer the mark is read.

    Arguments:
        mark: The mark.
        marked: False leaves the mark out and reads all the same, to see what is read by chance.
        attack: The change of the image before it is read, one of
            :data:`~fpinv.watermarks.attacks.ATTACKS`.
        prompt: ``known`` inverts with the prompt at the guidance of the inverter; ``lost`` with
            the null prompt, without guidance, as who does not know them has to.
        seen: ``image`` or, for a reader whose autoencoder loses nothing, the ``latents`` z_0.

    Raises:
        UserError: a word is unknown, or latents are to be attacked.
    """

    metrics: ClassVar[tuple[str, ...]] = (
        *("detected", "mark_p", "sign_accuracy", "seed_error"),
        *("nfe_calls", "nfe_rows", "nfe_equivalents", "seconds_per_image"),
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

    def __call__(
        self, model: Model, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """Yield one record an example, in order."""

        def stage(batch: list[Example]) -> list[Record]:
            return self._records(model, inverter, batch, settings)

        return run_stages(examples, settings.batch_size, stage)

    def _records(
        self, model: Model, inverter: Inverter, batch: Sequence[Example], settings: Settings
    ) -> list[Record]:
        """Return the records of a batch."""
        ids, steps = [example.id for example in batch], settings.steps
        condition = model.condition([example.prompt for example in batch], settings.guidance)
        noise = self._noise(model, ids, settings.seed)
        with torch.no_grad():
            latents = sample(model.denoiser(steps), noise, condition)
        images = model.decode(latents)
        attacked_images = self._attacked(images, ids, settings.seed)
        encoded = latents if self.seen == "latents" else model.encode(attacked_images)
        if self.prompt == "lost":
            condition = model.condition([""] * len(batch), 1.0)
        watch = Stopwatch(model)
        with watch.running():
            inversion = invert(inverter, model.denoiser(steps), encoded, condition, ids, settings)
        columns = self._columns(inversion, noise, ids)
        columns["seconds_per_image"] = torch.full((len(batch),), watch.seconds / len(batch))
        metrics = by_example(columns, len(batch))
        return [
            Record(
                example.id,
                example.prompt,
                metrics[k],
                images={"marked": to_pil(images[k]), "attacked": to_pil(attacked_images[k])},
                inversion=inversion[slice(k, k + 1)],
            )
            for k, example in enumerate(batch)
        ]

    def _noise(self, model: Model, ids: Sequence[str], seed: int) -> Tensor:
        """Return the noise (B, C, h, w) that the images are sampled from."""
        noise = normal(model.latent_shape, seed, ids, "watermark", model.device)
        return self.mark.embed(noise, ids) if self.marked else noise

    def _attacked(self, images: Tensor, ids: Sequence[str], seed: int) -> Tensor:
        """Return the images (B, 3, H, W) as the reader gets them."""
        draws = (generator(seed, id, f"attack {self.attack}") for id in ids)
        pairs = zip(images.cpu(), draws, strict=True)
        return torch.stack([attacked(self.attack, x, draw) for x, draw in pairs]).to(images)

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
