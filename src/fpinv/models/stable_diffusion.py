"""Stable Diffusion 1.x, 2.x and XL, and whatever else is stored in their format."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache, reduce
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import model_info
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from torch import Tensor
from transformers.utils import logging as transformers_logging

from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.errors import UserError
from fpinv.models.weights import local_folder
from fpinv.schedule import Schedule

Precision = Literal["fp32", "tf32", "fp16", "bf16"]

log = logging.getLogger(__name__)

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
HUB_TIMEOUT = 5.0
PIXELS = 512**2
"""What the VAE takes at a time on a GPU, where one small image would not fill it."""


class StableDiffusion:
    r"""A latent diffusion model through diffusers' own classes, on the DDIM grid.

    Whatever scheduler ships with the weights, its noise levels and prediction type are put on the
    grid that inversion needs: leading spacing, offset 1, clean end at the first noise level.

    The VAE always runs in float32: half precision costs it more than an inverter loses, and that
    of XL overflows. It takes images one at a time, so that results do not depend on the batch nor
    memory on its size; small ones on a GPU as many at a time as 512 px images have pixels.
    The text encoders and the UNet run in ``precision``; latents are float32 throughout.

    Parameters are frozen, so nothing is recorded for a gradient unless an input asks for one:
    latents and embeddings that do get it through the denoiser, ``encode`` and ``decode``.

    Arguments:
        path: Name on the Hugging Face hub, a folder in diffusers format, or the folder of an
            installed package as ``pkg://package.module``. A copy in the local cache is taken
            without asking the hub.
        revision: Branch, tag or commit on the hub.
        name: Short name for records.
        image_size: Side of the images in pixels; None is the side the network was trained at.
        precision: Of the text encoders and the UNet. ``tf32`` is fp32 whose products NVIDIA's
            cards round to 11 bits, which is faster. In all others nothing rounds so, although
            torch lets convolutions: exact methods would be 50 dB less exact. Both are switches
            of the process, as torch has them, so that the model made last decides.
        device: A torch device, or ``auto``: cuda, else cpu. Not mps, which has no float64
            for residuals and metrics.
        compile: Whether to compile the UNet.
        attention_slicing: Whether attention trades speed for memory.
        variant: Which of several stored weights (file names with ``.fp16.``, say).
        gradient_checkpointing: Whether gradients through the UNet save memory, at the price of a
            second evaluation.

    Attributes:
        pipeline: The stock pipeline, with our scheduler. Models of one process that ask for the
            same weights share it. Its own call needs ``precision`` fp32, because of the VAE.
        dtype: Precision of the UNet and the text encoders.
        commit: The hub's commit of the weights; None for a folder outside the hub's cache.

    Raises:
        UserError: the weights cannot be had, or an argument does not fit them.

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
        name: str,
        revision: str | None = None,
        image_size: int | None = None,
        precision: Precision = "fp32",
        device: str = "auto",
        compile: bool = False,
        attention_slicing: bool = False,
        variant: str | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        if precision not in DTYPES:
            raise UserError(
                f"precision={precision} is unknown: use {', '.join(get_args(Precision))}"
            )
        self.name = name
        self.device = resolve_device(device)
        self.dtype = DTYPES[precision]
        rounds = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = rounds
        folder = find_weights(path, revision, variant)
        self.commit = _commit(folder)
        switches = (compile, attention_slicing, gradient_checkpointing)
        self.pipeline = _load(folder, variant, self.dtype, self.device, *switches)
        self.image_size = self._side(image_size)
        side = self.image_size // self.pipeline.vae_scale_factor
        self.latent_shape = (self.pipeline.unet.config.in_channels, side, side)
        # Users may give the pipeline another scheduler; the grid stays this one.
        self._scheduler = self.pipeline.scheduler
        self._prompt = lru_cache(maxsize=128)(self._embedding)

    def _side(self, image_size: int | None) -> int:
        """The image size asked for, or the network's own.

        The UNet pads odd sides by itself, so the VAE alone limits the size.
        """
        factor = self.pipeline.vae_scale_factor
        trained = self.pipeline.unet.config.sample_size
        default = trained * factor if trained else self.pipeline.vae.config.sample_size
        if image_size is None:
            return default
        if image_size < factor or image_size % factor:
            raise UserError(
                f"image_size={image_size} does not fit model {self.name}: use a multiple of "
                f"{factor} (its own size is {default})"
            )
        return image_size

    @property
    def _scaling(self) -> tuple[float, float]:
        """Scale and shift that take the VAE's latents to the network's."""
        config = self.pipeline.vae.config
        return config.scaling_factor, config.shift_factor or 0.0

    def encode(self, images: Tensor) -> Tensor:
        """Latents (B, C, H/f, W/f) of images (B, 3, H, W) in [-1, 1]; f is the VAE's factor.

        The posterior's mode, not a sample, so that the latent of an image is one thing.
        """
        scale, shift = self._scaling
        pixels = images.to(self.device, torch.float32).split(self._together)
        encoded = [self.pipeline.vae.encode(part).latent_dist.mode() for part in pixels]
        return (torch.cat(encoded) - shift) * scale

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W), clamped to [-1, 1], of latents (B, C, H/f, W/f)."""
        scale, shift = self._scaling
        z = (latents.to(self.device, torch.float32) / scale + shift).split(self._together)
        decoded = [self.pipeline.vae.decode(part, return_dict=False)[0] for part in z]
        return torch.cat(decoded).clamp(-1, 1)

    @property
    def _together(self) -> int:
        """Images that the VAE takes at a time."""
        if self.device.type == "cpu":
            return 1
        return max(1, PIXELS // self.image_size**2)

    def embed(self, prompts: list[str]) -> Embedding:
        """Embeddings of prompts, B rows, as the stock pipeline makes them.

        Prompts are encoded one at a time and remembered. One that is too long for the text
        encoder is cut, with a warning.
        """
        return reduce(Embedding.cat, map(self._prompt, prompts))

    def condition(self, prompts: list[str], guidance: float) -> Condition:
        """The condition of B prompts, with the null prompt: an inverter's guidance may differ."""
        return Condition(self.embed(prompts), self._null.expand(len(prompts)), guidance)

    def denoiser(self, steps: int) -> Denoiser:
        """The denoiser on a grid of ``steps`` steps, its counts at zero.

        Raises:
            UserError: ``steps`` does not fit the scheduler.
        """
        schedule = Schedule.from_scheduler(self._scheduler, steps)
        return Denoiser(self._network, schedule, self.dtype, self.device)

    @cached_property
    def _null(self) -> Embedding:
        """The null prompt; zeros for XL, whose pipeline does not ask the text encoders."""
        return self._embedding("", null=True)

    @torch.no_grad()
    def _embedding(self, prompt: str, null: bool = False) -> Embedding:
        """The stock pipeline's embedding of a prompt, or of no prompt, as one row."""
        with quiet():
            self._warn_if_cut(prompt)
            states = self.pipeline.encode_prompt(
                prompt=prompt,
                device=self.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=null,
            )
        # SD: (prompt, null); XL: (prompt, null, pooled prompt, pooled null).
        tokens, *pooled = states[int(null) :: 2]
        if not pooled:
            return Embedding(tokens)
        original, corner = [self.image_size] * 2, [0, 0]
        time_ids = torch.tensor([original + corner + original], dtype=tokens.dtype)
        return Embedding(tokens, pooled[0], time_ids.to(self.device))

    def _warn_if_cut(self, prompt: str) -> None:
        tokenizer = self.pipeline.tokenizer
        ids, longest = tokenizer(prompt).input_ids, tokenizer.model_max_length
        if len(ids) > longest:
            lost = tokenizer.decode(ids[longest - 1 : -1])
            log.warning("prompt cut to %d tokens; ignored: '%s'", longest, lost)

    def _network(self, z: Tensor, timestep: Tensor, embedding: Embedding) -> Tensor:
        """The UNet's output (R, C, H, W) at latents (R, C, H, W), a label and R embeddings."""
        labels = None
        if embedding.pooled is not None:
            labels = {"text_embeds": embedding.pooled, "time_ids": embedding.time_ids}
        return self.pipeline.unet(
            z,
            timestep,
            encoder_hidden_states=embedding.tokens.to(self.dtype),
            added_cond_kwargs=labels,
            return_dict=False,
        )[0]


