"""Quantised weights, by the libraries that diffusers and transformers load them with."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch

from fpinv.errors import UserError

Quantization = Literal["int8", "nf4"]

PACKAGES = {"int8": "torchao", "nf4": "bitsandbytes"}
"""The package that each kind needs."""


def check_quantization(kind: str | None, device: torch.device, lora: str | None) -> None:
    """Refuse a kind of quantisation that is unknown, or that cannot be had here.

    Raises:
        UserError: it is such a kind.
    """
    if kind is None:
        return
    if kind not in get_args(Quantization):
        names = ", ".join(get_args(Quantization))
        raise UserError(f"model.quantization={kind} is unknown: use {names}, or null")
    if find_spec(PACKAGES[kind]) is None:
        raise UserError(
            f"model.quantization={kind} needs the package {PACKAGES[kind]}: "
            f"pip install {PACKAGES[kind]}"
        )
    if kind == "nf4" and device.type == "cpu":
        raise UserError("model.quantization=nf4 needs a GPU: use int8")
    if lora is not None:
        raise UserError(
            "model.lora cannot be merged into quantised weights: leave one of them out"
        )


def quantization_config(kind: Quantization, network: type[Any], dtype: torch.dtype) -> Any:  # noqa: ANN401
    """Return the configuration by which the library of a network's class quantises it.

    Arguments:
        kind: ``int8``: weights of 8 bits, one scale a row; ``nf4``: of 4 bits, at the quantiles of
            a normal distribution.
        network: Class of the network, of diffusers or of transformers.
        dtype: Precision of the products.

    References:
        | QLoRA: Efficient Finetuning of Quantized LLMs (Dettmers et al., 2023), for NF4
        | https://arxiv.org/abs/2305.14314
    """
    library = import_module(network.__module__.partition(".")[0])
    if kind == "nf4":
        return library.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    from torchao.quantization import Int8WeightOnlyConfig

    return library.TorchAoConfig(Int8WeightOnlyConfig())
