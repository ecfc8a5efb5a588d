"""Rules for a folder of weights: the class of each part and the values of its keys.

A key that only shapes the part's own class (widths, activations, blocks) may have any value, since
diffusers builds that class from it. A key that changes how the pipeline calls the part, scales its
latents or walks through its noise levels may only have the values that this program carries out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """The values that a key may have.

    Arguments:
        accepts: Whether a value is one of them.
        words: They in words, to follow "it must be".
    """

    accepts: Callable[[Any], bool]
    words: str


Rules = Mapping[str, Rule]


def only(*values: object) -> Rule:
    """Return the rule that a key has one of these values."""
    # as JSON, because Python holds that 1 == True
    texts = [json.dumps(value) for value in values]
    return Rule(lambda value: json.dumps(value) in texts, " or ".join(texts))


def each(*names: str) -> Rule:
    """Return the rule that a key has a list of these names."""
    return Rule(
        lambda value: isinstance(value, (list, tuple)) and all(name in names for name in value),
        f"a list of {' and '.join(names)}",
    )


def is_whole(value: object) -> bool:
    """Return whether a value is a positive whole number."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def side_of(value: Any) -> int:  # noqa: ANN401
    """Return the side of a square from a ``sample_size``: a number or two equal ones."""
    return int(value[0] if isinstance(value, (list, tuple)) else value)


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


def _is_square(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) == 2 and value[0] == value[1] and is_whole(value[0])
    return is_whole(value)


def _are_betas(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_number(beta) and 0 < beta < 1 for beta in value)
    return value is None


ANY = Rule(lambda value: True, "anything")
WHOLE = Rule(is_whole, "a positive whole number")
NUMBER = Rule(_is_number, "a number")
SCALE = Rule(lambda value: _is_number(value) and value > 0, "a positive number")
BETA = Rule(lambda value: _is_number(value) and 0 < value < 1, "a number between 0 and 1")
BETAS = Rule(_are_betas, "null or a list of numbers between 0 and 1")
SQUARE = Rule(_is_square, "a whole number or two equal ones, as images are square")
SQUARE_OR_NULL = Rule(lambda value: value is None or _is_square(value), f"null, {SQUARE.words}")
ABSENT = only(None, False)


def anything(keys: str) -> Rules:
    """Return the rules of keys, separated by blanks, that may have any value."""
    return dict.fromkeys(keys.split(), ANY)


VAE: Rules = {
    "in_channels": only(3),
    "out_channels": only(3),
    "latent_channels": WHOLE,
    "sample_size": SQUARE,
    "scaling_factor": SCALE,
    # the stock pipelines differ in whether they apply these
    "shift_factor": only(None, 0, 0.0),
    "latents_mean": only(None),
    "latents_std": only(None),
    **anything(
        "down_block_types up_block_types block_out_channels layers_per_block act_fn "
        "norm_num_groups force_upcast use_quant_conv use_post_quant_conv mid_block_add_attention"
    ),
}

NOT_AT_ALL = Rule(
    lambda value: value is False or (isinstance(value, list) and not any(value)), "false"
)

AVERAGE: Rules = anything(
    "decay inv_gamma min_decay optimization_step power update_after_step use_ema_warmup"
)
"""Keys of a running average that a trainer saved as a network."""

UNET: Rules = {
    "sample_size": SQUARE_OR_NULL,  # null: the VAE's
    "in_channels": WHOLE,
    "out_channels": WHOLE,
    "cross_attention_dim": WHOLE,
    "down_block_types": each("DownBlock2D", "CrossAttnDownBlock2D"),
    "mid_block_type": only("UNetMidBlock2DCrossAttn"),
    "up_block_types": each("UpBlock2D", "CrossAttnUpBlock2D"),
    # inputs beside latents, timestep and prompt
    "addition_embed_type": only(None),
    "class_embed_type": only(None),
    "num_class_embeds": only(None),
    "class_embeddings_concat": only(False),
    "encoder_hid_dim": only(None),
    "encoder_hid_dim_type": only(None),
    "time_cond_proj_dim": Rule(
        lambda value: value is None or is_whole(value), f"null or {WHOLE.words}"
    ),
    # attention that edits of the prompt would not reach
    "attention_type": only("default"),
    "dual_cross_attention": only(False),
    "only_cross_attention": NOT_AT_ALL,
    "mid_block_only_cross_attention": ABSENT,
    **anything(
        "center_input_sample flip_sin_to_cos freq_shift block_out_channels layers_per_block "
        "downsample_padding mid_block_scale_factor dropout act_fn norm_num_groups norm_eps "
        "transformer_layers_per_block reverse_transformer_layers_per_block attention_head_dim "
        "num_attention_heads use_linear_projection upcast_attention resnet_time_scale_shift "
        "resnet_skip_time_act resnet_out_scale_factor time_embedding_type time_embedding_dim "
        "time_embedding_act_fn timestep_post_act conv_in_kernel conv_out_kernel "
        "cross_attention_norm addition_embed_type_num_heads addition_time_embed_dim "
        "projection_class_embeddings_input_dim"
    ),
    **AVERAGE,
}

