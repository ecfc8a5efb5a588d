"""Denoising networks in the sizes of published models, with what they are called with.

The sizes are those of the published configurations; what is not given here is the default of
diffusers. All but the bundled network have random weights: only seconds and bytes mean anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from torch import Tensor, nn

from fpinv.denoiser import Embedding, Network
from fpinv.models.weights import SCENES, local_folder


@dataclass(frozen=True)
class Size:
    """A network and the shapes of its inputs.

    Arguments:
        build: Returns the network, on torch's default device and in its default precision.
        call: Returns the function (latents, timestep, embedding) -> output of a network.
        latents: Shape of the latents of an image.
        tokens: Number and width of the prompt's token states.
        pooled: Width of the prompt's pooled state; None for none.
    """

    build: Callable[[], nn.Module]
    call: Callable[[Any], Network]
    latents: tuple[int, ...]
    tokens: tuple[int, int]
    pooled: int | None = None

    def inputs(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Embedding]:
        """Return random latents and embeddings of ``batch`` images, on the CPU."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(batch, *shape, generator=generator)

        pooled = None if self.pooled is None else normal(self.pooled)
        return normal(*self.latents), Embedding(normal(*self.tokens), pooled)


def scenes() -> nn.Module:
    """Return the bundled network with its weights."""
    folder, dtype = local_folder(SCENES), torch.get_default_dtype()
    return UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=dtype)


def sd15() -> nn.Module:
    """Return Stable Diffusion 1.5's UNet, 860 M parameters."""
    return UNet2DConditionModel(sample_size=64, cross_attention_dim=768)


def sdxl() -> nn.Module:
    """Return Stable Diffusion XL's UNet, 2.57 G parameters."""
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
        up_block_types=(*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def flux() -> nn.Module:
    """Return FLUX.1-dev's transformer, 11.9 G parameters."""
    return FluxTransformer2DModel(guidance_embeds=True)


def _unet(unet: Any) -> Network:  # noqa: ANN401 - diffusers declares no attributes
    def network(z: Tensor, timestep: Tensor, embedding: Embedding) -> Tensor:
        z, tokens = z.to(unet.dtype), embedding.tokens.to(unet.dtype)
        return unet(z, timestep, encoder_hidden_states=tokens).sample

    return network


def _unet_of_xl(unet: Any) -> Network:  # noqa: ANN401 - as above
    def network(z: Tensor, timestep: Tensor, embedding: Embedding) -> Tensor:
        assert embedding.pooled is not None
        z, tokens, pooled = (x.to(unet.dtype) for x in (z, embedding.tokens, embedding.pooled))
        sides = z.new_tensor([1024, 1024, 0, 0, 1024, 1024]).expand(len(z), 6)
        conditions = {"text_embeds": pooled, "time_ids": sides}
        return unet(z, timestep, encoder_hidden_states=tokens, added_cond_kwargs=conditions).sample

    return network


def _transformer_of_flux(transformer: Any) -> Network:  # noqa: ANN401 - as above
    def network(z: Tensor, timestep: Tensor, embedding: Embedding) -> Tensor:
        assert embedding.pooled is not None
        z, tokens, pooled = (
            x.to(transformer.dtype) for x in (z[:, 0], embedding.tokens, embedding.pooled)
        )
        side = torch.arange(round(z.shape[1] ** 0.5), device=z.device)
        rows, columns = torch.meshgrid(side, side, indexing="ij")
        places = torch.stack([torch.zeros_like(rows), rows, columns], -1).flatten(0, 1)
        return transformer(
            hidden_states=z,
            timestep=timestep.to(z) / 1000,
            guidance=z.new_full((len(z),), 3.5),
            pooled_projections=pooled,
            encoder_hidden_states=tokens,
            txt_ids=z.new_zeros(tokens.shape[1], 3),
            img_ids=places.to(z),
        ).sample[:, None]

    return network


SIZES: Mapping[str, Size] = {
    "scenes": Size(scenes, _unet, (4, 16, 16), (48, 128)),
    "sd15": Size(sd15, _unet, (4, 64, 64), (77, 768)),
    "sdxl": Size(sdxl, _unet_of_xl, (4, 128, 128), (77, 2048), 1280),
    "flux": Size(flux, _transformer_of_flux, (1, 4096, 64), (512, 4096), 768),
}
"""The networks by name; FLUX's latents are its packed tokens, of 1024 x 1024 pixels as XL's."""
