"""Model folders: what is accepted is carried out as the stock pipeline does, all else refused."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from pipelines import BETAS, IMAGE_SIZE, tiny_flux, tiny_sd3, tiny_sd15, tiny_sdxl
from safetensors.torch import load_file, save_file

from fpinv.errors import UserError
from fpinv.models import latent_model, rules, transformer_rules
from fpinv.models.flow_reading import FlowReading
from fpinv.models.parts import _defaults, read_parts
from fpinv.models.pipeline import _tokenizer
from fpinv.models.samplers import AncestralSampler, DPMSolver, EulerSampler, LCMSampler
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.models.weights import quiet
from fpinv.sampling import sample

FILES = {
    "scheduler": "scheduler_config.json",
    "tokenizer": "tokenizer_config.json",
    "tokenizer_2": "tokenizer_config.json",
}
PROMPT = "a red circle"
STEPS = 2

# The schedulers of Stable Diffusion 1.5, 2.1 and XL, and of the turbo models, as published.
COMMON = {**BETAS, "num_train_timesteps": 1000, "trained_betas": None, "clip_sample": False}
COMMON |= {"set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1}
EULER = {"interpolation_type": "linear", "sample_max_value": 1.0, "use_karras_sigmas": False}
SCHEDULERS = {
    "sd15": ("PNDMScheduler", COMMON),
    "sd21": ("DDIMScheduler", {**COMMON, "prediction_type": "v_prediction"}),
    "sdxl": ("EulerDiscreteScheduler", {**COMMON, **EULER, "timestep_spacing": "leading"}),
    "sd-turbo": ("EulerDiscreteScheduler", {**COMMON, **EULER, "timestep_spacing": "trailing"}),
    "sdxl-turbo": (
        "EulerAncestralDiscreteScheduler",
        {**COMMON, **EULER, "timestep_spacing": "trailing"},
    ),
}

# What the networks and text encoders of 2.1 and XL say that their miniatures do not.
WIDE = {"vocab_size": 49408, "num_hidden_layers": 23, "max_position_embeddings": 77}
LARGE_VAE = {"latent_channels": 16, "sample_size": 1024, "mid_block_add_attention": True}
LARGE_VAE |= {"use_quant_conv": False, "use_post_quant_conv": False}
T5_XXL = {
    "model_type": "t5",
    "d_model": 4096,
    "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu",
}
PUBLISHED = {
    "sd15": {
        "unet": {
            "sample_size": 96,
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "block_out_channels": [320, 640, 1280, 1280],
            "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
            "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
            "use_linear_projection": True,
            "upcast_attention": True,
        },
        "vae": {"sample_size": 768, "block_out_channels": [128, 256, 512, 512]},
        "text_encoder": {**WIDE, "hidden_size": 1024, "hidden_act": "gelu", "dropout": 0.0},
    },
    "sdxl": {
        "unet": {
            "sample_size": 128,
            "cross_attention_dim": 2048,
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
            "transformer_layers_per_block": [1, 2, 10],
            "upcast_attention": None,
            "mid_block_only_cross_attention": None,
        },
        "vae": {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
        "text_encoder": {**WIDE, "hidden_size": 768, "torch_dtype": "float16"},
        "text_encoder_2": {
            **WIDE,
            "hidden_size": 1280,
            "projection_dim": 1280,
            "eos_token_id": 2,
            "pad_token_id": 1,
        },
    },
    "sd3": {  # 3.5, medium
        "transformer": {
            "sample_size": 128,
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 24,
            "attention_head_dim": 64,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "caption_projection_dim": 1536,
            "pooled_projection_dim": 2048,
            "pos_embed_max_size": 384,
            "dual_attention_layers": list(range(13)),
            "qk_norm": "rms_norm",
        },
        "vae": {**LARGE_VAE, "scaling_factor": 1.5305, "shift_factor": 0.0609},
        "text_encoder": {**WIDE, "hidden_size": 768, "projection_dim": 768},
        "text_encoder_2": {**WIDE, "hidden_size": 1280, "projection_dim": 1280},
        "text_encoder_3": T5_XXL,
    },
    "flux": {
        "transformer": {
            "in_channels": 64,
            "out_channels": None,
            "num_layers": 19,
            "num_single_layers": 38,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "pooled_projection_dim": 768,
            "axes_dims_rope": [16, 56, 56],
        },
        "vae": {**LARGE_VAE, "scaling_factor": 0.3611, "shift_factor": 0.1159},
        "text_encoder": {**WIDE, "hidden_size": 768, "projection_dim": 768},
        "text_encoder_2": T5_XXL,
    },
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")
    builders = {"sd15": tiny_sd15, "sdxl": tiny_sdxl, "sd3": tiny_sd3, "flux": tiny_flux}
    return {kind: build(root / kind) for kind, build in builders.items()}


def edit(file, changes):
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in config.items() if v != "left out"}))


def changed(folder, target, part, changes, weights=False):
    """Return a copy of a folder with other values in a part's configuration."""
    ignore = None if weights else shutil.ignore_patterns("*.safetensors")
    copy = Path(shutil.copytree(folder, target / "copy", ignore=ignore))
    edit(copy / part / FILES.get(part, "config.json") if part else copy / part, changes)
    return copy


