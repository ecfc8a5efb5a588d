"""Rules for the pipelines of rectified flow, whose network is a transformer."""

from __future__ import annotations

from collections.abc import Mapping

from fpinv.models.rules import (
    ABSENT,
    ANY,
    CLIP_TOKENIZER,
    NUMBER,
    SCALE,
    SQUARE,
    STABLE_DIFFUSION,
    TEXT_ENCODER,
    VAE,
    WHOLE,
    Part,
    Rules,
    anything,
    only,
)

FLOW_SCHEDULER: Rules = {
    "num_train_timesteps": only(1000),  # the pipelines divide the labels by it
    "shift": SCALE,
    "use_dynamic_shifting": only(False, True),
    "base_shift": NUMBER,
    "max_shift": NUMBER,
    "base_image_seq_len": WHOLE,
    "max_image_seq_len": WHOLE,
    "time_shift_type": only("exponential", "linear"),
    # grids that do not run from the image to the noise, and steps that draw noise
    "invert_sigmas": ABSENT,
    "shift_terminal": only(None),
    "stochastic_sampling": ABSENT,
    "use_karras_sigmas": ABSENT,
    "use_exponential_sigmas": ABSENT,
    "use_beta_sigmas": ABSENT,
}

_SIZES = anything(
    "num_layers attention_head_dim num_attention_heads joint_attention_dim pooled_projection_dim"
)

SD3: Rules = {
    **_SIZES,
    "sample_size": SQUARE,
    "patch_size": WHOLE,
    "in_channels": WHOLE,
    "out_channels": WHOLE,
    "pos_embed_max_size": WHOLE,
    **anything("caption_projection_dim dual_attention_layers qk_norm"),
}

FLUX: Rules = {
    **_SIZES,
    "patch_size": only(1),  # the pipeline packs 2 x 2 latents into a token by itself
    "in_channels": WHOLE,
    "out_channels": ANY,  # null: as many
    "guidance_embeds": only(False, True),
    **anything("num_single_layers axes_dims_rope"),
}

# transformers builds the encoder from all other keys
T5: Rules = {"model_type": only("t5"), "d_model": WHOLE, "vocab_size": WHOLE}


def _t5(optional: bool) -> tuple[Part, Part]:
    """Return the parts of a T5 encoder: the tokenizer and the network."""
    tokenizers = ("T5TokenizerFast", "T5Tokenizer")
    return (
        Part("tokenizer_config.json", "transformers", tokenizers, {}, False, optional),
        Part("config.json", "transformers", ("T5EncoderModel",), T5, False, optional),
    )


def _transformer(kind: str, rules: Rules) -> Part:
    return Part("config.json", "diffusers", (kind,), rules)


_CLIP = Part("config.json", "transformers", ("CLIPTextModelWithProjection",), TEXT_ENCODER)
_COMMON: Mapping[str, Part] = {
    "scheduler": Part(
        "scheduler_config.json",
        "diffusers",
        ("FlowMatchEulerDiscreteScheduler",),
        FLOW_SCHEDULER,
    ),
    "vae": Part("config.json", "diffusers", ("AutoencoderKL",), {**VAE, "shift_factor": NUMBER}),
    "tokenizer": CLIP_TOKENIZER,
}

FLOW_PIPELINES: Mapping[str, Mapping[str, Part]] = {
    "StableDiffusion3Pipeline": {
        **_COMMON,
        "transformer": _transformer("SD3Transformer2DModel", SD3),
        "text_encoder": _CLIP,
        "tokenizer_2": CLIP_TOKENIZER,
        "text_encoder_2": _CLIP,
        **dict(zip(("tokenizer_3", "text_encoder_3"), _t5(optional=True), strict=True)),
    },
    "FluxPipeline": {
        **_COMMON,
        "transformer": _transformer("FluxTransformer2DModel", FLUX),
        "text_encoder": STABLE_DIFFUSION["text_encoder"],
        **dict(zip(("tokenizer_2", "text_encoder_2"), _t5(optional=False), strict=True)),
    },
}
"""The pipelines of rectified flow that can be inverted, with their parts."""
