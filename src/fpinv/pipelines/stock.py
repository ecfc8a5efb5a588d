"""Inversion for a pipeline of diffusers that is loaded already."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fpinv.errors import UserError
from fpinv.images.viewing import Crop
from fpinv.inversion import Inverter
from fpinv.models.latent_model import LatentModel
from fpinv.models.machine import DTYPES
from fpinv.models.pipeline import Pipeline, with_components
from fpinv.models.rectified_flow import Flux, StableDiffusion3
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.pipelines.image import InvertedImage, Picture, invert

FAMILIES: tuple[type[LatentModel], ...] = (StableDiffusion, StableDiffusion3, Flux)


class InversionPipeline:
    """A pipeline of diffusers that can also find the latents of an image.

    It shares the networks of the pipeline that it is made from, which are frozen. Its own calls
    take the grid that inversion needs, so that they bring an inverted image back:

    .. code-block:: python

        pipe = InversionPipeline.from_pipe(StableDiffusionPipeline.from_pretrained(...))
        latents = pipe.invert(image, "a cat on a sofa", num_inference_steps=50, guidance_scale=2)
        again = pipe("a cat on a sofa", latents=latents, num_inference_steps=50, guidance_scale=2)

    Arguments:
        pipe: The pipeline, with the scheduler of the inversion.
        model: The same networks as a model of fpinv, for all that a line does not do.
    """

    def __init__(self, pipe: Pipeline, model: LatentModel) -> None:
        self.pipe = pipe
        self.model = model

    @classmethod
    def from_pipe(cls, pipe: Pipeline, **settings: Any) -> InversionPipeline:  # noqa: ANN401
        """Return the inverting pipeline of a stock one.

        Arguments:
            pipe: A Stable Diffusion (1.x, 2.x, XL, 3.x) or FLUX.1 pipeline.
            settings: Settings of the model's class, such as ``image_size`` or ``spacing``.

        Raises:
            UserError: the pipeline is of another family, or a part of it cannot be inverted.
        """
        kind = type(pipe).__name__
        family = next((family for family in FAMILIES if kind in family.pipelines), None)
        if family is None:
            kinds = ", ".join(name for family in FAMILIES for name in family.pipelines)
            raise UserError(f"a {kind} cannot be inverted: use one of {kinds}")
        settings.setdefault("precision", _precision(pipe))
        if family is Flux and not pipe.transformer.config.guidance_embeds:
            settings.setdefault("embedded_guidance", None)
        model = family(pipe, device=str(pipe.device), **settings)
        return cls(with_components(pipe, scheduler=model.pipeline.scheduler), model)

    def __call__(self, *arguments: Any, **settings: Any) -> Any:  # noqa: ANN401
        """Call the stock pipeline, on the grid of the inversion."""
        return self.pipe(*arguments, **settings)

    def invert(
        self,
        image: Picture,
        prompt: str,
        inverter: str | Inverter = "fpi",
        *,
        num_inference_steps: int = 50,
        guidance_scale: float = 1.0,
        crop: Crop = "center",
    ) -> Tensor:
        """Return the latents z_N that a call with the same prompt and numbers makes the image of.

        Arguments:
            image: A file, a picture, an array (H, W, 3) of bytes, or a tensor (3, H, W) in
                [-1, 1].
            prompt: Description of the image.
            inverter: The name of an inverter of fpinv, or an inverter.
            num_inference_steps: Number N of steps.
            guidance_scale: Guidance scale w of the call, 1 for none. Of FLUX it is the true
                guidance, ``true_cfg_scale``; the embedded one is a setting of :meth:`from_pipe`.
            crop: The part of a picture that the model sees; see :class:`~fpinv.images.Frame`.

        Returns:
            The latents (1, C, h, w); of FLUX, whose pipeline packs them, (1, h w / 4, 4 C).

        Raises:
            UserError: an argument does not fit.
        """
        inverted = self.inverted(
            image,
            prompt,
            inverter,
            steps=num_inference_steps,
            guidance=guidance_scale,
            crop=crop,
        )
        latents = inverted.noise.to(self.model.dtype)
        if isinstance(self.model, Flux):
            return self.pipe._pack_latents(latents, *latents.shape)
        return latents

    def inverted(
        self,
        image: Picture,
        prompt: str,
        inverter: str | Inverter = "fpi",
        **settings: Any,  # noqa: ANN401
    ) -> InvertedImage:
        """Return all of the inversion, which can also be edited and saved.

        The arguments are those of :func:`fpinv.pipelines.image.invert`.
        """
        return invert(self.model, image, prompt, inverter, **settings)


def _precision(pipe: Pipeline) -> str:
    """Return the name of the precision of a pipeline's denoising network."""
    network = getattr(pipe, "unet", None) or pipe.transformer
    dtype: torch.dtype = network.dtype
    names = {value: name for name, value in reversed(DTYPES.items())}
    if dtype not in names:
        raise UserError(f"the pipeline has weights of {dtype}: use float32, float16 or bfloat16")
    return names[dtype]
