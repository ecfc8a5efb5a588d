"""Stable Diffusion 1.x, 2.x and XL, and whatever else is stored in their format."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.errors import UserError
from fpinv.models.hub import commit_of, find_weights, read_index, short_name
from fpinv.models.origin import ModelOrigin, digest
from fpinv.models.pipeline import Pipeline, Spacing, Weights, load_pipeline
from fpinv.models.rules import side_of
from fpinv.models.weights import quiet
from fpinv.schedule import Schedule

Precision = Literal["fp32", "tf32", "fp16", "bf16"]

log = logging.getLogger(__name__)

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
PIXELS = 512**2
"""Pixels that the VAE takes at a time on a GPU, where one small image would not fill it."""


class Switches(NamedTuple):
    """Trades of speed and memory in the UNet; see :class:`StableDiffusion`."""

    compile: bool
    attention_slicing: bool
    gradient_checkpointing: bool


class StableDiffusion:
    """A latent diffusion model through diffusers' own classes, on the DDIM grid.

    The noise levels, the prediction type and the spacing are those of the scheduler that ships
    with the weights, on the grid that inversion needs: offset 1, clean end at the first noise
    level. What a part's configuration asks for is carried out as the stock pipeline does, or else
    refused (:mod:`fpinv.models.rules`).

    The VAE always runs in float32: half precision costs it more than an inverter loses, and that
    of XL overflows. It takes images one at a time, so that neither results nor
    memory depend on the batch; on a GPU it takes small ones together, up to 512 x 512 pixels.
    The text encoders and the UNet run in ``precision``; latents are float32 throughout.

    Parameters are frozen, so nothing is recorded for a gradient unless an input asks for one:
    latents and embeddings that do get it through the denoiser, ``encode`` and ``decode``.

    Arguments:
        path: Name on the Hugging Face hub, a folder in diffusers format, or the folder of an
            installed package as ``pkg://package.module``. A copy in the local cache is taken
            without asking the hub.
        revision: Branch, tag or commit on the hub.
        name: Short name for records; None is that of the model on the hub, or of the folder.
        image_size: Side of the images in pixels, or height and width; None is the side the
            network was trained at.
        precision: Precision of the text encoders and the UNet. ``tf32`` is fp32 whose products
            NVIDIA's cards round to 11 bits, which is faster. All others forbid this rounding,
            which torch allows in convolutions, because it costs exact methods 50 dB. It is a
            switch of the whole process, so the model made last decides.
        device: A torch device, or ``auto``: cuda, else cpu. Not mps, which has no float64
            for residuals and metrics.
        compile: Compile the UNet.
        attention_slicing: Compute attention in slices, slower and with less memory.
        variant: Name of one of several stored weights; ``fp16`` takes files with ``.fp16.``.
        gradient_checkpointing: Save memory in gradients through the UNet, at the price of a
            second evaluation.
        spacing: Spacing of the timesteps: ``leading`` (1, 21, ... for 50 steps) or ``trailing``
            (19, 39, ..., 999); None is the scheduler's own.

    Attributes:
        name: Short name for records.
        pipeline: The stock pipeline, with our scheduler. Models of one process that ask for the
            same weights share it. Its own call needs ``precision`` fp32, because of the VAE.
        device: Device of the networks.
        dtype: Precision of the UNet and the text encoders.
        domain: The only kind of pictures that the weights know, by ``_domain`` in their
            model_index.json; None for any kind.
        image_size: Height and width in pixels that pictures are brought to.
        latent_shape: Shape (C, H/f, W/f) of the latent of such a picture; f is the VAE's factor.

    Raises:
        UserError: the weights cannot be loaded, or an argument does not fit them.

    References:
        | High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022)
        | https://arxiv.org/abs/2112.10752
        | SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis
          (Podell et al., 2023)
        | https://arxiv.org/abs/2307.01952
    """

    def __init__(
        self,
        path: str,
        name: str | None = None,
        revision: str | None = None,
        image_size: int | Sequence[int] | None = None,
        precision: Precision = "fp32",
        device: str = "auto",
        compile: bool = False,
        attention_slicing: bool = False,
        variant: str | None = None,
        gradient_checkpointing: bool = False,
        spacing: Spacing | None = None,
    ) -> None:
        self.name = short_name(path) if name is None else name
        self.device = resolve_device(device)
        self.dtype = _set_precision(precision)
        folder = find_weights(path, revision, variant)
        self.domain = read_index(folder).get("_domain")
        switches = Switches(compile, attention_slicing, gradient_checkpointing)
        self._path, self._weights = path, Weights(folder, variant, self.dtype, spacing)
        self.pipeline = _load(self._weights, self.device, switches)
        # Users may give the pipeline another scheduler; the grid stays this one.
        self._scheduler = self.pipeline.scheduler
        self.image_size = self._size(image_size)
        height, width = (side // self.pipeline.vae_scale_factor for side in self.image_size)
        self.latent_shape = (self.pipeline.unet.config.in_channels, height, width)
        self._cut: set[str] = set()

    @cached_property
    def origin(self) -> ModelOrigin:
        """Path, commit, digest and scheduler of the weights; the digest reads all their files."""
        folder, variant = self._weights.folder, self._weights.variant
        return ModelOrigin(
            path=self._path,
            commit=commit_of(folder),
            digest=digest(folder, variant),
            scheduler=read_index(folder)["scheduler"][1],
            spacing=self._scheduler.config.timestep_spacing,
        )

    def _size(self, image_size: int | Sequence[int] | None) -> tuple[int, int]:
        """Return the image size if the VAE can take it; the network's own size for None."""
        factor = self.pipeline.vae_scale_factor
        trained, vae = self.pipeline.unet.config.sample_size, self.pipeline.vae.config
        default = side_of(trained) * factor if trained else side_of(vae.sample_size)
        if image_size is None:
            return default, default
        # The UNet pads odd sides by itself, so the VAE alone limits the size.
        match [image_size] * 2 if isinstance(image_size, int) else image_size:
            case [int(height), int(width)] if _fits(height, factor) and _fits(width, factor):
                return height, width
        raise UserError(
            f"image_size={image_size} does not fit model {self.name}: use a multiple of "
            f"{factor}, or two as [height,width] (its own size is {default})"
        )

    def encode(self, images: Tensor) -> Tensor:
        """Return the latents (B, C, H/f, W/f) of images (B, 3, H, W) in [-1, 1].

        They are the posterior's mode, not a sample, so that an image has one latent; f is the
        VAE's factor. Sides that are no multiples of f are padded, below and to the right, with
        the pixels of the edge.
        """
        factor = self.pipeline.vae_scale_factor
        padding = (0, -images.shape[-1] % factor, 0, -images.shape[-2] % factor)
        padded = pad(images.to(self.device, torch.float32), padding, mode="replicate")
        batches = padded.split(self._vae_batch(padded[0, 0].numel()))
        modes = [self.pipeline.vae.encode(batch).latent_dist.mode() for batch in batches]
        return torch.cat(modes) * self.pipeline.vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images (B, 3, H, W), clamped to [-1, 1], of latents (B, C, H/f, W/f)."""
        pixels = latents[0, 0].numel() * self.pipeline.vae_scale_factor**2
        scaled = latents.to(self.device, torch.float32) / self.pipeline.vae.config.scaling_factor
        batches = scaled.split(self._vae_batch(pixels))
        images = [self.pipeline.vae.decode(batch, return_dict=False)[0] for batch in batches]
        return torch.cat(images).clamp(-1, 1)

    def _vae_batch(self, pixels: int) -> int:
        """Return how many images of so many pixels the VAE takes at a time."""
        return 1 if self.device.type == "cpu" else max(1, PIXELS // pixels)

    def embed(self, prompts: list[str]) -> Embedding:
        """Return the embeddings of B prompts, B rows, as the stock pipeline makes them.

        Equal prompts are encoded once, and each alone, so that it does not depend on the others.
        None is remembered, because users may change the pipeline. A prompt that is too long for
        the text encoder is cut, with one warning.
        """
        embeddings = {prompt: self._embedding(prompt) for prompt in dict.fromkeys(prompts)}
        return Embedding.cat([embeddings[prompt] for prompt in prompts])

    def condition(self, prompts: list[str], guidance: float) -> Condition:
        """Return the condition of B prompts at a guidance, with B rows of the null prompt.

        The null prompt comes at guidance 1 too, since an inverter's guidance may differ.
        """
        null = self._embedding("", null=True).expand(len(prompts))
        return Condition(self.embed(prompts), null, guidance)

    def denoiser(self, steps: int) -> Denoiser:
        """Return a denoiser on a grid of ``steps`` steps, its counts at zero.

        Raises:
            UserError: ``steps`` does not fit the scheduler.
        """
        schedule = Schedule.from_scheduler(self._scheduler, steps)
        return Denoiser(self._network, schedule, self.dtype, self.device)

    @torch.no_grad()
    def _embedding(self, prompt: str, null: bool = False) -> Embedding:
        """Return the stock pipeline's embedding of a prompt, or of the null prompt, as one row.

        The null prompt is zeros for XL, whose pipeline does not encode it.
        """
        with quiet():
            if (excess := self.excess(prompt)) and prompt not in self._cut:
                self._cut.add(prompt)
                longest = self.pipeline.tokenizer.model_max_length
                log.warning("prompt cut to %d tokens; ignored: '%s'", longest, excess)
            states = self.pipeline.encode_prompt(
                prompt=prompt,
                device=self.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=null,
            )
        # SD: (prompt, null); XL: (prompt, null, pooled prompt, pooled null).
        return Embedding(*states[int(null) :: 2])

    def excess(self, prompt: str) -> str:
        """Return the end of a prompt that is cut off, because the encoder reads no more."""
        tokenizer = self.pipeline.tokenizer
        with quiet():
            ids = tokenizer(self.pipeline.maybe_convert_prompt(prompt, tokenizer)).input_ids
            longest = tokenizer.model_max_length
            return tokenizer.decode(ids[longest - 1 : -1]) if len(ids) > longest else ""

    def _network(self, z: Tensor, timestep: Tensor, embedding: Embedding) -> Tensor:
        """Return the UNet's output (R, C, H, W) at latents (R, C, H, W), a label, R embeddings."""
        labels = None
        if embedding.pooled is not None:
            labels = {"text_embeds": embedding.pooled, "time_ids": self._size_labels(z)}
        return self.pipeline.unet(
            z,
            timestep,
            encoder_hidden_states=embedding.tokens.to(self.dtype),
            added_cond_kwargs=labels,
            return_dict=False,
        )[0]

    def _size_labels(self, z: Tensor) -> Tensor:
        """Return XL's labels (R, 6) of latents: the size, uncropped, of their image, twice."""
        height, width = (side * self.pipeline.vae_scale_factor for side in z.shape[-2:])
        labels = torch.zeros(len(z), 6, dtype=self.dtype, device=z.device)
        # Filled rather than copied from the CPU, which would wait for the device.
        labels[:, ::4], labels[:, 1::4] = height, width
        return labels