def with_scheduler(folder, kind, config):
    """Give a folder another scheduler."""
    (folder / "scheduler" / FILES["scheduler"]).write_text(
        json.dumps({"_class_name": kind, **config})
    )
    edit(folder / "model_index.json", {"scheduler": ["diffusers", kind]})
    return folder


def refused(action, *names):
    """Assert that an action is refused in one line with these names."""
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for name in names:
        assert name in message, message


REFUSED = [
    ("sd15", "vae", "latents_mean", [0.1, 0.2, 0.3, 0.4]),
    ("sd15", "vae", "latents_std", [2.0, 2.0, 2.0, 2.0]),
    ("sdxl", "vae", "latents_mean", [0.1, 0.2, 0.3, 0.4]),
    ("sd15", "vae", "shift_factor", 0.5),
    ("sd15", "vae", "scaling_factor", 0),
    ("sd15", "vae", "scaling_factor", "large"),
    ("sd15", "vae", "in_channels", 4),
    ("sd15", "vae", "sample_size", [64, 32]),
    ("sd15", "vae", "a_new_key", 1.5),
    ("sd15", "unet", "in_channels", 9),
    ("sd15", "unet", "out_channels", 8),
    ("sd15", "unet", "sample_size", [16, 8]),
    ("sd15", "unet", "sample_size", "16"),
    ("sd15", "unet", "cross_attention_dim", 64),
    ("sd15", "unet", "addition_embed_type", "text_time"),
    ("sdxl", "unet", "addition_embed_type", None),
    ("sdxl", "unet", "projection_class_embeddings_input_dim", 7),
    ("sd15", "unet", "time_cond_proj_dim", 25.6),
    ("sd15", "unet", "class_embed_type", "timestep"),
    ("sd15", "unet", "num_class_embeds", 1000),
    ("sd15", "unet", "encoder_hid_dim_type", "image_proj"),
    ("sd15", "unet", "attention_type", "gated"),
    ("sd15", "unet", "only_cross_attention", True),
    ("sd15", "unet", "down_block_types", ["SimpleCrossAttnDownBlock2D", "DownBlock2D"]),
    ("sd15", "unet", "a_new_key", "on"),
    ("sd15", "text_encoder", "model_type", "t5"),
    ("sd15", "text_encoder", "hidden_size", 48.5),
    ("sd15", "text_encoder", "a_new_key", True),
    ("sdxl", "text_encoder_2", "hidden_size", 0),
    ("sd15", "tokenizer", "model_max_length", "left out"),
    ("sd15", "tokenizer", "model_max_length", 1e30),
    ("sd15", "tokenizer", "model_max_length", 78),
    ("sdxl", "tokenizer_2", "model_max_length", 78),
    ("sd15", "scheduler", "prediction_type", "flow_prediction"),
    ("sd15", "scheduler", "beta_schedule", "sigmoid"),
    ("sd15", "scheduler", "beta_end", 12),
    ("sd15", "scheduler", "trained_betas", [0.1, 2]),
    ("sd15", "scheduler", "trained_betas", [0.1, 0.2]),
    ("sd15", "scheduler", "num_train_timesteps", 0),
    ("sdxl", "scheduler", "clip_sample", True),
    ("sd15", "scheduler", "thresholding", True),
    ("sd15", "scheduler", "steps_offset", 2),
    ("sd15", "scheduler", "use_flow_sigmas", True),
    ("sd15", "scheduler", "variance_type", "learned_range"),
    ("sdxl", "scheduler", "timestep_type", "continuous"),
    ("sd3", "scheduler", "shift_terminal", 0.1),
    ("sd3", "scheduler", "invert_sigmas", True),
    ("sd3", "scheduler", "use_beta_sigmas", True),
    ("flux", "scheduler", "stochastic_sampling", True),
    ("flux", "scheduler", "num_train_timesteps", 500),
    ("sd3", "transformer", "in_channels", 8),
    ("sd3", "transformer", "pooled_projection_dim", 32),
    ("sd3", "transformer", "a_new_key", 1),
    ("flux", "transformer", "patch_size", 2),
    ("flux", "transformer", "joint_attention_dim", 64),
    ("flux", "transformer", "in_channels", 64),
    ("sd3", "text_encoder_3", "model_type", "umt5"),
    ("sd3", "vae", "shift_factor", "half"),
    ("flux", "vae", "latents_mean", [0.1, 0.2, 0.3, 0.4]),
]