def resolve_device(device: str) -> torch.device:
    """The torch device of that name; ``auto`` is cuda, else cpu.

    Raises:
        UserError: the name means nothing or this machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise UserError(f"device={device} is unknown: use auto, cuda or cpu") from None
    count = {"cuda": torch.cuda.device_count(), "cpu": 1}.get(chosen.type, 0)
    if (chosen.index or 0) >= count:
        raise UserError(f"device={device} is not available on this machine: use device=auto")
    return chosen


def find_weights(path: str, revision: str | None = None, variant: str | None = None) -> Path:
    """The folder with a model's weights: itself a folder, or cached, or downloaded.

    The cache comes before the hub, so that a run without a network starts at once and repeated
    runs use the same commit.

    Raises:
        UserError: there is no such folder, it is not complete, or the hub cannot be had.
    """
    folder = local_folder(path)
    if folder.is_dir():
        if lacking := _lacking(folder):
            raise UserError(
                f"model.path={path} lacks {lacking}: it must be a folder in diffusers format "
                "(as save_pretrained writes it)"
            )
        return folder.resolve()
    # The safety checker is not loaded, so it is not downloaded.
    options = {"revision": revision, "variant": variant, "safety_checker": None}
    with quiet():
        try:
            cached = Path(DiffusionPipeline.download(path, local_files_only=True, **options))
        except HFValidationError:
            raise UserError(f"model.path={path}: there is no such folder") from None
        except (OSError, ValueError):
            cached = None
    if cached is not None and not _lacking(cached):
        return cached
    return _download(path, options)


def _lacking(folder: Path) -> str | None:
    """The first thing without which a folder is no pipeline, or None."""
    if not (folder / "model_index.json").is_file():
        return "model_index.json"
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        files = (folder / part).glob("*")
        weights = any(file.suffix in (".safetensors", ".bin") and file.is_file() for file in files)
        if part in _index(folder) and not weights:
            return f"the weights of its {part}"
    return None


def _index(folder: Path) -> dict[str, Any]:
    """What model_index.json lists, without the parts that are null there."""
    try:
        index = json.loads((folder / "model_index.json").read_text())
        return {k: v for k, v in index.items() if not isinstance(v, list) or v[0] is not None}
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{folder / 'model_index.json'} is not what it should be: {error}"
        ) from None


def _download(path: str, options: dict[str, Any]) -> Path:
    """The folder of a model after fetching it from the hub.

    Raises:
        UserError: with what stood in the way.
    """
    try:
        # Asked first and with a time limit: downloads have none and wait for ever.
        model_info(path, revision=options["revision"], timeout=HUB_TIMEOUT)
        return Path(DiffusionPipeline.download(path, **options))
    except GatedRepoError:
        raise UserError(
            f"model '{path}' is gated: accept its terms on its page on the hub, then log in with "
            "`hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise UserError(
            f"model '{path}' has no revision '{options['revision']}': check model.revision"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"model '{path}' is neither a folder nor on the hub: check model.path, or log in with "
            "`hf auth login` if it is private"
        ) from None
    except Exception as error:  # the classes of transport errors change from version to version
        raise UserError(
            f"model '{path}' is neither in the local cache nor could the hub be reached "
            f"({_first_line(error)}): connect once, or pass "
            "model.path=<folder in diffusers format>"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _commit(folder: Path) -> str | None:
    """The commit that a folder of the hub's cache is named after; None for any other folder."""
    cached = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if cached else None


