"""The stock pipeline of a folder, loaded part by part, with the scheduler of the sampler."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from transformers import PreTrainedModel

from fpinv.errors import UserError
from fpinv.models.hub import read_index
from fpinv.models.lora import LoRA
from fpinv.models.origin import has_variant
from fpinv.models.parts import Config, optional_parts, read_parts
from fpinv.models.quantization import Quantization, quantization_config
from fpinv.models.samplers import DDIMSampler, Sampler, Spacing
from fpinv.models.weights import DENOISERS, NETWORKS, TOKENIZERS, loading

Pipeline: TypeAlias = Any  # diffusers registers a pipeline's networks at run time, undeclared

IP_ADAPTER = ("encoder_hid_proj", "image_proj")
"""Attributes of a UNet and of a transformer that has an IP-Adapter loaded."""
REMEDY = "fetch it again or choose another model.path"


class Weights(NamedTuple):
    """A folder of weights, and how to load them.

    Arguments:
        folder: The folder, in diffusers format.
        variant: Name of one of several stored weights; None for the plain ones.
        dtype: Precision of all networks but the VAE, which has float32.
        spacing: Spacing of the grid; None is the scheduler's own.
        t5: False leaves out the T5 encoder of Stable Diffusion 3, which can do without it.
        lora: Changes to be merged into the weights.
        quantization: Kind of quantisation of the denoising network and of T5 encoders.
        sampler: The sampler, whose scheduler the pipeline gets.
        loaded: A pipeline whose networks are taken as they are; None to load those of the folder.
        state: The files as they were (:func:`fpinv.models.origin.state_of`): changed ones are
            other weights.
    """

    folder: Path
    variant: str | None
    dtype: torch.dtype
    spacing: Spacing | None = None
    t5: bool = True
    lora: LoRA | None = None
    quantization: Quantization | None = None
    sampler: Sampler = DDIMSampler()
    loaded: Pipeline | None = None
    state: tuple[object, ...] = ()


def denoising_network(pipeline: Pipeline) -> Any:  # noqa: ANN401 - diffusers declares no networks
    """Return the UNet or the transformer of a pipeline."""
    return getattr(pipeline, "unet", None) or pipeline.transformer


def check_loaded(pipeline: Pipeline, dtype: torch.dtype, **of_files: object) -> None:
    """Refuse what a pipeline in memory cannot take, and what it was changed to.

    Arguments:
        pipeline: The pipeline.
        dtype: The precision that its networks should have.
        of_files: Settings that say how weights are loaded from files.

    Raises:
        UserError: such a setting is made, the networks have another precision, an IP-Adapter is
            loaded, or the shift of the grid was set after the scheduler was made.
    """
    for key, value in of_files.items():
        if value is not None:
            raise UserError(
                f"{key}={value} is for weights in files, and a pipeline in memory has its own: "
                "leave it out, or load the pipeline with it"
            )
    network = denoising_network(pipeline)
    if network.dtype != dtype:
        raise UserError(
            f"the pipeline has weights of {network.dtype}: give that precision (fp32, tf32, fp16 "
            "or bf16)"
        )
    if any(getattr(network, name, None) is not None for name in IP_ADAPTER):
        raise UserError(
            "the pipeline has an IP-Adapter, whose picture has no part in the inversion: call "
            "its unload_ip_adapter()"
        )
    scheduler = pipeline.scheduler
    shift = scheduler.config.get("shift")
    if (current := getattr(scheduler, "shift", shift)) != shift:
        raise UserError(
            f"the scheduler's shift was set to {current}, and its configuration says {shift}: "
            f"make it with shift={current}"
        )


def load_pipeline(weights: Weights) -> Pipeline:
    """Return the pipeline of a folder, with the scheduler of the sampler.

    Raises:
        UserError: a part is not understood, or its weights are missing or damaged.
    """
    configs = read_parts(weights.folder)
    if weights.loaded is not None:
        return _rescheduled(weights.loaded, _scheduler(weights, configs))
    optional = optional_parts(weights.folder)
    if not weights.t5:
        configs = {name: config for name, config in configs.items() if name not in optional}
    tokenizers = {
        name: _tokenizer(weights.folder, name, configs) for name in TOKENIZERS if name in configs
    }
    networks = {name: _network(weights, name) for name in NETWORKS if name in configs}
    with loading(f"the model in {weights.folder}", REMEDY):
        return _pipeline_class(weights.folder).from_pretrained(
            weights.folder,
            # Given ready-made, because the pipeline rewrites the one that ships.
            scheduler=_scheduler(weights, configs),
            **({"safety_checker": None} if "unet" in configs else {}),
            **{name: None for name in optional if name not in configs},
            **tokenizers,
            **networks,
        )


def _scheduler(weights: Weights, configs: Mapping[str, Config]) -> Any:  # noqa: ANN401
    """Return the scheduler of the sampler for a model with these parts."""
    if "unet" in configs:
        return weights.sampler.noise_scheduler(configs["scheduler"], weights.spacing)
    return weights.sampler.flow_scheduler(configs["scheduler"])


def _rescheduled(pipeline: Pipeline, scheduler: Any) -> Pipeline:  # noqa: ANN401
    """Return a pipeline of the same networks with another scheduler and a VAE in float32."""
    vae = pipeline.vae
    if vae.dtype != torch.float32:
        vae = copy.deepcopy(vae).float()
    return with_components(pipeline, type(pipeline), scheduler=scheduler, vae=vae)


def with_components(
    pipeline: Pipeline,
    kind: type[Pipeline],
    **changes: Any,  # noqa: ANN401
) -> Pipeline:
    """Return a pipeline of a class, with the same components and settings but for some."""
    return kind(**{**pipeline.components, **settings_for(kind, pipeline.config), **changes})


def settings_for(kind: type[Pipeline], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a configuration that a class of pipelines takes beside its parts."""
    _, names = kind._get_signature_keys(kind)
    return {name: config[name] for name in names if name in config}