@pytest.mark.parametrize(("kind", "part", "key", "value"), REFUSED)
def test_a_value_that_is_not_carried_out_is_refused(folders, tmp_path, kind, part, key, value):
    folder = changed(folders[kind], tmp_path, part, {key: value})
    shown = {"left out": ""}.get(str(value), json.dumps(value)[:40])
    refused(lambda: read_parts(folder), part, f"{key}={shown}")


@pytest.mark.parametrize(
    ("part", "library", "kind"),
    [
        ("vae", "diffusers", "AutoencoderTiny"),
        ("unet", "diffusers", "UNet2DModel"),
        ("scheduler", "diffusers", "FlowMatchEulerDiscreteScheduler"),
        ("scheduler", "diffusers", "TCDScheduler"),
        ("text_encoder", "transformers", "T5EncoderModel"),
        ("text_encoder", "my_module", "CLIPTextModel"),
        ("text_encoder", None, None),
        ("tokenizer", "transformers", "T5Tokenizer"),
    ],
)
def test_a_part_of_another_class_is_refused(folders, tmp_path, part, library, kind):
    folder = changed(folders["sd15"], tmp_path, "vae", {})
    edit(folder / "model_index.json", {part: [library, kind]})
    refused(lambda: read_parts(folder), "model_index.json", f"{part}=", kind or "null")


def test_an_entry_of_the_index_that_names_no_class_is_refused(folders, tmp_path):
    folder = changed(folders["sd15"], tmp_path, "vae", {})
    edit(folder / "model_index.json", {"vae": []})
    refused(lambda: read_parts(folder), "model_index.json", "vae=[]")


@pytest.mark.parametrize("part", ["vae", "unet", "scheduler"])
def test_a_part_whose_configuration_is_of_another_class_is_refused(folders, tmp_path, part):
    folder = changed(folders["sd15"], tmp_path, part, {"_class_name": "Other"})
    refused(lambda: read_parts(folder), part, "Other")


@pytest.mark.parametrize("part", ["vae", "unet", "scheduler", "text_encoder", "tokenizer"])
@pytest.mark.parametrize(
    ("text", "reason"), [(None, "missing"), ("{", "cannot be read"), ("[]", "not what it")]
)
def test_a_configuration_that_cannot_be_read_is_refused(folders, tmp_path, part, text, reason):
    folder = changed(folders["sd15"], tmp_path, part, {})
    file = folder / part / FILES.get(part, "config.json")
    file.unlink() if text is None else file.write_text(text)
    refused(lambda: read_parts(folder), str(file), reason)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_published_schedulers_are_accepted_with_their_spacing(folders, tmp_path, name):
    folder = with_scheduler(changed(folders["sd15"], tmp_path, "vae", {}), *SCHEDULERS[name])
    scheduler = read_parts(folder)["scheduler"]
    assert scheduler["beta_end"] == 0.012
    assert scheduler["timestep_spacing"] == ("trailing" if "turbo" in name else "leading")


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_networks_are_accepted(folders, tmp_path, kind):
    folder = changed(folders[kind], tmp_path, "vae", {})
    for part, changes in PUBLISHED[kind].items():
        edit(folder / part / "config.json", changes)
    configs = read_parts(folder)
    for part, changes in PUBLISHED[kind].items():
        assert changes.items() <= configs[part].items()


def test_every_argument_of_an_accepted_scheduler_has_a_rule():
    known = rules.SCHEDULER.keys() | rules.SPACING.keys()
    for kind in rules.SCHEDULERS:
        assert _defaults("diffusers", kind).keys() <= known, kind


