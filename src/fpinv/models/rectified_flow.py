"""Rectified flows whose network is a transformer: Stable Diffusion 3 and 3.5, and FLUX.1."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle
from transformers import PreTrainedTokenizerBase

from fpinv.denoiser import Denoiser, Embedding
from fpinv.errors import UserError
from fpinv.models.latent_model import LatentModel, check_embedded_guidance
from fpinv.models.pipeline import Weights
from fpinv.models.rules import side_of
from fpinv.models.samplers.grids import flow_grid
from fpinv.models.weights import TOKENIZERS

LONGEST = 512
"""Tokens that the T5 encoders were trained to read."""


class RectifiedFlow(LatentModel):
    """A rectified flow, on the grid of the scheduler that ships with the weights.

    Arguments:
        path: See :class:`~fpinv.models.latent_model.LatentModel`, as for all further settings.
        max_sequence_length: Tokens that the T5 encoder reads, at most 512.
    """

    def __init__(
        self,
        path: str,
        name: str | None = None,
        *,
        max_sequence_length: int = 512,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        if not 1 <= max_sequence_length <= LONGEST:
            raise UserError(
                f"model.max_sequence_length={max_sequence_length} is not possible: choose 1 to "
                f"{LONGEST}"
            )
        self.max_sequence_length = max_sequence_length
        super().__init__(path, name, **settings)

    @property
    def spacing(self) -> str:
        """The shift of the grid."""
        config = self._scheduler.config
        by_size = "by size" if config.use_dynamic_shifting else f"{config.shift:g}"
        return f"flow, shift {by_size}"

    @property
    def settings(self) -> dict[str, object]:
        """The settings that change what the network computes."""
        return {**super().settings, "max_sequence_length": self.max_sequence_length}

    @property
    def _brief(self) -> dict[str, tuple[PreTrainedTokenizerBase, int]]:
        # both pipelines cut for all CLIP encoders alike
        (reader, longest), limit = self._reader, int(self.pipeline.tokenizer_max_length)
        tokenizers = ((e, getattr(self.pipeline, t, None)) for t, e in TOKENIZERS.items())
        others = {e: tokenizer for e, tokenizer in tokenizers if tokenizer not in (None, reader)}
        return {e: (tokenizer, limit) for e, tokenizer in others.items() if limit < longest}

    def denoiser(self, steps: int) -> Denoiser:
        """Return a denoiser on the stock pipeline's grid of ``steps`` steps, its counts at zero.

        Raises:
            UserError: ``steps`` is not possible.
        """
        height, width = (side // self.multiple for side in self.image_size)
        schedule = flow_grid(self._scheduler, steps, height * width, self._sigmas(steps))
        return Denoiser(self._network, schedule, self.dtype, self.device, self.epsilon)

    def _sigmas(self, steps: int) -> np.ndarray[Any, Any] | None:
        """Return the noise scales (N,) before the shift; None for the scheduler's own."""
        return None

    @abstractmethod
    def _network(self, z: Tensor, timestep: Tensor, embedding: Embedding) -> Tensor:
        """Return the velocity (R, C, H, W) at latents (R, C, H, W), R labels and embeddings."""