UNET_XL: Rules = {
    **UNET,
    "addition_embed_type": only("text_time"),
    "addition_time_embed_dim": WHOLE,
    "projection_class_embeddings_input_dim": WHOLE,
}

TEXT_ENCODER: Rules = {
    "model_type": only("clip_text_model"),
    "vocab_size": WHOLE,
    "hidden_size": WHOLE,
    "projection_dim": WHOLE,
    "max_position_embeddings": WHOLE,
    "num_hidden_layers": WHOLE,
    **anything(
        "architectures transformers_version dtype torch_dtype intermediate_size hidden_act "
        "num_attention_heads layer_norm_eps attention_dropout dropout initializer_range "
        "initializer_factor pad_token_id bos_token_id eos_token_id"
    ),
}

# transformers reads the other keys, which are many; the pipeline needs this one.
TOKENIZER: Rules = {"model_max_length": WHOLE}

NOISE_LEVELS: Rules = {
    "num_train_timesteps": WHOLE,
    "beta_start": BETA,
    "beta_end": BETA,
    "beta_schedule": only("linear", "scaled_linear", "squaredcos_cap_v2"),
    "trained_betas": BETAS,
    "rescale_betas_zero_snr": only(False, True),
    "prediction_type": only("epsilon", "v_prediction", "sample"),
}
"""Keys of a scheduler that say what the network was trained with, which we take over."""

SPACING: Rules = {
    "timestep_spacing": only("leading", "trailing", "linspace"),
    "interpolation_type": only("linear"),
    "sigma_min": only(None),
    "sigma_max": only(None),
    "lambda_min_clipped": only(-math.inf),
    **dict.fromkeys(("use_karras_sigmas", "use_exponential_sigmas"), only(None, False, True)),
    **dict.fromkeys(("use_beta_sigmas", "use_lu_lambdas"), ABSENT),
}
"""Keys of a scheduler that say which noise levels it visits; ``model.spacing`` outranks them."""

SCHEDULER: Rules = {
    **NOISE_LEVELS,
    # of what the network is told
    "timestep_type": only("discrete"),
    # our grid ends at the first noise level, to which both lead
    "steps_offset": only(0, 1),
    "set_alpha_to_one": only(False, True),
    # a clipped step cannot be undone
    "clip_sample": ABSENT,
    "thresholding": ABSENT,
    "use_flow_sigmas": ABSENT,
    "use_dynamic_shifting": ABSENT,
    "shift_terminal": only(None),
    "variance_type": only(
        None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"
    ),
    # of other samplers, or of what is switched off above
    **anything(
        "clip_sample_range dynamic_thresholding_ratio sample_max_value skip_prk_steps "
        "final_sigmas_type solver_order solver_type algorithm_type "
        "lower_order_final euler_at_final predict_x0 disable_corrector "
        "solver_p flow_shift time_shift_type original_inference_steps timestep_scaling"
    ),
}

SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "LCMScheduler",
)
"""Schedulers that are defined by betas, from which DDIM's noise levels follow."""


@dataclass(frozen=True)
class Part:
    """Rules for a part of a pipeline.

    Arguments:
        file: Its configuration within its folder.
        library: The library of its class.
        classes: The classes that it may have.
        rules: The values that the keys of its configuration may have.
        complete: Whether a key without a rule is refused.
        optional: Whether the pipeline can do without the part.
    """

    file: str
    library: str
    classes: Iterable[str]
    rules: Rules
    complete: bool = True
    optional: bool = False


CLIP_TOKENIZER = Part(
    "tokenizer_config.json",
    "transformers",
    ("CLIPTokenizer", "CLIPTokenizerFast"),
    TOKENIZER,
    False,
)

STABLE_DIFFUSION: Mapping[str, Part] = {
    "scheduler": Part("scheduler_config.json", "diffusers", SCHEDULERS, SCHEDULER),
    "vae": Part("config.json", "diffusers", ("AutoencoderKL",), VAE),
    "unet": Part("config.json", "diffusers", ("UNet2DConditionModel",), UNET),
    "tokenizer": CLIP_TOKENIZER,
    "text_encoder": Part("config.json", "transformers", ("CLIPTextModel",), TEXT_ENCODER),
}

PIPELINES: Mapping[str, Mapping[str, Part]] = {
    "StableDiffusionPipeline": {
        **STABLE_DIFFUSION,
        # This pipeline switches the clipping of its scheduler off by itself.
        "scheduler": Part(
            "scheduler_config.json",
            "diffusers",
            SCHEDULERS,
            {**SCHEDULER, **anything("clip_sample")},
        ),
    },
    "LatentConsistencyModelPipeline": STABLE_DIFFUSION,
    "StableDiffusionXLPipeline": {
        **STABLE_DIFFUSION,
        "unet": Part("config.json", "diffusers", ("UNet2DConditionModel",), UNET_XL),
        "tokenizer_2": CLIP_TOKENIZER,
        "text_encoder_2": Part(
            "config.json", "transformers", ("CLIPTextModelWithProjection",), TEXT_ENCODER
        ),
    },
}
"""The pipelines that can be inverted, with their parts."""