@pytest.mark.parametrize(("kind", "network"), [("sd3", "SD3"), ("flux", "Flux")])
def test_every_argument_of_a_flow_s_scheduler_and_network_has_a_rule(kind, network):
    known = _defaults("diffusers", "FlowMatchEulerDiscreteScheduler").keys()
    assert known == transformer_rules.FLOW_SCHEDULER.keys()
    table = getattr(transformer_rules, kind.upper())
    assert _defaults("diffusers", f"{network}Transformer2DModel").keys() == table.keys()


def test_every_argument_of_a_network_has_a_rule():
    assert _defaults("diffusers", "AutoencoderKL").keys() == rules.VAE.keys()
    arguments = rules.UNET.keys() - rules.AVERAGE.keys()
    assert _defaults("diffusers", "UNet2DConditionModel").keys() == arguments


def test_a_running_average_that_a_trainer_saved_is_a_network(folders, tmp_path):
    average = {"decay": 0.9999, "optimization_step": 10, "power": 0.75}
    unshared = {"only_cross_attention": [False, False]}
    folder = changed(folders["sd15"], tmp_path, "unet", average | unshared, weights=True)
    assert load(folder).name == "tiny"


def load(folder, **options):
    return StableDiffusion(str(folder), name="tiny", device="cpu", **options)


@torch.no_grad()
def ours(model, z):
    """Return latents and pictures of guided sampling."""
    z = sample(model.denoiser(STEPS), z, model.condition([PROMPT], 3.0))
    return z, model.decode(z) / 2 + 0.5


def stock(folder, z, spacing):
    """Return the same of a pipeline that was loaded without us, with diffusers' DDIM."""
    with quiet():
        pipeline = DiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    grid = {"timestep_spacing": spacing, "steps_offset": 1, "set_alpha_to_one": False}
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, **grid, clip_sample=False
    )
    settings = {"guidance_scale": 3.0, "num_inference_steps": STEPS}
    settings |= {"height": IMAGE_SIZE, "width": IMAGE_SIZE, "latents": z}
    return [pipeline(PROMPT, output_type=kind, **settings).images for kind in ("latent", "pt")]


def assert_equals_stock(folder, spacing="leading", **options):
    model = load(folder, **options)
    assert model.image_size == (IMAGE_SIZE, IMAGE_SIZE)
    z = torch.randn(1, *model.latent_shape)
    for mine, theirs in zip(ours(model, z), stock(folder, z, spacing), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=2e-5)


ACCEPTED = [
    ("sd15", "vae", {"scaling_factor": 0.18215}),
    ("sdxl", "vae", {"scaling_factor": 0.13025, "force_upcast": True}),
    ("sd15", "vae", {"sample_size": [64, 64], "force_upcast": False}),
    ("sd15", "unet", {"sample_size": [16, 16]}),
    ("sd15", "unet", {"upcast_attention": True, "freq_shift": 1, "center_input_sample": True}),
    ("sdxl", "unet", {"flip_sin_to_cos": False, "upcast_attention": None}),
    ("sd15", "tokenizer", {"model_max_length": 40}),
    ("sd15", "text_encoder", {"hidden_act": "gelu"}),
    ("sd15", "scheduler", {"prediction_type": "v_prediction", "steps_offset": 0}),
    ("sd15", "scheduler", {"beta_schedule": "squaredcos_cap_v2"}),
    ("sd15", "scheduler", {"clip_sample": True}),  # the stock pipeline switches it off
    ("sd15", "scheduler", {"trained_betas": [0.001 + k * 1e-5 for k in range(1000)]}),
    ("sdxl", "scheduler", {"rescale_betas_zero_snr": True}),
]


@pytest.mark.parametrize(("kind", "part", "changes"), ACCEPTED)
def test_an_accepted_value_is_carried_out_as_in_the_stock_pipeline(
    folders, tmp_path, kind, part, changes
):
    assert_equals_stock(changed(folders[kind], tmp_path, part, changes, weights=True))


@pytest.mark.parametrize("name", ["sd21", "sd-turbo", "sdxl-turbo"])
def test_published_schedulers_sample_as_in_the_stock_pipeline(folders, tmp_path, name):
    copy = changed(folders["sd15"], tmp_path, "vae", {}, weights=True)
    folder = with_scheduler(copy, *SCHEDULERS[name])
    assert_equals_stock(folder, "trailing" if "turbo" in name else "leading")