class StableDiffusion3(RectifiedFlow):
    """Stable Diffusion 3 and 3.5.

    Arguments:
        path: See :class:`~fpinv.models.latent_model.LatentModel`, as for all further settings.
        t5: False leaves the T5 encoder out, which saves 4.7 billion parameters; the model then
            reads prompts by its CLIP encoders alone.

    References:
        | Scaling Rectified Flow Transformers for High-Resolution Image Synthesis
        | (Esser et al., 2024), https://arxiv.org/abs/2403.03206
    """

    pipelines = ("StableDiffusion3Pipeline",)

    def __init__(
        self,
        path: str,
        name: str | None = None,
        *,
        max_sequence_length: int = 256,
        t5: bool = True,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        self._t5 = t5
        super().__init__(path, name, max_sequence_length=max_sequence_length, **settings)

    @property
    def settings(self) -> dict[str, object]:
        """The settings that change what the network computes."""
        return {**super().settings, "t5": self._t5}

    def _choose(self, weights: Weights) -> Weights:
        if weights.loaded is not None and not self._t5:
            raise UserError(
                "t5=False is for weights in files: make the pipeline with text_encoder_3=None"
            )
        return weights._replace(t5=self._t5)

    @property
    def _side(self) -> int:
        return side_of(self.network.config.sample_size) * int(self.pipeline.vae_scale_factor)

    @property
    def multiple(self) -> int:
        return int(self.pipeline.vae_scale_factor * self.network.config.patch_size)

    @property
    def _largest(self) -> int:
        # the network crops its table of places, which has no place for more
        return self.multiple * int(self.network.config.pos_embed_max_size)

    @property
    def _reader(self) -> tuple[PreTrainedTokenizerBase, int]:
        if self.pipeline.text_encoder_3 is None:
            return self.pipeline.tokenizer, self.pipeline.tokenizer.model_max_length
        return self.pipeline.tokenizer_3, self.max_sequence_length

    def _encode_prompt(self, prompt: str, null: bool) -> Embedding:
        states = self.pipeline.encode_prompt(
            prompt,
            None,
            None,
            device=self.device,
            do_classifier_free_guidance=null,
            max_sequence_length=self.max_sequence_length,
        )
        # prompt, null, pooled prompt, pooled null
        return Embedding(*states[int(null) :: 2])

    def _network(self, z: Tensor, timestep: Tensor, embedding: Embedding) -> Tensor:
        """Return the velocity (R, C, H, W) at latents (R, C, H, W), R labels and embeddings."""
        assert embedding.pooled is not None
        return self.network(
            hidden_states=z,
            timestep=timestep,
            encoder_hidden_states=embedding.tokens.to(self.dtype),
            pooled_projections=embedding.pooled.to(self.dtype),
            return_dict=False,
        )[0]


class Flux(RectifiedFlow):
    """FLUX.1.

    The pipeline's latents are tokens of 2 x 2 numbers a channel; those of this class stay
    (B, C, H/f, W/f). Where the scheduler shifts its grid by the size of the picture, the size is
    ``image_size``.

    FLUX.1-dev was distilled from guided samples: ``embedded_guidance`` is an input of its network
    and costs no row. True guidance, by the null prompt, comes on top of it as for any model.

    Arguments:
        path: See :class:`~fpinv.models.latent_model.LatentModel`, as for all further settings.
        embedded_guidance: Guidance scale that the network is told; None for a network that
            takes none (FLUX.1-schnell).

    References:
        | FLUX.1 (Black Forest Labs, 2024), https://github.com/black-forest-labs/flux
    """

    pipelines = ("FluxPipeline",)

    def __init__(
        self,
        path: str,
        name: str | None = None,
        *,
        embedded_guidance: float | None = 3.5,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(path, name, **settings)
        self.embedded_guidance = embedded_guidance
        takes = self.network.config.guidance_embeds
        check_embedded_guidance(self.name, takes, embedded_guidance)
        # Made once a size, since the pipeline makes them on the CPU.
        self._places = lru_cache(maxsize=4)(self._make_places)

    @property
    def settings(self) -> dict[str, object]:
        """The settings that change what the network computes."""
        return {**super().settings, "embedded_guidance": self.embedded_guidance}

    @property
    def _side(self) -> int:
        return int(self.pipeline.default_sample_size * self.pipeline.vae_scale_factor)

    @property
    def multiple(self) -> int:
        return 2 * int(self.pipeline.vae_scale_factor)

    @property
    def _reader(self) -> tuple[PreTrainedTokenizerBase, int]:
        return self.pipeline.tokenizer_2, self.max_sequence_length

    def _sigmas(self, steps: int) -> np.ndarray[Any, Any]:
        return np.linspace(1.0, 1 / max(steps, 1), steps)

    def _encode_prompt(self, prompt: str, null: bool) -> Embedding:
        tokens, pooled, _ = self.pipeline.encode_prompt(
            prompt, None, device=self.device, max_sequence_length=self.max_sequence_length
        )
        return Embedding(tokens, pooled)

    def _network(self, z: Tensor, timestep: Tensor, embedding: Embedding) -> Tensor:
        """Return the velocity (R, C, H, W) at latents (R, C, H, W), R labels and embeddings."""
        assert embedding.pooled is not None
        rows, size = len(z), (z.shape[-2] // 2, z.shape[-1] // 2)
        guidance = None
        if self.embedded_guidance is not None:
            guidance = torch.full((rows,), self.embedded_guidance, device=z.device)
        words, pictures = self._places(embedding.tokens.shape[1], *size)
        packed = self.network(
            hidden_states=pixel_unshuffle(z, 2).flatten(2).mT,
            timestep=timestep.to(self.dtype) / 1000,  # rounded before, as there
            guidance=guidance,
            pooled_projections=embedding.pooled.to(self.dtype),
            encoder_hidden_states=embedding.tokens.to(self.dtype),
            txt_ids=words,
            img_ids=pictures,
            return_dict=False,
        )[0]
        return pixel_shuffle(packed.mT.unflatten(2, size), 2)

    def _make_places(self, words: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the places of the tokens of a prompt (L, 3) and of a picture (h w, 3)."""
        pictures = self.pipeline._prepare_latent_image_ids(
            1, height, width, self.device, self.dtype
        )
        return torch.zeros(words, 3, device=self.device, dtype=self.dtype), pictures
