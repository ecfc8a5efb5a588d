"""The configurations of a folder of weights, read and checked before anything is loaded."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from fpinv.errors import UserError
from fpinv.models.hub import read_index
from fpinv.models.rules import PIPELINES, SPACING, Part
from fpinv.models.transformer_rules import FLOW_PIPELINES
from fpinv.models.weights import TOKENIZERS

Config = Mapping[str, Any]

KINDS = {**PIPELINES, **FLOW_PIPELINES}
"""All pipelines that can be inverted, with their parts."""
SCHEDULER_FILE = Path("scheduler", "scheduler_config.json")
"""The configuration of the scheduler in a folder."""


def read_parts(folder: Path) -> dict[str, Config]:
    """Return the configuration of each part of the pipeline in a folder, defaults filled in.

    Arguments:
        folder: The folder, in diffusers format.

    Raises:
        UserError: a part, its class, or the value of a key is not understood.
    """
    index = read_index(folder)
    kind = index.get("_class_name")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{folder} holds a {kind}; only {' and '.join(KINDS)} can be inverted")
    parts = {k: part for k, part in KINDS[kind].items() if k in index or not part.optional}
    configs = {name: _read(folder, name, part, index.get(name)) for name, part in parts.items()}
    _check_fit(folder, configs)
    return configs


def optional_parts(folder: Path) -> list[str]:
    """Return the parts that the pipeline in a folder can do without."""
    parts = KINDS[read_index(folder)["_class_name"]]
    return [name for name, part in parts.items() if part.optional]


def _read(folder: Path, name: str, part: Part, entry: object) -> Config:
    """Return the configuration of one part, given its entry [library, class] in the index.

    Raises:
        UserError: the class or the value of a key is not understood.
    """
    if entry not in [[part.library, kind] for kind in part.classes]:
        raise UserError(
            f"{shown(folder / 'model_index.json', name, entry)} cannot be used: it must be "
            f"{' or '.join(part.classes)} of {part.library}"
        )
    assert isinstance(entry, list)
    file = folder / name / part.file
    config = _json(file)
    if config.get("_class_name", entry[1]) != entry[1]:
        raise UserError(
            f"{file} is of {config['_class_name']}, but model_index.json names {entry[1]}: "
            "fetch the model again"
        )
    values = {key: value for key, value in config.items() if not key.startswith("_")}
    defaults = _defaults(*entry)
    for key, value in (defaults | values).items():
        _check(file, part, key, value, defaults)
    return defaults | values


def _json(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file} is missing: fetch the model again") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}): fetch the model again") from None
    if not isinstance(config, dict):
        raise UserError(f"{file} is not what it should be: no JSON object")
    return config


def _defaults(library: str, kind: str) -> dict[str, Any]:
    """Return the values that a class gives to keys that its configuration leaves out."""
    if "Tokenizer" in kind:
        return {"model_max_length": None}
    located = getattr(import_module(library), kind)
    if library == "transformers":
        return dict(located.config_class().to_dict())
    parameters = list(inspect.signature(located.__init__).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in parameters}


def _check(file: Path, part: Part, key: str, value: object, defaults: Config) -> None:
    """Refuse a value that its rule does not accept, and a key without a rule unless neutral."""
    rule = part.rules.get(key)
    if rule is not None and not rule.accepts(value):
        raise UserError(f"{shown(file, key, value)} cannot be used: it must be {rule.words}")
    if rule is None and part.complete and key not in SPACING:
        neutral = value is None or value is False or (key in defaults and value == defaults[key])
        if not neutral:
            raise UserError(f"{shown(file, key, value)} is not understood: choose another model")


def _check_fit(folder: Path, configs: Mapping[str, Config]) -> None:
    """Refuse parts that do not fit one another, and betas that do not fit the timesteps."""
    network, widths = (
        ("unet", _unet_widths) if "unet" in configs else ("transformer", _transformer_widths)
    )
    file, config = folder / network / "config.json", configs[network]
    for key, value in widths(configs).items():
        if config[key] != value:
            raise UserError(
                f"{shown(file, key, config[key])} does not fit the other parts: it must be {value}"
            )
    _check_betas(folder / SCHEDULER_FILE, configs["scheduler"])
    for name in TOKENIZERS.keys() & configs.keys():
        length = configs[name]["model_max_length"]
        longest = configs[TOKENIZERS[name]].get("max_position_embeddings")  # T5 has no limit
        if longest is not None and length > longest:
            file = folder / name / "tokenizer_config.json"
            raise UserError(
                f"{shown(file, 'model_max_length', length)} does not fit the "
                f"{TOKENIZERS[name]}: it must be at most {longest}"
            )


def _check_betas(file: Path, scheduler: Config) -> None:
    betas, count = scheduler.get("trained_betas"), scheduler["num_train_timesteps"]
    if betas is not None and len(betas) != count:
        raise UserError(
            f"{shown(file, 'trained_betas', betas)} does not fit num_train_timesteps: there must "
            f"be {count} of them"
        )


def _unet_widths(configs: Mapping[str, Config]) -> dict[str, int]:
    """Return the widths that the UNet must have for the other parts, by its keys."""
    encoders, channels = _encoders(configs), configs["vae"]["latent_channels"]
    widths = {
        "in_channels": channels,
        "out_channels": channels,
        "cross_attention_dim": sum(encoder["hidden_size"] for encoder in encoders),
    }
    if "text_encoder_2" in configs:  # XL has labels: the pooled prompt and six sizes
        sizes = 6 * configs["unet"]["addition_time_embed_dim"]
        pooled = configs["text_encoder_2"]["projection_dim"]
        widths["projection_class_embeddings_input_dim"] = pooled + sizes
    return widths


def _transformer_widths(configs: Mapping[str, Config]) -> dict[str, int]:
    """Return the widths that the transformer must have for the other parts, by its keys."""
    channels, encoders = configs["vae"]["latent_channels"], _encoders(configs)
    t5 = [encoder["d_model"] for encoder in encoders if "d_model" in encoder]
    joint = {"joint_attention_dim": t5[0]} if t5 else {}
    if "guidance_embeds" in configs["transformer"]:  # FLUX
        return {
            "in_channels": 4 * channels,
            "pooled_projection_dim": encoders[0]["hidden_size"],
            **joint,
        }
    pooled = sum(encoder["projection_dim"] for encoder in encoders if "projection_dim" in encoder)
    return {
        "in_channels": channels,
        "out_channels": channels,
        "pooled_projection_dim": pooled,
        **joint,
    }


def _encoders(configs: Mapping[str, Config]) -> list[Config]:
    return [configs[name] for name in TOKENIZERS.values() if name in configs]


def shown(file: Path, key: str, value: object) -> str:
    """Return "file: key=value", a long value cut."""
    text = json.dumps(value, default=str)
    return f"{file}: {key}={text if len(text) <= 60 else text[:57] + '...'}"