# One entry: jobs of a sweep share the weights of the model that they have in common.
@lru_cache(maxsize=1)
def _load(
    folder: Path,
    variant: str | None,
    dtype: torch.dtype,
    device: torch.device,
    compile: bool,
    attention_slicing: bool,
    gradient_checkpointing: bool,
) -> DiffusionPipeline:
    """The stock pipeline of a folder, frozen, on the device, with our scheduler."""
    if (kind := _index(folder).get("_class_name")) not in PIPELINES:
        raise UserError(f"{folder} holds a {kind}; only {' and '.join(PIPELINES)} can be inverted")
    try:
        with quiet():
            pipeline = DiffusionPipeline.from_pretrained(
                folder,
                variant=variant,
                dtype={"vae": torch.float32, "default": dtype},
                # Given ready-made, because the pipeline rewrites the one that ships.
                scheduler=_scheduler(folder),
                safety_checker=None,
            ).to(device)
    except (OSError, ValueError) as error:
        raise UserError(f"the model in {folder} cannot be loaded: {_first_line(error)}") from error
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    if attention_slicing:
        pipeline.enable_attention_slicing()
    if gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
    if compile:
        pipeline.unet.compile()
    return pipeline


def _scheduler(folder: Path) -> DDIMScheduler:
    """The shipped noise levels and prediction type on the grid that inversion needs.

    The clean end lies at the first noise level, where the last step can still be undone, and
    nothing is clipped, because a clipped step cannot.
    """
    return DDIMScheduler.from_pretrained(
        folder,
        subfolder="scheduler",
        timestep_spacing="leading",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
        thresholding=False,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps diffusers and transformers from writing to the terminal; errors still come through."""
    libraries = (diffusers_logging, transformers_logging)
    before = [(lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in libraries]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for lib in libraries:
            lib.set_verbosity_error()
            lib.disable_progress_bar()
        try:
            yield
        finally:
            for lib, (verbosity, bars) in zip(libraries, before, strict=True):
                lib.set_verbosity(verbosity)
                if bars:
                    lib.enable_progress_bar()
