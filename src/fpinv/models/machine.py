"""Device, precision, compilation and offloading of a pipeline."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from diffusers import UNet2DConditionModel

from fpinv.errors import UserError
from fpinv.models.pipeline import Pipeline

Precision = Literal["fp32", "tf32", "fp16", "bf16"]
Offload = Literal["none", "model", "sequential"]

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


class Switches(NamedTuple):
    """Trades of speed and memory; see :class:`~fpinv.models.latent_model.LatentModel`."""

    compile: bool
    attention_slicing: bool
    gradient_checkpointing: bool
    offload: Offload


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


def set_precision(precision: Precision) -> torch.dtype:
    """Return the dtype of a precision, and allow or forbid the rounding of products to TF32."""
    if precision not in DTYPES:
        raise UserError(f"precision={precision} is unknown: use {', '.join(get_args(Precision))}")
    rounds = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = rounds
    return DTYPES[precision]


def machine_epsilon(precision: Precision, device: torch.device) -> float:
    """Return the relative error that products of a precision round away on a device."""
    if precision == "tf32" and device.type == "cuda":
        return 2.0**-10
    return torch.finfo(DTYPES[precision]).eps


def check_offload(offload: Offload, device: torch.device) -> None:
    """Check that the device can do without the parts that are elsewhere.

    Raises:
        UserError: it cannot, or there is no such way.
    """
    if offload not in get_args(Offload):
        raise UserError(f"model.offload={offload} is unknown: use {', '.join(get_args(Offload))}")
    if offload != "none" and device.type == "cpu":
        raise UserError(f"model.offload={offload} needs a GPU: leave it out")


def place(
    pipeline: Pipeline,
    network: Any,  # noqa: ANN401 - diffusers declares no attributes
    device: torch.device,
    switches: Switches,
) -> None:
    """Bring a pipeline to the device, with its denoising network switched as asked for.

    Raises:
        UserError: the network has no such switch.
    """
    if switches.attention_slicing:
        if not hasattr(network, "set_attention_slice"):
            raise UserError(
                f"model.attention_slicing does nothing on a {type(network).__name__}: leave it out"
            )
        pipeline.enable_attention_slicing()
    if switches.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    if switches.compile:
        compile_network(network, device)
    if switches.offload == "none":
        pipeline.to(device)
    elif switches.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)


def compile_network(network: Any, device: torch.device) -> None:  # noqa: ANN401 - as above
    """Compile a UNet as a whole, and of a transformer the blocks that it repeats, one a kind.

    A kind of block compiles in seconds where a large transformer takes minutes. The batch becomes
    a variable the first time that it changes, so that samples may leave it without another
    compilation.
    """
    unet = isinstance(network, UNet2DConditionModel)
    if unet and device.type == "cpu":
        # 16 rows of scenes on one thread: 12.7 ms a row, 17.1 without, 18.4 uncompiled.
        network.to(memory_format=torch.channels_last)
    if unet or not network._repeated_blocks:
        network.compile()
    else:
        network.compile_repeated_blocks()
