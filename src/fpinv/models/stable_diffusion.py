"""Stable Diffusion 1.x, 2.x and XL, and whatever else is stored in their format."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from fpinv.denoiser import Denoiser, Embedding
from fpinv.models.latent_model import LatentModel, check_embedded_guidance
from fpinv.models.pipeline import Weights
from fpinv.models.rules import side_of
from fpinv.models.samplers import Spacing, choose_spacing, spacing_of


class StableDiffusion(LatentModel):
    """Stable Diffusion with a UNet, on the grid of the sampler.

    The noise levels, the prediction type and the spacing are those of the scheduler that ships
    with the weights; DDIM's grid is the one that inversion needs: offset 1, clean end at the first
    noise level.

    Arguments:
        path: See :class:`~fpinv.models.latent_model.LatentModel`, as for all further settings.
        spacing: Spacing of the grid: ``leading`` (1, 21, ... for 50 steps) or ``trailing``
            (19, 39, ..., 999), and with all samplers but DDIM and LCM's also ``linspace``; or with
            Euler's and DPM-Solver++ that of the noise levels,
            :data:`~fpinv.models.samplers.spacing.NOISE_SPACINGS`; None is the scheduler's own.
            DPM-Solver++ leaves the label of 0 out where DDIM leaves that of 999 out
            (20, 39, ..., 951). LCM's sampler has timesteps of its own.
        embedded_guidance: Guidance scale that the network is told, at no further row; None where
            it takes none, as all but latent consistency models.

    References:
        | High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022)
        | https://arxiv.org/abs/2112.10752
        | SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis
          (Podell et al., 2023)
        | https://arxiv.org/abs/2307.01952
        | Latent Consistency Models (Luo et al., 2023), for networks that are told the guidance
        | https://arxiv.org/abs/2310.04378
    """

    pipelines = (
        "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
        "LatentConsistencyModelPipeline",
    )

    def __init__(
        self,
        path: str,
        name: str | None = None,
        *,
        spacing: Spacing | None = None,
        embedded_guidance: float | None = None,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        self._spacing = spacing
        super().__init__(path, name, **settings)
        self.embedded_guidance = embedded_guidance
        takes = self.network.config.time_cond_proj_dim is not None
        check_embedded_guidance(self.name, takes, embedded_guidance)

    def _choose(self, weights: Weights) -> Weights:
        spacing = choose_spacing(weights.sampler, weights.folder, self._spacing)
        return weights._replace(spacing=spacing)

    @property
    def spacing(self) -> str:
        """The spacing of the grid."""
        return spacing_of(self._scheduler.config)

    @property
    def settings(self) -> dict[str, object]:
        """The settings that change what the network computes."""
        guidance = {"embedded_guidance": self.embedded_guidance}
        return super().settings | ({} if self.embedded_guidance is None else guidance)

    @property
    def _side(self) -> int:
        # The UNet pads odd sides by itself, so the VAE alone limits the size.
        trained, factor = self.pipeline.unet.config.sample_size, self.pipeline.vae_scale_factor
        return (
            side_of(trained) * factor if trained else side_of(self.pipeline.vae.config.sample_size)
        )

    @property
    def _reader(self) -> tuple[PreTrainedTokenizerBase, int]:
        return self.pipeline.tokenizer, self.pipeline.tokenizer.model_max_length

    def denoiser(self, steps: int) -> Denoiser:
        """Return a denoiser on the sampler's grid of ``steps`` steps, its counts at zero.

        Raises:
            UserError: ``steps`` does not fit the scheduler.
        """
        schedule = self.sampler.schedule(self._scheduler, steps)
        return Denoiser(self._network, schedule, self.dtype, self.device, self.epsilon)

    def _encode_prompt(self, prompt: str, null: bool) -> Embedding:
        """Return the stock pipeline's embedding of a prompt, or of the null prompt, as one row.

        The null prompt is zeros for XL, whose pipeline does not encode it.
        """
        states = self.pipeline.encode_prompt(
            prompt=prompt,
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=null,
        )
        # SD: (prompt, null); XL: (prompt, null, pooled prompt, pooled null).
        return Embedding(*states[int(null) :: 2])

    def _network(self, z: Tensor, timestep: Tensor, embedding: Embedding) -> Tensor:
        """Return the UNet's output (R, C, H, W) at latents (R, C, H, W), a label, R embeddings."""
        labels = None
        if embedding.pooled is not None:
            labels = {"text_embeds": embedding.pooled, "time_ids": self._size_labels(z)}
        return self.pipeline.unet(
            z,
            timestep,
            encoder_hidden_states=embedding.tokens.to(self.dtype),
            timestep_cond=self._told,
            added_cond_kwargs=labels,
            return_dict=False,
        )[0]

    @cached_property
    def _told(self) -> Tensor | None:
        """The stock pipeline's embedding (1, D) of the guidance that the network is told."""
        if self.embedded_guidance is None:
            return None
        embedding: Tensor = self.pipeline.get_guidance_scale_embedding(
            torch.tensor([self.embedded_guidance - 1.0]),
            embedding_dim=self.network.config.time_cond_proj_dim,
        )
        return embedding.to(self.device, self.dtype)

    def _size_labels(self, z: Tensor) -> Tensor:
        """Return XL's labels (R, 6) of latents: the size, uncropped, of their image, twice."""
        height, width = (side * self.pipeline.vae_scale_factor for side in z.shape[-2:])
        labels = torch.zeros(len(z), 6, dtype=self.dtype, device=z.device)
        # Filled rather than copied from the CPU, which would wait for the device.
        labels[:, ::4], labels[:, 1::4] = height, width
        return labels