def resolve_device(device: str) -> torch.device:
    """Return the torch device of that name; ``auto`` is cuda, else cpu.

    Raises:
        UserError: the name is unknown or this machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise UserError(f"device={device} is unknown: use auto, cuda or cpu") from None
    count = {"cuda": torch.cuda.device_count(), "cpu": 1}.get(resolved.type, 0)
    if (resolved.index or 0) >= count:
        raise UserError(f"device={device} is not available on this machine: use device=auto")
    return resolved


def _fits(side: int, factor: int) -> bool:
    return side >= factor and side % factor == 0


def _set_precision(precision: Precision) -> torch.dtype:
    """Return the dtype of a precision, and allow or forbid the rounding of products to TF32."""
    if precision not in DTYPES:
        raise UserError(f"precision={precision} is unknown: use {', '.join(get_args(Precision))}")
    rounds = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = rounds
    return DTYPES[precision]


# One entry: jobs of a sweep share the weights of the model that they have in common.
@lru_cache(maxsize=1)
def _load(weights: Weights, device: torch.device, switches: Switches) -> Pipeline:
    """Return the stock pipeline of a folder, frozen, on the device, with our scheduler."""
    pipeline = load_pipeline(weights).to(device)
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval().requires_grad_(False)
    if switches.attention_slicing:
        pipeline.enable_attention_slicing()
    if switches.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
    if switches.compile:
        pipeline.unet.compile()
    return pipeline
