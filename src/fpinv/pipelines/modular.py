"""Inversion as a block of modular diffusers."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionXLPipeline
from diffusers.configuration_utils import FrozenDict
from diffusers.guiders.classifier_free_guidance import ClassifierFreeGuidance
from diffusers.modular_pipelines.modular_pipeline import ModularPipelineBlocks, PipelineState
from diffusers.modular_pipelines.modular_pipeline_utils import (
    ComponentSpec,
    InputParam,
    OutputParam,
)

from fpinv.errors import UserError
from fpinv.models.pipeline import Pipeline, settings_for
from fpinv.pipelines.stock import InversionPipeline

GUIDER = ComponentSpec(
    "guider",
    ClassifierFreeGuidance,
    config=FrozenDict({"guidance_scale": 7.5}),
    default_creation_method="from_config",
)


UNSHARED = {
    **dict.fromkeys(("prompt_2", "prompt_3", "original_size", "target_size", "clip_skip")),
    **dict.fromkeys(("timesteps", "sigmas", "mu")),
    "crops_coords_top_left": (0, 0),
    "max_sequence_length": 256,
}
"""Inputs of blocks that come later, which change the condition or the grid there alone, with the
values that they usually have."""


class InvertBlock(ModularPipelineBlocks):
    """The block that finds the latents z_N of a picture and hands them on as ``latents``.

    It goes before the blocks of text to image, which then bring the picture back, or what their
    prompt makes of its noise. The guidance is the guider's, and the size that of the blocks or,
    where none is given, of the network; a negative prompt takes part in the way back alone. The
    scheduler becomes the one that inversion needs:

    .. code-block:: python

        blocks = StableDiffusionXLAutoBlocks()
        blocks.sub_blocks.insert("invert", StableDiffusionXLInvertBlock(), 0)
        pipe = blocks.init_pipeline()
        pipe.update_components(**stock.components, guider=ClassifierFreeGuidance(2.0))
        again = pipe(picture="cat.jpg", prompt="a cat on a sofa", num_inference_steps=50)

    Attributes:
        stock: The stock pipeline of the same components.
        null: The negative prompt that the blocks behind it get where there is none.
    """

    stock: ClassVar[type[Pipeline]]
    null: ClassVar[str | None] = None

    @property
    def description(self) -> str:
        return "Invert a picture: find the latents that this prompt and grid turn back into it."

    @property
    def expected_components(self) -> list[ComponentSpec]:
        return [*(ComponentSpec(name) for name in self._parts()), GUIDER]

    @property
    def inputs(self) -> list[InputParam]:
        return [
            InputParam("picture", required=True, description="A file, or what `invert` takes."),
            InputParam("source_prompt", description="Of the picture; the prompt where left out."),
            InputParam("prompt", required=True),
            InputParam("negative_prompt"),
            InputParam("height"),
            InputParam("width"),
            InputParam("num_inference_steps", default=50),
            InputParam("inverter", default="fpi", description="An inverter, or its name."),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        return [OutputParam("latents", type_hint=torch.Tensor, description="z_N (1, C, h, w)")]

    @torch.no_grad()
    def __call__(
        self,
        components: Any,  # noqa: ANN401 - the modular pipeline, whose parts are set at run time
        state: PipelineState,
    ) -> tuple[Any, PipelineState]:
        """Invert the picture, and give the components the scheduler of its grid.

        Raises:
            UserError: an input that the inversion does not have would change the way back.
        """
        block: Any = self.get_block_state(state)
        for name, usual in UNSHARED.items():
            if (value := state.get(name)) is not None and value != usual:
                raise UserError(f"{name}={value} has no part in the inversion: leave it out")
        pipe = self._pipeline(components, block.height, block.width)
        block.latents = pipe.latents(
            block.picture,
            block.source_prompt or block.prompt,
            block.inverter,
            steps=block.num_inference_steps,
            guidance=_scale(components.guider),
        )
        block.height, block.width = pipe.model.image_size
        if block.negative_prompt is None:
            block.negative_prompt = self.null
        components.update_components(scheduler=pipe.pipe.scheduler)
        self.set_block_state(state, block)
        return components, state

    def _pipeline(
        self,
        components: Any,  # noqa: ANN401 - as above
        height: int | None,
        width: int | None,
    ) -> InversionPipeline:
        """Return the inverting pipeline of the components, for pictures of this size."""
        needed = {name: getattr(components, name) for name in self._parts()}
        settings = settings_for(self.stock, components.config)
        size = None if height is None and width is None else [height or width, width or height]
        return InversionPipeline.from_pipe(self.stock(**needed, **settings), image_size=size)

    def _parts(self) -> list[str]:
        """Return the names of the components that the stock pipeline needs."""
        needed, _ = self.stock._get_signature_keys(self.stock)
        return sorted(needed)


class StableDiffusionXLInvertBlock(InvertBlock):
    """The block for Stable Diffusion XL."""

    model_name = "stable-diffusion-xl"  # type: ignore[assignment]  # diffusers says None
    stock = StableDiffusionXLPipeline


class StableDiffusion3InvertBlock(InvertBlock):
    """The block for Stable Diffusion 3 and 3.5."""

    model_name = "stable-diffusion-3"  # type: ignore[assignment]  # diffusers says None
    stock = StableDiffusion3Pipeline
    null = ""  # without a negative prompt its text encoders leave the null rows out


def _scale(guider: Any) -> float:  # noqa: ANN401 - any of diffusers' guiders
    """Return the guidance scale of a guider that works as classifier-free guidance does.

    Raises:
        UserError: it works otherwise.
    """
    plain = {"guidance_rescale": 0.0, "use_original_formulation": False, "start": 0.0, "stop": 1.0}
    if type(guider) is not ClassifierFreeGuidance:
        raise UserError(
            f"a {type(guider).__name__} cannot be inverted: use ClassifierFreeGuidance"
        )
    if other := [f"{k}={guider.config[k]}" for k, v in plain.items() if guider.config[k] != v]:
        raise UserError(f"the guider's {', '.join(other)} cannot be inverted: leave it out")
    return float(guider.guidance_scale) if guider.config["enabled"] else 1.0
