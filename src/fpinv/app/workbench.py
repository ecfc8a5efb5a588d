"""The work behind the page: a picture there and back, and its edits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fpinv.datasets.example import Example
from fpinv.datasets.scenes.edit_cases import CHANGES, SceneEdits
from fpinv.datasets.tables.edit_table import words
from fpinv.denoiser import Denoiser
from fpinv.editing.attention import has_cross_attention
from fpinv.editing.controllers import Interval
from fpinv.editing.recipe import AttentionSharing, PromptToPrompt, Recipe
from fpinv.editing.request import Edit
from fpinv.editing.sampling import Editable, edit
from fpinv.errors import UserError
from fpinv.images import to_pil
from fpinv.inversion import Inversion, Inverter
from fpinv.metrics.glossary import describe
from fpinv.metrics.pixels import latent_psnr
from fpinv.reporting.grid import enlarged
from fpinv.reporting.tables import markdown
from fpinv.run.options import names, option
from fpinv.tasks.reconstruction import Reconstruction
from fpinv.tasks.record import Record
from fpinv.tasks.task import Settings

SIDE = 256
"""Pixels that the shorter side of a picture on the page has at least."""

COLUMNS = {
    "gap": "gap, dB",
    "psnr": "PSNR, dB",
    "ceiling_psnr": "ceiling, dB",
    "nfe_calls": "evaluations",
    "seconds_per_image": "seconds",
}
"""Heads of the table of numbers, by metric."""

DARKER = 0.25
"""Brightness of what lies outside the mask of an edit."""


@dataclass(frozen=True)
class Request:
    """All that an inversion depends on.

    Arguments:
        photo: The file of the picture; None for none.
        caption: Description of the picture.
        inverter: The name of an option of ``inverter``.
        steps: Number N of steps of the grid.
        guidance: Guidance scale w of the inversion and of the way back.
    """

    photo: str | None
    caption: str
    inverter: str
    steps: int
    guidance: float


@dataclass(frozen=True)
class InvertedPhoto:
    """A picture that was inverted and brought back.

    Arguments:
        request: The request.
        record: Its record, with the pictures, the numbers and the inversion.
    """

    request: Request
    record: Record

    @property
    def pictures(self) -> dict[str, Image.Image]:
        """Original, ceiling, reconstruction and difference, at a size that can be seen."""
        return {name: enlarged(image, SIDE) for name, image in self.record.images.items()}

    @property
    def table(self) -> str:
        """The numbers as a table in Markdown."""
        numbers = {name: self.record.metrics[name] for name in COLUMNS}
        cells = {n: "–" if x is None else describe(n).number(x) for n, x in numbers.items()}
        cells["nfe_calls"] = f"{numbers['nfe_calls']:.0f}"
        return markdown(list(COLUMNS.values()), [list(cells.values())], words=0)


@dataclass(frozen=True)
class EditedPhoto:
    """An edit of a picture.

    Arguments:
        picture: The edited picture.
        mask: The reconstruction, dark outside the blended words; None without such words.
    """

    picture: Image.Image
    mask: Image.Image | None


@dataclass(frozen=True)
class Workbench:
    """A model with all that the page does.

    Arguments:
        model: The model.
    """

    model: Editable

    @cached_property
    def inverters(self) -> Mapping[str, Inverter]:
        """The inverters that lead back on the model's grid, by name."""
        methods = {name: option("inverter", name) for name in names("inverter")}
        return {name: method for name, method in methods.items() if leads_back(self.model, method)}

    @property
    def has_words(self) -> bool:
        """True where edits can single out words, which takes cross-attention."""
        return has_cross_attention(self.model.network)

    @cached_property
    def examples(self) -> list[Example]:
        """Scenes with an edit each, one of every kind; none for a model of other pictures."""
        scenes = SceneEdits() if self.model.domain == SceneEdits.domain else ()
        return [example for example, _ in zip(scenes, CHANGES, strict=False)]

    def invert(self, request: Request) -> InvertedPhoto:
        """Return the round trip of a picture.

        Raises:
            UserError: there is no picture, or it or a setting does not fit.
        """
        if request.photo is None:
            raise UserError("there is no picture: drop one into the first field")
        example = Example("picture", request.caption, Path(request.photo))
        settings = Settings(request.steps, request.guidance, seed=0, batch_size=1)
        inverter = self.inverters[request.inverter]
        (record,) = Reconstruction()(self.model, inverter, [example], settings)
        if record.error is not None:
            raise UserError(record.error)
        return InvertedPhoto(request, record)

    def edit(
        self,
        trip: InvertedPhoto,
        target: str,
        blend: str = "",
        cross_steps: Interval = PromptToPrompt.cross_steps,
        self_steps: Interval = PromptToPrompt.self_steps,
        guidance: float | None = None,
    ) -> EditedPhoto:
        """Return an edit of the picture of a round trip.

        Arguments:
            trip: The round trip.
            target: Description of the edited picture.
            blend: Words outside which the picture should stay, with semicolons between.
            cross_steps: Part of the sampling in which common words take the source's attention.
            self_steps: Part in which attention to the picture is the source's.
            guidance: Guidance scale of the edit; None for that of the inversion.

        Raises:
            UserError: the prompt or a word does not fit.
        """
        request, inversion, blended = trip.request, trip.record.inversion, words(blend)
        assert inversion is not None
        edited = edit(
            self.model,
            self.inverters[request.inverter],
            inversion,
            request.caption,
            [Edit(target, blend=blended)],
            steps=request.steps,
            guidance=request.guidance,
            target_guidance=guidance,
            recipe=self._recipe(cross_steps, self_steps),
        )
        reconstruction = trip.record.images["reconstruction"]
        mask = masked(reconstruction, edited.masks[0]) if blended else None
        return EditedPhoto(enlarged(to_pil(edited.images[0]), SIDE), mask)

    def _recipe(self, cross_steps: Interval, self_steps: Interval) -> Recipe:
        if not self.has_words:
            return AttentionSharing(self_steps)
        steps = {"cross_steps": cross_steps, "self_steps": self_steps}
        recipe: Recipe = option("task/recipe", "default", **steps)
        return recipe


def masked(picture: Image.Image, mask: torch.Tensor) -> Image.Image:
    """Return a picture that is darker outside a mask (h, w) of its latent, at a size for the page.

    Arguments:
        picture: The picture.
        mask: True where the edit may change it.
    """
    inside = Image.fromarray(mask.cpu().numpy().astype(np.uint8) * 255).resize(
        picture.size, Image.Resampling.NEAREST
    )
    dark = picture.point(lambda level: DARKER * level)
    return enlarged(Image.composite(picture, dark, inside), SIDE)


STEPS = 4
LEAST = 10.0  # dB; ddim has 20 there


def leads_back(model: Editable, inverter: Inverter) -> bool:
    """Return whether an inverter brings latents back on a model's grid.

    It is tried with a network whose output hardly changes, at no cost.
    """
    plain, condition = model.denoiser(STEPS), model.condition([""], 1.0)

    def network(z: torch.Tensor, *_: object) -> torch.Tensor:
        return 0.01 * z

    denoiser = Denoiser(network, plain.schedule, torch.float32, plain.device)
    generator = torch.Generator().manual_seed(0)
    z0 = torch.randn(1, *model.latent_shape, generator=generator).to(plain.device)
    try:
        inversion: Inversion = inverter.invert(denoiser, z0, condition)
        back = inverter.sample(denoiser, inversion, condition)
    except UserError:
        return False
    return bool(latent_psnr(back, z0) > LEAST)
