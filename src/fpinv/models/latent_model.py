"""Latent models through diffusers' own pipelines: what all families share."""

from __future__ import annotations

import logging
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar
from weakref import finalize

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerBase

from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.errors import UserError
from fpinv.models.hub import commit_of, find_weights, read_index, short_name
from fpinv.models.lora import choose_lora, merge_lora
from fpinv.models.machine import (
    Offload,
    Precision,
    Switches,
    check_offload,
    machine_epsilon,
    place,
    resolve_device,
    set_precision,
)
from fpinv.models.origin import (
    ModelOrigin,
    digest,
    digest_of_networks,
    files_of,
    state_of,
    with_settings,
)
from fpinv.models.pipeline import (
    Pipeline,
    Weights,
    check_loaded,
    denoising_network,
    load_pipeline,
    write_configs,
)
from fpinv.models.quantization import Quantization, check_quantization
from fpinv.models.samplers import DDIMSampler, Sampler
from fpinv.models.weights import quiet

log = logging.getLogger(__name__)

OPTIONS: Mapping[object, str] = {
    "StableDiffusionPipeline": "sd15",
    "LatentConsistencyModelPipeline": "lcm",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
    "FluxPipeline": "flux",
}
"""An option of ``model`` that loads each pipeline."""
UNLIMITED = 2**20
"""The largest side, in pixels, of a network that takes any."""
PIXELS = 512**2
"""Pixels that the VAE takes at a time on a GPU, where one small image would not fill it."""