def write_configs(pipeline: Pipeline, folder: Path) -> None:
    """Write what ``save_pretrained`` does, but for the weights."""
    pipeline.save_config(folder)
    for name, part in pipeline.components.items():
        if isinstance(part, PreTrainedModel):
            part.config.architectures = [type(part).__name__]
            part.config.save_pretrained(folder / name)
        elif hasattr(part, "save_config"):
            part.save_config(folder / name)
        elif part is not None:
            part.save_pretrained(folder / name)


def _pipeline_class(folder: Path) -> Pipeline:
    """Return the class that a pipeline is loaded as: its own, by and large.

    That of latent consistency models takes no scheduler but theirs. The one of Stable Diffusion
    has the same parts, and tells the network the guidance alike.
    """
    lcm = read_index(folder)["_class_name"] == "LatentConsistencyModelPipeline"
    return StableDiffusionPipeline if lcm else DiffusionPipeline


def _class(folder: Path, name: str) -> Any:  # noqa: ANN401
    """Return the class of a part."""
    library, kind = read_index(folder)[name]
    return getattr(import_module(library), kind)


def _tokenizer(folder: Path, name: str, configs: dict[str, Config]) -> Any:  # noqa: ANN401
    """Return a tokenizer.

    Raises:
        UserError: its vocabulary cannot be read, or the text encoder does not know all of it.
    """
    label = f"the {name} in {folder}"
    with loading(label, REMEDY):
        tokenizer = _class(folder, name).from_pretrained(folder / name)
        tokens = tokenizer("a word").input_ids
    if set(tokens) <= set(tokenizer.all_special_ids):  # transformers makes do without a file
        raise UserError(f"{label} knows no words, since its vocabulary is missing: {REMEDY}")
    known = configs[TOKENIZERS[name]]["vocab_size"]
    if len(tokenizer) > known:
        raise UserError(
            f"{label} has {len(tokenizer)} tokens, but its {TOKENIZERS[name]} knows {known}: "
            f"{REMEDY}"
        )
    return tokenizer


def _network(weights: Weights, name: str) -> torch.nn.Module:
    """Return a network with its weights.

    Raises:
        UserError: they cannot be read, or some are missing, which the libraries would replace by
            random ones.
    """
    folder, kind = weights.folder / name, _class(weights.folder, name)
    quantized = {}
    if weights.quantization and (name in DENOISERS or kind.__name__.startswith("T5")):
        config = quantization_config(weights.quantization, kind, weights.dtype)
        quantized = {"quantization_config": config}
    with loading(f"the {name} in {weights.folder}", REMEDY):
        network, report = kind.from_pretrained(
            folder,
            **quantized,
            variant=weights.variant if has_variant(folder, weights.variant) else None,
            dtype=torch.float32 if name == "vae" else weights.dtype,
            output_loading_info=True,
        )
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"the {name} in {weights.folder} lacks {len(missing)} weights, {missing[0]} first: "
            f"{REMEDY}"
        )
    return network
