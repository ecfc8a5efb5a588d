"""One image: inverted, brought back, edited, saved and loaded, in a line each."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from fpinv.editing.request import Edit
from fpinv.editing.sampling import Editable
from fpinv.editing.sampling import edit as edit_inversion
from fpinv.errors import UserError
from fpinv.images import Frame, to_pil
from fpinv.images.viewing import Crop, open_picture
from fpinv.inversion import Inversion, Inverter
from fpinv.models.hub import find_weights, read_index
from fpinv.models.latent_model import OPTIONS, LatentModel
from fpinv.models.weights import local_folder
from fpinv.run.build import build, described, is_own, targets
from fpinv.run.options import names, option
from fpinv.tasks.finite import diverged, solved
from fpinv.tasks.loading import decoding, vae_factor
from fpinv.tasks.saved_inversions import require_same_entries
from fpinv.tasks.task import Settings, weakness

log = logging.getLogger(__name__)

Picture = str | Path | Image.Image | NDArray[np.uint8] | Tensor
"""A file, a picture, an array (H, W, 3) of bytes, or a tensor (3, H, W) in [-1, 1]."""


@dataclass(frozen=True, repr=False)
class InvertedImage:
    """An image with its inversion and all that it was made with.

    Arguments:
        model: The model.
        inverter: The inverter.
        inversion: The inversion of the one image.
        prompt: The prompt of the inversion.
        steps: Number N of steps of the grid.
        guidance: Guidance scale w of the inversion and of the way back.
        size: Height and width of the image in pixels, without padding.
    """

    model: Editable
    inverter: Inverter
    inversion: Inversion
    prompt: str
    steps: int
    guidance: float
    size: tuple[int, int]

    def __repr__(self) -> str:
        """Return what the image was inverted with, without the numbers of its tensors."""
        return (
            f"InvertedImage({self.prompt!r}, model={self.model.name}, inverter={self.inverter}, "
            f"steps={self.steps}, guidance={self.guidance}, size={self.size})"
        )

    @property
    def noise(self) -> Tensor:
        """The latents z_N, (1, C, h, w).

        A stock pipeline takes them as its ``latents`` where the inverter's way back needs nothing
        else; :meth:`fpinv.InversionPipeline.invert` refuses the others.
        """
        return self.inversion.noise

    @torch.no_grad()
    def reconstruct(self) -> Image.Image:
        """Return the picture that the model makes of the noise again.

        Raises:
            UserError: it is not finite.
        """
        condition = self.model.condition([self.prompt], self.guidance)
        denoiser = self.model.denoiser(self.steps)
        latents = self.inverter.sample(denoiser, self.inversion, condition)
        return self._picture(self.model.decode(latents)[0])

    def edit(
        self,
        prompt: str | Edit,
        *,
        blend: str | Sequence[str] = (),
        reweight: Mapping[str, float] | None = None,
        guidance: float | None = None,
    ) -> Image.Image:
        """Return the picture edited by prompt-to-prompt.

        Arguments:
            prompt: Description of the edited picture, or a whole request.
            blend: A word, or several, outside which the picture should stay.
            reweight: Factors by word of the prompt.
            guidance: Guidance scale of the edit; None for that of the inversion.

        Raises:
            UserError: the prompt or a word does not fit, or the model cannot be edited so.
        """
        request = prompt
        if isinstance(prompt, str):
            words = (blend,) if isinstance(blend, str) else tuple(blend)
            request = Edit(prompt, blend=words, reweight=dict(reweight or {}))
        elif blend or reweight:
            raise UserError("an Edit has its own blend and reweight: give them there")
        edited = edit_inversion(
            self.model,
            self.inverter,
            self.inversion,
            self.prompt,
            [request],
            steps=self.steps,
            guidance=self.guidance,
            target_guidance=guidance,
        )
        return self._picture(edited.images[0])

    def save(self, path: str | Path) -> None:
        """Write one .safetensors file, which :func:`load` reads."""
        origin = self.model.origin
        configuration = {
            "prompt": self.prompt,
            "model": self.model.name,
            "model_digest": origin.digest,
            "spacing": origin.spacing,
            "sampler": origin.sampler,
            "steps": self.steps,
            "guidance": self.guidance,
            "size": list(self.size),
            "image_size": list(self.model.image_size),
            "config": {"inverter": described(self.inverter)},
        }
        self.inversion.save(Path(path), configuration)

    def _picture(self, image: Tensor) -> Image.Image:
        """Return the picture of an image (3, H, W) without its padding.

        Raises:
            UserError: it is not finite.
        """
        if not image.isfinite().all():
            raise diverged(self.model)
        height, width = self.size
        return to_pil(image[:, :height, :width])


@torch.no_grad()
def invert(
    model: Editable,
    image: Picture,
    prompt: str,
    inverter: str | Inverter = "fpi",
    *,
    steps: int = 50,
    guidance: float = 1.0,
    crop: Crop = "center",
) -> InvertedImage:
    """Invert one image.

    Arguments:
        model: The model, such as ``load_model("sd15")``.
        image: A file, a picture, an array (H, W, 3) of bytes, or a tensor (3, H, W) in [-1, 1],
            which alone is taken at its own size.
        prompt: Description of the image.
        inverter: The name of an option of ``inverter``, or an inverter.
        steps: Number N of steps of the grid.
        guidance: Guidance scale w of the inversion and of the way back.
        crop: The part of a picture that the model sees; see :class:`~fpinv.images.Frame`.

    Raises:
        UserError: the image cannot be read, there is no such inverter, a number does not fit, or
            the inversion is not finite.
    """
    steps, guidance = _plain(steps), _plain(guidance)
    Settings(steps, guidance, seed=0, batch_size=1, crop=crop)  # refuses what is not possible
    method = as_inverter(inverter)
    prompt = _one_text(prompt)
    if line := weakness(guidance):
        log.warning("%s", line)
    pixels = _pixels(image, Frame(model.image_size, crop))
    condition = model.condition([prompt], guidance)
    inversion = method.invert(model.denoiser(steps), model.encode(pixels[None]), condition)
    if not all(solved(inversion)):
        raise diverged(model)
    height, width = pixels.shape[-2:]
    return InvertedImage(model, method, inversion, prompt, steps, guidance, (height, width))


def as_inverter(inverter: str | Inverter) -> Inverter:
    """Return the inverter of a name, or an inverter as it is.

    Raises:
        UserError: there is none of that name, or it is a class in place of an object.
    """
    if isinstance(inverter, str):
        method: Inverter = option("inverter", inverter)
        return method
    if isinstance(inverter, type):
        raise UserError(f"the inverter is a class: give an object, {inverter.__name__}()")
    return inverter


def load(path: str | Path, model: Editable, inverter: Inverter | None = None) -> InvertedImage:
    """Return the inversion in a file that :meth:`InvertedImage.save` or a run wrote.

    Arguments:
        path: The file; a run with ``inversions=true`` writes ``inversions/<id>.safetensors``.
        model: The model that it was made with.
        inverter: The inverter that it was made with, where that is none of fpinv's own.

    Raises:
        UserError: the file is none, was altered, or was made with another model.
    """
    path = Path(path)
    inversion, stored = Inversion.load(path, model.device)
    require_same_entries(path, stored, model, {})
    if (count := len(inversion.noise)) != 1:
        raise UserError(f"{path} is of {count} images: read it with Inversion.load")
    try:
        prompt, steps, guidance = (stored[key] for key in ("prompt", "steps", "guidance"))
    except KeyError as error:
        raise UserError(
            f"{path} does not say its {error.args[0]}: read it with Inversion.load"
        ) from None
    _require_same_grid(path, stored, model)
    size = stored.get("size") or _size(model, inversion)
    if inverter is None:
        inverter = _stored_inverter(path, stored)
    return InvertedImage(model, inverter, inversion, prompt, steps, guidance, tuple(size))


def _require_same_grid(path: Path, stored: Mapping[str, Any], model: Editable) -> None:
    """Refuse an inversion on a grid that depends on a size which the model has not."""
    size = stored.get("image_size")
    if model.origin.spacing.endswith("by size") and size not in (None, list(model.image_size)):
        raise UserError(
            f"{path} was made on the grid of {size} pixels: load the model with image_size={size}"
        )


def load_model(name: str | os.PathLike[str], **settings: Any) -> LatentModel:  # noqa: ANN401
    """Return a model by its short name, its folder or its name on the hub.

    Arguments:
        name: An option of ``model`` such as ``sd15`` or ``scenes``; a folder in diffusers' format
            or one .safetensors file; or a name on the hub.
        settings: Keys of ``conf/model``, such as ``device="cuda"``, ``precision="fp16"``.

    Raises:
        UserError: there is no such model, or a setting does not fit.
    """
    name = os.fspath(name)
    if name in names("model") or not ("/" in name or local_folder(name).exists()):
        return option("model", name, **settings)
    index = read_index(find_weights(name, settings.get("revision"), settings.get("variant")))
    if (kind := index.get("_class_name")) not in OPTIONS:
        raise UserError(f"{name} holds a {kind}, which is none of {', '.join(map(str, OPTIONS))}")
    return option("model", OPTIONS[kind], path=name, **settings)


def _plain(number: Any) -> Any:  # noqa: ANN401
    """Return a number of NumPy or torch as one of Python."""
    return number.item() if hasattr(number, "item") else number


def _one_text(prompt: object) -> str:
    """Return a prompt, or that of a list of one, as the calls of diffusers take it."""
    if isinstance(prompt, (list, tuple)) and len(prompt) == 1:
        (prompt,) = prompt
    if not isinstance(prompt, str):
        raise UserError(f"the prompt of an image is one text, and not {prompt!r}")
    return prompt


def _pixels(image: Picture, frame: Frame) -> Tensor:
    """Return the pixels (3, H, W) in [-1, 1] of an image.

    Raises:
        UserError: it cannot be read, or has another form.
    """
    if isinstance(image, Tensor):
        return _checked(image)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8:
            raise UserError(f"the image is an array of {image.dtype}: give bytes (uint8)")
        if image.ndim != 2 and (image.ndim != 3 or image.shape[2] not in (3, 4)):
            raise UserError(f"the image has shape {image.shape}: give (H, W, 3)")
        image = Image.fromarray(image)
    if not isinstance(image, (Image.Image, str, os.PathLike)):
        raise UserError(f"the image is {image!r}: give a file, a picture, an array or a tensor")
    with decoding("the image"):
        return frame.pixels(image if isinstance(image, Image.Image) else open_picture(Path(image)))


def _checked(image: Tensor) -> Tensor:
    if image.ndim != 3 or len(image) != 3 or not image.numel():
        raise UserError(f"the image has shape {tuple(image.shape)}: give (3, H, W)")
    if not (image.isfinite().all() and image.abs().max() <= 1):
        raise UserError("the image has numbers outside [-1, 1]: scale them as 2 x - 1")
    if image.min() >= 0:
        log.warning("the image has no number below 0: is it in [0, 1]? Then scale it as 2 x - 1")
    return image.float()


def _size(model: Editable, inversion: Inversion) -> list[int]:
    """Return height and width in pixels of the image of a latent."""
    return [side * vae_factor(model) for side in inversion.noise.shape[-2:]]


def _stored_inverter(path: Path, stored: Mapping[str, Any]) -> Inverter:
    """Return the inverter that a file was made with.

    Only classes of fpinv are made, because a file may come from anywhere.
    """
    node = stored.get("config", {}).get("inverter", {})
    classes = [inner["_target_"] for _, inner in targets(node, "inverter")]
    if foreign := [name for name in classes if not is_own(name)]:
        raise UserError(f"{path} was made with {foreign[0]}: give load(..., inverter=...)")
    if not classes:
        raise UserError(f"{path} does not say its inverter: give load(..., inverter=...)")
    return build(OmegaConf.create({"inverter": node}), "inverter")
