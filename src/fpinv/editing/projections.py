"""The queries, keys and values of a network's attention to the picture, under a run's control."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from torch import Tensor

from fpinv.editing.attention import find_layers, has_cross_attention, uncompiled

Part = Literal["query", "key", "value"]

PROJECTIONS: dict[Part, str] = {"query": "to_q", "key": "to_k", "value": "to_v"}
"""The modules of diffusers' attention that project the tokens of a picture."""

SIDES = ("down_blocks", "mid_block", "up_blocks")
"""The parts of a UNet, in the order in which it runs through them."""


@dataclass(frozen=True, eq=False)
class Block:
    """A place of a network where the tokens of the picture attend to each other.

    In a UNet it is a layer of self-attention, in a transformer a block of joint attention.

    Arguments:
        number: Its place in the order in which the network runs through its blocks, from 0.
        modules: Its attention modules of diffusers; two where it attends to the picture twice.
        joined: True where the tokens of the prompt stand before those of the picture, and are
            projected with them, as in FLUX's single blocks.
    """

    number: int
    modules: tuple[Any, ...]
    joined: bool


class Exchange(Protocol):
    """A function that looks at, or replaces, the projections of one network call."""

    def exchange(self, block: Block, part: Part, states: Tensor) -> Tensor:
        """Return the queries, keys or values (rows, tokens, width) to go on with."""


def find_blocks(network: Any) -> tuple[Block, ...]:  # noqa: ANN401 - diffusers' networks
    """Return the blocks of a UNet, or of a transformer of Stable Diffusion 3 or FLUX, in order."""
    if has_cross_attention(network):
        return tuple(Block(k, (layer,), False) for k, layer in enumerate(_self_attention(network)))
    single = list(getattr(network, "single_transformer_blocks", ()))
    blocks = [*network.transformer_blocks, *single]
    return tuple(
        Block(k, _modules(block), joined=k >= len(blocks) - len(single))
        for k, block in enumerate(blocks)
    )


def _self_attention(unet: Any) -> Sequence[Any]:  # noqa: ANN401 - as above
    """Return a UNet's layers of self-attention, in the order in which it runs through them."""
    names = [name for name, layer in find_layers(unet).items() if not layer.cross]
    names.sort(key=lambda name: SIDES.index(name.split(".")[0]))
    return [unet.get_submodule(name.removesuffix(".processor")) for name in names]


def _modules(block: Any) -> tuple[Any, ...]:  # noqa: ANN401 - as above
    """Return the attention modules of a transformer's block."""
    modules = (getattr(block, name, None) for name in ("attn", "attn2"))
    return tuple(module for module in modules if module is not None)


@contextmanager
def exchanged(
    network: Any,  # noqa: ANN401 - as above
    blocks: Sequence[Block],
    control: Exchange,
) -> Iterator[None]:
    """Let a control replace the projections of some of a network's blocks in a context.

    The attention stays the network's own processor, which sees nothing but other numbers.
    """

    def hook(block: Block, part: Part, module: object, inputs: object, states: Tensor) -> Tensor:
        return control.exchange(block, part, states)

    handles = [
        getattr(module, name).register_forward_hook(partial(hook, block, part))
        for block in blocks
        for module in block.modules
        for part, name in PROJECTIONS.items()
    ]
    try:
        with uncompiled(network):
            yield
    finally:
        for handle in handles:
            handle.remove()
