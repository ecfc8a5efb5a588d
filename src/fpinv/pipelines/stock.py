"""Inversion for a pipeline of diffusers that is loaded already."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from torch import Tensor

from fpinv.errors import UserError
from fpinv.images.viewing import Crop
from fpinv.inversion import Inverter
from fpinv.models.latent_model import LatentModel
from fpinv.models.machine import DTYPES
from fpinv.models.pipeline import Pipeline, denoising_network, with_components
from fpinv.models.rectified_flow import Flux, RectifiedFlow, StableDiffusion3
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.pipelines.image import InvertedImage, Picture, as_inverter, invert
from fpinv.sampling import DDIMSampling
from fpinv.tasks.loading import vae_factor

LCM = "LatentConsistencyModelPipeline"
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

        In float32 it forbids the rounding of products to TF32 in the whole process, as every model
        of fpinv does; ``precision="tf32"`` allows it.

        Arguments:
            pipe: A Stable Diffusion (1.x, 2.x, XL, 3.x) or FLUX.1 pipeline.
            settings: Settings of the model's class, such as ``image_size`` or ``spacing``.

        Raises:
            UserError: the pipeline is of another family, or a part of it cannot be inverted.
        """
        if any(hasattr(part, "_hf_hook") for part in pipe.components.values()):
            raise UserError(
                "the pipeline offloads its parts: load it without, and give offload='model' here"
            )
        if "device" in settings:
            raise UserError("the networks stay where the pipeline has them: use pipe.to(device)")
        kind = type(pipe).__name__
        family = next((family for family in FAMILIES if kind in family.pipelines), None)
        if family is None:
            kinds = ", ".join(name for family in FAMILIES for name in family.pipelines)
            raise UserError(f"a {kind} cannot be inverted: use one of {kinds}")
        settings.setdefault("precision", _precision(pipe))
        if family is Flux and not pipe.transformer.config.guidance_embeds:
            settings.setdefault("embedded_guidance", None)
        model = family(pipe, device=str(pipe.device), **settings)
        # The class of latent consistency models calls the network by no scheduler but its own.
        called = StableDiffusionPipeline if kind == LCM else type(pipe)
        return cls(with_components(pipe, called, scheduler=model.pipeline.scheduler), model)

    def __call__(self, *arguments: Any, **settings: Any) -> Any:  # noqa: ANN401
        """Call the stock pipeline, on the grid of the inversion, at the size of given latents.

        FLUX's pipeline takes no notice of ``true_cfg_scale`` without a negative prompt; here that
        is the empty one, of which the inversion is. What :meth:`from_pipe` was told of the network
        (``embedded_guidance``, ``max_sequence_length``) is told to the call, too.

        Raises:
            UserError: the call is told another guidance than the network.
        """
        if isinstance(self.model, Flux) and settings.get("true_cfg_scale", 1.0) > 1:
            negative = settings.get("negative_prompt"), settings.get("negative_prompt_embeds")
            if negative == (None, None):
                settings["negative_prompt"] = ""
        embedded = self._embedded
        if embedded is not None:
            self._check_told(settings.setdefault("guidance_scale", embedded))
        if isinstance(self.model, RectifiedFlow):
            settings.setdefault("max_sequence_length", self.model.max_sequence_length)
        if (latents := settings.get("latents")) is not None:
            height, width = self.model.image_size  # packed latents do not show it
            if latents.ndim == 4:
                height, width = (side * vae_factor(self.model) for side in latents.shape[-2:])
            settings = {"height": height, "width": width, **settings}
        return self.pipe(*arguments, **settings)

    def invert(
        self,
        image: Picture,
        prompt: str,
        inverter: str | Inverter = "fpi",
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        true_cfg_scale: float = 1.0,
        crop: Crop = "center",
    ) -> Tensor:
        """Return the latents z_N that a call with the same prompt and numbers makes the image of.

        Arguments:
            image: A file, a picture, an array (H, W, 3) of bytes, or a tensor (3, H, W) in
                [-1, 1].
            prompt: Description of the image.
            inverter: The name of an inverter of fpinv, or an inverter.
            num_inference_steps: Number N of steps; None for what the call takes without it.
            guidance_scale: Guidance scale w of the call, which has to be given; as there, 1 or
                less is none. The networks of FLUX and LCM are told it: for them it is the setting
                ``embedded_guidance`` of :meth:`from_pipe`, and may be left out here.
            true_cfg_scale: Guidance scale w of FLUX's call.
            crop: The part of a picture that the model sees; see :class:`~fpinv.images.Frame`.

        Returns:
            The latents (1, C, h, w); of FLUX, whose pipeline packs them, (1, h w / 4, 4 C).

        Raises:
            UserError: an argument does not fit, or z_N is not all that the inverter's way back
                needs.
        """
        guidance = self._guidance(guidance_scale, true_cfg_scale)
        steps = num_inference_steps
        if steps is None:
            steps = signature(self.pipe.__call__).parameters["num_inference_steps"].default
        return self.latents(image, prompt, inverter, steps=steps, guidance=guidance, crop=crop)

    def latents(
        self,
        image: Picture,
        prompt: str,
        inverter: str | Inverter,
        *,
        steps: int,
        guidance: float,
        crop: Crop = "center",
    ) -> Tensor:
        """Return what :meth:`invert` does, at a guidance scale w of any size."""
        method = as_inverter(inverter)
        alone = isinstance(method, DDIMSampling) and method.inversion_guidance in (None, guidance)
        if not alone:
            raise UserError(
                f"the call makes an image of z_N alone, and {type(method).__name__} needs more "
                "or another guidance: use inverted(...).reconstruct(), or an inverter such as "
                "fpi, ife or auto"
            )
        inverted = self.inverted(image, prompt, method, steps=steps, guidance=guidance, crop=crop)
        flow = isinstance(self.model, (StableDiffusion3, Flux))
        if flow and inverted.size != self.model.image_size:
            raise UserError(
                f"the image has {inverted.size} pixels, and the grid is for "
                f"{self.model.image_size}: give from_pipe an image_size"
            )
        latents = self._unscaled(inverted.noise, steps).to(self.model.dtype)
        if isinstance(self.model, Flux):
            return self.pipe._pack_latents(latents, *latents.shape)
        return latents

    def _unscaled(self, noise: Tensor, steps: int) -> Tensor:
        """Return the latents that the call makes z_N of: Euler's scheduler may scale them."""
        scheduler = self.model.pipeline.scheduler
        scaled = isinstance(scheduler, EulerDiscreteScheduler)
        if not scaled or scheduler.config.timestep_spacing == "leading":
            return noise
        return noise / self.model.denoiser(steps).schedule.sigma[-1]

    @property
    def _embedded(self) -> float | None:
        """The guidance that the network is told; None where it takes none."""
        return getattr(self.model, "embedded_guidance", None)

    def _check_told(self, guidance_scale: float) -> None:
        """Refuse a guidance of the call that is not the one that the network is told."""
        if guidance_scale != self._embedded:
            raise UserError(
                f"guidance_scale={guidance_scale} is not what the network is told: "
                f"give from_pipe embedded_guidance={guidance_scale}"
            )

    def _guidance(self, guidance_scale: float | None, true_cfg_scale: float) -> float:
        """Return the guidance scale w of the inversion, for the numbers of the call."""
        embedded = self._embedded
        if isinstance(self.model, Flux):
            scale: float | None = true_cfg_scale
        elif true_cfg_scale != 1:
            raise UserError("true_cfg_scale is for FLUX alone: give guidance_scale")
        else:
            scale = guidance_scale if embedded is None else 1.0
        if scale is None:
            raise UserError("guidance_scale is missing: give it as to the call")
        if embedded is not None and guidance_scale is not None:
            self._check_told(guidance_scale)
        return max(1.0, scale)

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
    network = denoising_network(pipe)
    dtype: torch.dtype = network.dtype
    names = {value: name for name, value in reversed(DTYPES.items())}
    if dtype not in names:
        raise UserError(f"the pipeline has weights of {dtype}: use float32, float16 or bfloat16")
    return names[dtype]