def test_a_turbo_schedule_has_its_own_timesteps_unless_others_are_chosen(folders, tmp_path):
    copy = changed(folders["sd15"], tmp_path, "vae", {}, weights=True)
    folder = with_scheduler(copy, *SCHEDULERS["sd-turbo"])
    assert load(folder).denoiser(4).schedule.timestep == (0, 249, 499, 749, 999)
    assert load(folder).origin.spacing == "trailing"
    leading = load(folder, spacing="leading")
    assert leading.denoiser(4).schedule.timestep == (0, 1, 251, 501, 751)
    assert leading.origin.spacing == "leading"


@pytest.mark.parametrize(
    "changes",
    [
        {"timestep_spacing": "linspace"},
        {"timestep_spacing": "left out"},
        {"timestep_spacing": "even"},
        {"use_karras_sigmas": True},
        {"use_beta_sigmas": True},
        {"interpolation_type": "log_linear"},
    ],
)
def test_a_chosen_spacing_outranks_one_that_cannot_be_inverted(folders, tmp_path, changes):
    folder = changed(folders["sdxl"], tmp_path, "scheduler", changes, weights=True)
    refused(lambda: load(folder), "scheduler", "model.spacing=leading")
    assert load(folder, spacing="leading").denoiser(4).schedule.timestep[1] == 1


@pytest.mark.parametrize("spacing", [None, "leading", "trailing", "linspace"])
def test_a_network_that_is_not_told_timesteps_is_refused_whatever_the_spacing(
    folders, tmp_path, spacing
):
    changes = {"timestep_type": "continuous", "prediction_type": "v_prediction"}
    folder = changed(folders["sdxl"], tmp_path, "scheduler", changes, weights=True)
    key = 'timestep_type="continuous" cannot be used: it must be "discrete"'
    refused(lambda: load(folder, spacing=spacing, sampler=EulerSampler()), key)


@pytest.mark.parametrize("sampler", [EulerSampler(), AncestralSampler(), DPMSolver()])
def test_the_linspace_grid_that_ships_is_kept_by_samplers_that_have_it(folders, tmp_path, sampler):
    changes = {"timestep_spacing": "left out"}  # the default of Euler's
    folder = changed(folders["sdxl"], tmp_path, "scheduler", changes, weights=True)
    model = load(folder, sampler=sampler)
    assert model.spacing == "linspace"
    assert model.denoiser(4).schedule.timestep[-1] == 999


@pytest.mark.parametrize("sampler", [EulerSampler(), DPMSolver()])
def test_the_karras_levels_that_ship_are_kept_by_samplers_that_have_them(
    folders, tmp_path, sampler
):
    changes = {"use_karras_sigmas": True}
    folder = changed(folders["sdxl"], tmp_path, "scheduler", changes, weights=True)
    model, even = (load(folder, sampler=sampler, spacing=name) for name in (None, "leading"))
    assert model.spacing == "karras" and model.pipeline.scheduler.config.use_karras_sigmas
    assert model.denoiser(4).schedule.sigma != even.denoiser(4).schedule.sigma
    refused(lambda: load(folder, sampler=AncestralSampler()), "use_karras_sigmas=true")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sigma_max": 5.0}, "sigma_max=5.0 does not go with model.spacing=karras"),
        ({"timestep_spacing": "even"}, 'timestep_spacing="even" does not go with'),
        ({"use_karras_sigmas": True, "use_exponential_sigmas": True}, "exclude each other"),
    ],
)
def test_noise_levels_of_a_range_that_is_not_kept_are_refused(folders, tmp_path, changes, words):
    folder = changed(folders["sdxl"], tmp_path, "scheduler", changes, weights=True)
    refused(lambda: load(folder, sampler=EulerSampler(), spacing="karras"), words)
    assert load(folder, sampler=EulerSampler(), spacing="leading").spacing == "leading"


@pytest.mark.parametrize(
    "changes",
    [
        {"timestep_spacing": "linspace"},
        {"use_karras_sigmas": True},
        {"interpolation_type": "log_linear"},
    ],
)
@pytest.mark.parametrize("reading", [partial(StableDiffusion, sampler=LCMSampler()), FlowReading])
def test_a_grid_of_its_own_does_not_ask_which_spacing_ships(folders, tmp_path, reading, changes):
    config = {**COMMON, **EULER, "timestep_spacing": "leading", **changes}
    copy = changed(folders["sd15"], tmp_path, "vae", {}, weights=True)
    folder = with_scheduler(copy, "EulerDiscreteScheduler", config)
    assert reading(str(folder), device="cpu").denoiser(4).schedule.steps == 4


