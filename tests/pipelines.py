"""Tiny pipelines with random weights, of the classes and in the format of the real ones.

Their UNets are calibrated: the output is as large as half a unit of noise and depends on the
prompt, yet is smooth enough for the fixed-point iteration to contract from 10 steps on.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PNDMScheduler,
    SchedulerMixin,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.loaders import TextualInversionLoaderMixin
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerBase,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

IMAGE_SIZE = 64
WIDTH = 32
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def tokenizer(length: int = 77, merges: Sequence[tuple[str, str]] = ()) -> CLIPTokenizer:
    """A CLIP tokenizer whose tokens are bytes, and what ``merges`` make of them."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    tokens = [*words, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges), model_max_length=length)


class TextPipeline(TextualInversionLoaderMixin):
    """The part of a pipeline that reads prompts."""

    def __init__(self, words: PreTrainedTokenizerBase) -> None:
        self.tokenizer = words


def text_config(words: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=words.model_max_length,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


@torch.no_grad()
def autoencoder() -> AutoencoderKL:
    """A VAE of scale factor 4 whose latents have unit variance after scaling."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 16, 16),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=IMAGE_SIZE,
    ).eval()
    images = torch.rand(4, 3, IMAGE_SIZE, IMAGE_SIZE) * 2 - 1
    spread = float(vae.encode(images).latent_dist.mode().std())
    vae.register_to_config(scaling_factor=1 / spread)
    return vae


@torch.no_grad()
def unet(context: int, xl: bool = False, told: int | None = None) -> UNet2DConditionModel:
    """A calibrated UNet on 16x16 latents.

    ``context`` is the width of the token states, ``told`` that of the guidance it is told.
    """
    labels = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": WIDTH + 6 * 8,
    }
    network = UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(WIDTH, WIDTH),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=2,
        cross_attention_dim=context,
        use_linear_projection=xl,
        time_cond_proj_dim=told,
        **(labels if xl else {}),
    ).eval()
    for name, weight in network.named_parameters():
        if "attn2.to_" in name and weight.ndim == 2:
            weight.mul_(2)  # a random network hardly listens to the prompt
    # Without it normalisation would magnify small latents, and the smoothness be lost there.
    network.conv_in.bias.normal_()
    z, states = torch.randn(4, 4, 16, 16), torch.randn(4, 77, context)
    pooled = {"text_embeds": torch.randn(4, WIDTH), "time_ids": torch.full((4, 6), 64.0)}
    output = network(z, torch.tensor(500), states, added_cond_kwargs=pooled if xl else None).sample
    network.conv_out.weight.mul_(0.5 / output.std())
    network.conv_out.bias.zero_()
    return network


def tiny_sd15(folder: Path, length: int = 77) -> Path:
    """Saves a Stable Diffusion 1.5 in miniature: epsilon, PNDM as shipped; returns the folder."""
    torch.manual_seed(15)
    words = tokenizer(length)
    scheduler = PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False)
    return _save_sd(folder, words, scheduler)


def tiny_sd21(folder: Path) -> Path:
    """Saves a Stable Diffusion 2.1 in miniature: v-prediction, DDIM as shipped."""
    torch.manual_seed(21)
    scheduler = DDIMScheduler(
        **BETAS,
        prediction_type="v_prediction",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
    )
    return _save_sd(folder, tokenizer(), scheduler)


def _save_sd(folder: Path, words: CLIPTokenizer, scheduler: PNDMScheduler | DDIMScheduler) -> Path:
    StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=CLIPTextModel(text_config(words)).eval(),
        tokenizer=words,
        unet=unet(WIDTH),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def tiny_lcm(folder: Path) -> Path:
    """Saves a latent consistency model in miniature: its UNet is told the guidance."""
    torch.manual_seed(7)
    words = tokenizer()
    LatentConsistencyModelPipeline(
        vae=autoencoder(),
        text_encoder=CLIPTextModel(text_config(words)).eval(),
        tokenizer=words,
        unet=unet(WIDTH, told=WIDTH),
        scheduler=LCMScheduler(**BETAS),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def tiny_sdxl(folder: Path, zeros: bool = True) -> Path:
    """Saves a Stable Diffusion XL in miniature: two text encoders, Euler as shipped.

    ``zeros`` is force_zeros_for_empty_prompt, True in the base model.
    """
    torch.manual_seed(10)
    scheduler = EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading")
    return _save_sdxl(folder, scheduler, zeros)


def tiny_sdxl_turbo(folder: Path) -> Path:
    """Saves an SDXL-Turbo in miniature: XL with the scheduler that Turbo ships with."""
    torch.manual_seed(12)
    # Its sigmas are made in a way that NumPy warns of.
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        scheduler = EulerAncestralDiscreteScheduler(
            **BETAS, steps_offset=1, timestep_spacing="trailing"
        )
    return _save_sdxl(folder, scheduler)


def _save_sdxl(folder: Path, scheduler: SchedulerMixin, zeros: bool = True) -> Path:
    words = tokenizer()
    StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=CLIPTextModel(text_config(words)).eval(),
        text_encoder_2=CLIPTextModelWithProjection(text_config(words)).eval(),
        tokenizer=words,
        tokenizer_2=words,
        unet=unet(2 * WIDTH, xl=True),
        scheduler=scheduler,
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def t5_tokenizer() -> T5Tokenizer:
    """A T5 tokenizer whose tokens are letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [(letter, -3.0) for letter in "▁abcdefghijklmnopqrstuvwxyz.,'"]
    return T5Tokenizer(vocab=[*pieces, *letters], extra_ids=0, model_max_length=77)


def t5_encoder(words: T5Tokenizer, width: int) -> T5EncoderModel:
    sizes = {"d_kv": 8, "d_ff": WIDTH, "num_layers": 2, "num_heads": 4}
    return T5EncoderModel(T5Config(vocab_size=len(words), d_model=width, **sizes)).eval()


@torch.no_grad()
def shifted_autoencoder() -> AutoencoderKL:
    """A VAE like that of :func:`autoencoder`, whose latents have a mean to be taken away."""
    vae = autoencoder()
    vae.register_to_config(shift_factor=0.06)
    return vae


@torch.no_grad()
def calibrated(transformer: torch.nn.Module, **inputs: torch.Tensor) -> torch.nn.Module:
    """Return a random transformer whose output is as large as its latents, and listens."""
    for weight in transformer.parameters():
        if weight.ndim > 1:
            weight.mul_(1.6)
    output = transformer(**inputs, return_dict=False)[0]
    transformer.proj_out.weight.mul_(1 / output.std())
    transformer.proj_out.bias.zero_()
    return transformer.eval()


def tiny_sd3(folder: Path, t5: bool = True) -> Path:
    """Saves a Stable Diffusion 3 in miniature: three text encoders, shift 3 as shipped."""
    torch.manual_seed(3)
    words, pieces = tokenizer(), t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=IMAGE_SIZE // 4,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=WIDTH,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
    )
    calibrated(
        transformer,
        hidden_states=torch.randn(4, 4, 16, 16),
        timestep=torch.full((4,), 500.0),
        encoder_hidden_states=torch.randn(4, 90, 2 * WIDTH),
        pooled_projections=torch.randn(4, 2 * WIDTH),
    )
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=shifted_autoencoder(),
        text_encoder=CLIPTextModelWithProjection(text_config(words)).eval(),
        text_encoder_2=CLIPTextModelWithProjection(text_config(words)).eval(),
        text_encoder_3=t5_encoder(pieces, 2 * WIDTH) if t5 else None,
        tokenizer=words,
        tokenizer_2=words,
        tokenizer_3=pieces if t5 else None,
    ).save_pretrained(folder)
    return folder


def tiny_flux(folder: Path, guidance: bool = True) -> Path:
    """Saves a FLUX.1 in miniature: dev, or without ``guidance`` schnell."""
    torch.manual_seed(1)
    words, pieces = tokenizer(), t5_tokenizer()
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance,
    )
    calibrated(
        transformer,
        hidden_states=torch.randn(4, 64, 16),
        timestep=torch.full((4,), 0.5),
        guidance=torch.full((4,), 3.5) if guidance else None,
        encoder_hidden_states=torch.randn(4, 20, WIDTH),
        pooled_projections=torch.randn(4, WIDTH),
        txt_ids=torch.zeros(20, 3),
        img_ids=FluxPipeline._prepare_latent_image_ids(1, 8, 8, "cpu", torch.float32),
    )
    dynamic = {"shift": 3.0, "use_dynamic_shifting": True} if guidance else {}
    FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**dynamic),
        vae=shifted_autoencoder(),
        text_encoder=CLIPTextModel(text_config(words)).eval(),
        text_encoder_2=t5_encoder(pieces, WIDTH),
        tokenizer=words,
        tokenizer_2=pieces,
    ).save_pretrained(folder)
    return folder