class LatentModel(ABC):
    """A latent diffusion model through diffusers' own classes, of any family.

    What a part's configuration asks for is carried out as the stock pipeline does, or else
    refused (:mod:`fpinv.models.rules`).

    The VAE always runs in float32: half precision costs it more than an inverter loses, and that
    of XL overflows. It takes images one at a time, so that neither results nor
    memory depend on the batch; on a GPU it takes small ones together, up to 512 x 512 pixels.
    The text encoders and the network run in ``precision``; latents are float32 throughout.

    Parameters are frozen, so nothing is recorded for a gradient unless an input asks for one:
    latents and embeddings that do get it through the denoiser, ``encode`` and ``decode``.

    Arguments:
        path: Name on the Hugging Face hub, a folder in diffusers format, a checkpoint in one
            .safetensors file, or the folder of an installed package as
            ``pkg://package.module``. A copy in the local cache is taken without asking the hub.
            Or a pipeline of diffusers, whose networks are used as they are and frozen.
        revision: Branch, tag or commit on the hub.
        name: Short name for records; None is that of the model on the hub, or of the folder.
        image_size: Side of the images in pixels, or height and width; None is the side the
            network was trained at.
        precision: Precision of the text encoders and the network. ``tf32`` is fp32 whose products
            NVIDIA's cards round to 11 bits, which is faster. All others forbid this rounding,
            which torch allows in convolutions, because it costs exact methods 50 dB. It is a
            switch of the whole process, so the model made last decides.
        device: A torch device, or ``auto``: cuda, else cpu. Not mps, which has no float64
            for residuals and metrics.
        compile: Compile the network: a UNet as a whole, a transformer by its repeated blocks.
            Editing by attention runs it uncompiled.
        attention_slicing: Compute attention in slices, slower and with less memory.
        variant: Name of one of several stored weights; ``fp16`` takes files with ``.fp16.``.
        gradient_checkpointing: Save memory in gradients through the network, at the price of a
            second evaluation.
        offload: Where parts wait on a GPU machine: ``none`` keeps all on the GPU; ``model`` keeps
            the part that is at work there, and the others in main memory; ``sequential`` keeps
            single layers there, which needs the least memory and is the slowest.
        lora: A .safetensors file of a LoRA, which is merged into the weights; None for none.
        lora_scale: Factor of the LoRA's changes.
        quantization: Weights of fewer bits, of the network and of T5 encoders: ``int8`` by
            torchao, ``nf4`` by bitsandbytes (on GPUs); None for those that are stored.
        sampler: The sampler (:mod:`fpinv.models.samplers`); None for DDIM.

    Attributes:
        name: Short name for records.
        pipeline: The stock pipeline, with the scheduler of the sampler. Models of one process that
            ask for the same weights share it. Its own call needs ``precision`` fp32, because of
            the VAE.
        device: Device of the networks.
        dtype: Precision of the network and the text encoders.
        domain: The only kind of pictures that the weights know, by ``_domain`` in their
            model_index.json; None for any kind.
        image_size: Height and width in pixels that pictures are brought to.
        latent_shape: Shape (C, H/f, W/f) of the latent of such a picture; f is the VAE's factor.
        multiple: Number of pixels to multiples of which the sides of a picture are padded.

    Raises:
        UserError: the weights cannot be loaded, are of another family, or an argument does not
            fit them.
    """

    pipelines: ClassVar[tuple[str, ...]]
    """The stock pipelines that the family is stored as."""

    def __init__(
        self,
        path: str | os.PathLike[str] | Pipeline,
        name: str | None = None,
        revision: str | None = None,
        image_size: int | Sequence[int] | None = None,
        precision: Precision = "fp32",
        device: str = "auto",
        compile: bool = False,
        attention_slicing: bool = False,
        variant: str | None = None,
        gradient_checkpointing: bool = False,
        offload: Offload = "none",
        lora: str | None = None,
        lora_scale: float = 1.0,
        quantization: Quantization | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        path = os.fspath(path) if isinstance(path, os.PathLike) else path
        loaded = None if isinstance(path, str) else path
        if loaded is not None:
            path = str(loaded.config.get("_name_or_path") or type(loaded).__name__)
        self.name = short_name(path) if name is None else name
        self.device = resolve_device(device)
        self.dtype = set_precision(precision)
        self.epsilon = machine_epsilon(precision, self.device)
        if loaded is None:
            folder = find_weights(path, revision, variant)
        else:
            files = {"revision": revision, "variant": variant, "lora": lora}
            check_loaded(loaded, self.dtype, quantization=quantization, **files)
            folder = self._written(loaded)
        index = read_index(folder)
        self._check_family(path, index.get("_class_name"))
        self.domain = index.get("_domain")
        check_offload(offload, self.device)
        check_quantization(quantization, self.device, lora)
        switches = Switches(compile, attention_slicing, gradient_checkpointing, offload)
        changes = choose_lora(lora, lora_scale)
        self.sampler = sampler or DDIMSampler()
        weights = Weights(
            folder,
            variant,
            self.dtype,
            lora=changes,
            quantization=quantization,
            sampler=self.sampler,
            loaded=loaded,
            state=state_of([*files_of(folder, variant), *([changes.file] if changes else [])]),
        )
        self._path, self._weights = path, self._choose(weights)
        # Those of a loaded pipeline are its owner's, who may want to be rid of them.
        load = _load if loaded is None else _load.__wrapped__
        # Users may give the pipeline another scheduler; the grid stays this one.
        self.pipeline, self._scheduler = load(self._weights, self.device, switches)
        self.image_size = self._size(image_size)
        height, width = (side // self.pipeline.vae_scale_factor for side in self.image_size)
        self.latent_shape = (self.pipeline.vae.config.latent_channels, height, width)
        self._cut: set[str] = set()
        self._cutters: set[str] = set()

    def _written(self, pipeline: Pipeline) -> Path:
        """Return a folder with the configurations of a pipeline, which lasts as long as this."""
        folder = Path(mkdtemp(prefix="fpinv-"))
        finalize(self, shutil.rmtree, folder, ignore_errors=True)
        write_configs(pipeline, folder)
        return folder

    def _choose(self, weights: Weights) -> Weights:
        """Return the weights to load, with the choices that only this family has."""
        return weights

    def _check_family(self, path: str, kind: object) -> None:
        """Refuse a folder of another family, whose pipeline is ``kind``."""
        if kind in OPTIONS and kind not in self.pipelines:
            raise UserError(f"model.path={path} holds a {kind}: use model={OPTIONS[kind]} with it")

    @property
    def network(self) -> Any:  # noqa: ANN401 - diffusers declares no attributes
        """The denoising network: a UNet or a transformer."""
        return denoising_network(self.pipeline)

    @property
    @abstractmethod
    def spacing(self) -> str:
        """The spacing of the grid, for records."""

    @property
    @abstractmethod
    def _side(self) -> int:
        """The side in pixels that the network was trained at."""

    @property
    def multiple(self) -> int:
        """The number of pixels to multiples of which sides of pictures are padded."""
        return int(self.pipeline.vae_scale_factor)

    @property
    def _largest(self) -> int:
        """The largest side in pixels that the network takes."""
        return UNLIMITED

    @property
    @abstractmethod
    def _reader(self) -> tuple[PreTrainedTokenizerBase, int]:
        """The tokenizer of the text encoder that reads the most, and how many tokens it reads."""

    @property
    def _brief(self) -> Mapping[str, tuple[PreTrainedTokenizerBase, int]]:
        """The text encoders that read less: their tokenizers, and how many tokens they read."""
        return {}

    @abstractmethod
    def denoiser(self, steps: int) -> Denoiser:
        """Return a denoiser on a grid of ``steps`` steps, its counts at zero.

        Raises:
            UserError: ``steps`` does not fit the scheduler.
        """

    @abstractmethod
    def _encode_prompt(self, prompt: str, null: bool) -> Embedding:
        """Return the stock pipeline's embedding of a prompt, or of the null prompt, as one row."""

    @property
    def settings(self) -> dict[str, object]:
        """The settings that change what the network computes; their digest is another."""
        kind, loaded = self._weights.quantization, self._weights.loaded
        settings: dict[str, object] = {} if kind is None else {"quantization": kind}
        # A pipeline in memory has no files of weights to be read.
        return settings if loaded is None else {**settings, "weights": digest_of_networks(loaded)}

    @cached_property
    def origin(self) -> ModelOrigin:
        """Path, commit, digest and scheduler of the weights; the digest reads all their files.

        :attr:`settings` count in the digest, where there are any.
        """
        folder, lora = self._weights.folder, self._weights.lora
        weights = digest(folder, self._weights.variant)
        changed = weights if lora is None else lora.digest(weights)
        return ModelOrigin(
            path=self._path,
            commit=commit_of(folder),
            digest=with_settings(changed, self.settings),
            scheduler=read_index(folder)["scheduler"][1],
            spacing=self.spacing,
            sampler=self.sampler.name,
        )

    def _size(self, image_size: int | Sequence[int] | None) -> tuple[int, int]:
        """Return the image size if the VAE can take it; the network's own size for None."""
        default, allowed = self._side, range(self.multiple, self._largest + 1, self.multiple)
        if image_size is None:
            return default, default
        match [image_size] * 2 if isinstance(image_size, int) else image_size:
            case [int(height), int(width)] if height in allowed and width in allowed:
                return height, width
        limit = "" if self._largest == UNLIMITED else f" up to {self._largest}"
        raise UserError(
            f"image_size={image_size} does not fit model {self.name}: use a multiple of "
            f"{self.multiple}{limit}, or two as [height,width] (its own size is {default})"
        )

    def encode(self, images: Tensor) -> Tensor:
        """Return the latents (B, C, H/f, W/f) of images (B, 3, H, W) in [-1, 1].

        They are the posterior's mode, not a sample, so that an image has one latent; f is the
        VAE's factor. Sides that are no multiples of f (of 2 f for transformers) are padded, below
        and to the right, with the pixels of the edge.
        """
        multiple, vae = self.multiple, self.pipeline.vae
        padding = (0, -images.shape[-1] % multiple, 0, -images.shape[-2] % multiple)
        padded = pad(images.to(self.device, torch.float32), padding, mode="replicate")
        batches = padded.split(self._vae_batch(padded[0, 0].numel()))
        modes = torch.cat([vae.encode(batch).latent_dist.mode() for batch in batches])
        return (modes - self._shift) * vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images (B, 3, H, W), clamped to [-1, 1], of latents (B, C, H/f, W/f)."""
        pixels, vae = latents[0, 0].numel() * self.pipeline.vae_scale_factor**2, self.pipeline.vae
        scaled = latents.to(self.device, torch.float32) / vae.config.scaling_factor + self._shift
        batches = scaled.split(self._vae_batch(pixels))
        images = [vae.decode(batch, return_dict=False)[0] for batch in batches]
        return torch.cat(images).clamp(-1, 1)

    @property
    def _shift(self) -> float:
        """The mean of the VAE's latents."""
        return self.pipeline.vae.config.shift_factor or 0.0

    def _vae_batch(self, pixels: int) -> int:
        """Return how many images of so many pixels the VAE takes at a time."""
        return 1 if self.device.type == "cpu" else max(1, PIXELS // pixels)

    def embed(self, prompts: list[str]) -> Embedding:
        """Return the embeddings of B prompts, B rows, as the stock pipeline makes them.

        Equal prompts are encoded once, and each alone, so that it does not depend on the others.
        None is remembered, because users may change the pipeline. A prompt that is too long for
        the text encoders is cut, with one warning. The first that is too long for some of them
        alone brings a warning of each.
        """
        embeddings = {prompt: self._embedding(prompt) for prompt in dict.fromkeys(prompts)}
        return Embedding.cat([embeddings[prompt] for prompt in prompts])

    def condition(self, prompts: list[str], guidance: float) -> Condition:
        """Return the condition of B prompts at a guidance, with B rows of the null prompt.

        The null prompt comes at guidance 1 too, since an inverter's guidance may differ.
        """
        null = self._embedding("", null=True).expand(len(prompts))
        return Condition(self.embed(prompts), null, guidance)

    @torch.no_grad()
    def _embedding(self, prompt: str, null: bool = False) -> Embedding:
        with quiet():
            if (excess := self.excess(prompt)) and prompt not in self._cut:
                self._cut.add(prompt)
                log.warning("prompt cut to %d tokens; ignored: '%s'", self._reader[1], excess)
            self._warn_of_brief(prompt)
            return self._encode_prompt(prompt, null)

    def _warn_of_brief(self, prompt: str) -> None:
        """Say of each text encoder that reads less than others, once, when it cuts a prompt."""
        for name, (tokenizer, longest) in self._brief.items():
            if name not in self._cutters and (end := self._beyond(prompt, tokenizer, longest)):
                self._cutters.add(name)
                log.warning(
                    "%s reads %d tokens of a prompt, fewer than %d; it ignores: '%s'",
                    name,
                    longest,
                    self._reader[1],
                    end,
                )

    def excess(self, prompt: str) -> str:
        """Return the end of a prompt that is cut off, because no encoder reads more."""
        return self._beyond(prompt, *self._reader)

    def _beyond(self, prompt: str, tokenizer: PreTrainedTokenizerBase, longest: int) -> str:
        """Return the end of a prompt beyond the ``longest`` tokens that an encoder reads."""
        with quiet():
            ids = tokenizer(self._converted(prompt, tokenizer)).input_ids
            return str(tokenizer.decode(ids[longest - 1 : -1])) if len(ids) > longest else ""

    def _converted(self, prompt: str, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return a prompt with textual inversions as their tokens, where the pipeline has any."""
        convert = getattr(self.pipeline, "maybe_convert_prompt", None)
        return prompt if convert is None else str(convert(prompt, tokenizer))


def check_embedded_guidance(name: str, takes: bool, guidance: float | None) -> None:
    """Check that a network is told a guidance if, and only if, it takes one.

    Raises:
        UserError: it is not so.
    """
    if takes != (guidance is not None):
        remedy = "a number, e.g. 3.5" if takes else "null, as its network takes none"
        raise UserError(f"model.embedded_guidance must be {remedy}, for model {name}")


# One entry: jobs of a sweep share the weights of the model that they have in common.
@lru_cache(maxsize=1)
def _load(weights: Weights, device: torch.device, switches: Switches) -> tuple[Pipeline, Any]:
    """Return the stock pipeline of a folder, frozen, on the device, and our scheduler in it."""
    pipeline = load_pipeline(weights)
    if weights.lora:
        merge_lora(pipeline, weights.lora)
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval().requires_grad_(False)
    place(pipeline, denoising_network(pipeline), device, switches)
    return pipeline, pipeline.scheduler