@pytest.mark.parametrize(
    ("prediction", "remedy"),
    [
        ("epsilon", "use sampler=euler, whose grid it is, or model.spacing=leading or trailing"),
        ("sample", "steps off: use model.spacing=leading or trailing"),
    ],
)
@pytest.mark.parametrize("spacing", [None, "linspace"])
def test_a_grid_that_ddim_steps_off_is_refused_before_weights_are_read(
    folders, tmp_path, monkeypatch, prediction, remedy, spacing
):
    monkeypatch.delattr(latent_model, "load_pipeline")
    changes = {"timestep_spacing": "linspace", "prediction_type": prediction}
    folder = changed(folders["sdxl"], tmp_path, "scheduler", changes, weights=True)
    refused(lambda: load(folder, spacing=spacing), "linspace", "sampler=ddim", remedy)


def test_an_unknown_spacing_is_refused_with_those_of_the_sampler(folders):
    refused(lambda: load(folders["sd15"], spacing="even"), "=even is unknown", "leading or trail")


def test_a_network_that_predicts_the_image_is_sent_to_a_sampler_that_takes_it(folders, tmp_path):
    changes = {"prediction_type": "sample"}
    folder = changed(folders["sd15"], tmp_path, "scheduler", changes, weights=True)
    for sampler in (EulerSampler(), AncestralSampler(), LCMSampler()):
        model = load(folder, sampler=sampler)
        refused(lambda model=model: model.denoiser(4), "forgets", "use sampler=ddim")
    assert load(folder).denoiser(4).schedule.prediction == "sample"
    with pytest.raises(UserError) as caught:
        load(folder, spacing="trailing").denoiser(3)
    assert "use model.spacing=leading" in str(caught.value)


def test_a_step_from_no_signal_is_refused_with_what_every_sampler_can_do(folders, tmp_path):
    changes = {"rescale_betas_zero_snr": True}
    folder = changed(folders["sd15"], tmp_path, "scheduler", changes, weights=True)
    remedy = "use sampler=ddim with model.spacing=leading"
    refused(lambda: load(folder, sampler=LCMSampler()).denoiser(4), remedy)
    refused(lambda: load(folder, spacing="trailing").denoiser(4), remedy)
    assert load(folder, spacing="leading").denoiser(4).schedule.alpha[-1] > 0


def test_a_grid_of_all_timesteps_is_refused_with_what_helps(folders):
    model = load(folders["sd15"], spacing="trailing")
    refused(lambda: model.denoiser(1000), "use fewer steps")
    assert model.denoiser(500).schedule.steps == 500


@pytest.mark.parametrize(
    ("kind", "part"),
    [("sd15", "unet"), ("sd15", "vae"), ("sd15", "text_encoder"), ("sdxl", "text_encoder_2")],
)
@pytest.mark.parametrize("damage", ["missing", "shape", "cut"])
def test_weights_that_are_missing_or_damaged_are_refused(folders, tmp_path, kind, part, damage):
    folder = changed(folders[kind], tmp_path, part, {}, weights=True)
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    name = sorted(tensors)[3]
    if damage == "missing":
        del tensors[name]
    else:
        tensors[name] = torch.zeros(1)
    save_file(tensors, file, {"format": "pt"})
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    refused(lambda: load(folder), f"the {part} in {folder}")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"a": "b"}', None])
def test_a_vocabulary_that_cannot_be_read_is_refused(folders, tmp_path, text):
    folder = changed(folders["sd15"], tmp_path, "tokenizer", {})
    (folder / "tokenizer" / "tokenizer.json").unlink()
    if text is not None:
        (folder / "tokenizer" / "vocab.json").write_text(text)
        (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    refused(lambda: load_tokenizer(folder), f"the tokenizer in {folder}")


def load_tokenizer(folder):
    return _tokenizer(folder, "tokenizer", read_parts(folder))


def test_a_tokenizer_with_more_tokens_than_the_text_encoder_knows_is_refused(folders, tmp_path):
    folder = changed(folders["sd15"], tmp_path, "text_encoder", {"vocab_size": 500})
    refused(lambda: load_tokenizer(folder), "tokenizer", "514 tokens", "knows 500")
