"""The attention layers of a UNet under the control of an editing run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from fpinv.errors import UserError

COARSE = 2  # halvings after which a grid's side is a quarter of the latent's

BLOCK = re.compile(r"(down_blocks|mid_block|up_blocks)(?:\.(\d+))?\..*\.processor$")


Processor = Callable[..., Tensor]
"""An attention processor of diffusers, as :class:`_ControlledProcessor` is one."""


class UNet(Protocol):
    """The members of ``diffusers.UNet2DConditionModel`` that editing uses, with their types.

    diffusers annotates its processors as a union of all that it has ever had, most of which no
    UNet can call, and leaves most other members without a type.
    """

    config: Any

    @property
    def attn_processors(self) -> dict[str, Processor]:
        """The processors by name."""

    def set_attn_processor(self, processors: dict[str, Processor], /) -> None:
        """Put processors in place, by name."""

    def get_submodule(self, name: str, /) -> Any:  # noqa: ANN401 - a module of any class
        """Return the module with a dotted name."""


@dataclass(frozen=True)
class Layer:
    """One attention layer.

    Arguments:
        cross: True for attention to the prompt, False for attention to the picture itself.
        level: How often the latent's sides are halved where the layer stands.
    """

    cross: bool
    level: int


class Control(Protocol):
    """A function that looks at, or replaces, the attention of one network call.

    Queries, keys and values are (rows, heads, positions, width), rows being those of the network.
    """

    def attends(self, layer: Layer) -> bool:
        """Return whether :meth:`attention` is to compute the layer in this call."""

    def attention(self, layer: Layer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the layer's attention, shape (rows, heads, positions, width)."""


class _ControlledProcessor:
    """A processor that asks the control first, and else runs the layer's own processor.

    The layers of a UNet's transformer blocks have neither norms nor masks nor residuals inside.
    """

    def __init__(self, layer: Layer, inner: Processor, control: Control) -> None:
        self._layer, self._inner, self._control = layer, inner, control

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        if not self._control.attends(self._layer):
            return self._inner(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        assert attention_mask is None, "Stable Diffusion masks no token"
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            projection(states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for projection, states in (
                (attn.to_q, hidden_states),
                (attn.to_k, context),
                (attn.to_v, context),
            )
        )
        output = self._control.attention(self._layer, query, key, value)
        project, dropout = attn.to_out
        return dropout(project(output.transpose(1, 2).flatten(2)))


def probabilities(query: Tensor, key: Tensor) -> Tensor:
    """Return softmax(q k' / sqrt(width)) in float32, shape (rows, heads, queries, keys)."""
    scores = query.float() @ key.float().transpose(-1, -2)
    return (scores / query.shape[-1] ** 0.5).softmax(-1)


def has_cross_attention(network: Any) -> bool:  # noqa: ANN401 - diffusers' networks
    """Return whether a network attends to the prompt and to the picture apart, as UNets do."""
    return hasattr(network, "down_blocks")


def find_layers(unet: UNet) -> dict[str, Layer]:
    """Return the attention layers of a UNet's transformer blocks by the name of their processor.

    Raises:
        UserError: the UNet has no cross-attention of the kind that Stable Diffusion has, so that
            no prompt could be edited.
    """
    blocks = len(unet.config.down_block_types)
    layers = {
        name: Layer(unet.get_submodule(name.removesuffix(".processor")).is_cross_attention, level)
        for name in unet.attn_processors
        if (level := _level(name, blocks)) is not None
    }
    if not any(layer.cross for layer in layers.values()):
        raise UserError(
            f"{type(unet).__name__} has no cross-attention layer that can be edited: use a model "
            "of Stable Diffusion's kind"
        )
    return layers


def _level(name: str, blocks: int) -> int | None:
    """Return how often the sides are halved at a processor, going by its name."""
    if (place := BLOCK.match(name)) is None:
        return None
    side, number = place[1], int(place[2] or 0)
    return {"down_blocks": number, "mid_block": blocks - 1}.get(side, blocks - 1 - number)


def coarse_level(layers: Mapping[str, Layer], cross: bool) -> int:
    """Return the level from which on cross- or self-attention layers count as coarse.

    There the grid's side is at most a quarter of the latent's; where no layer is as coarse as
    that, the level is that of the coarsest.
    """
    levels = (layer.level for layer in layers.values() if layer.cross == cross)
    return min(COARSE, max(levels, default=COARSE))


@contextmanager
def controlled(unet: UNet, control: Control) -> Iterator[None]:
    """Put the attention layers of a UNet under control for the length of a block."""
    before = unet.attn_processors
    layers = find_layers(unet)
    replaced: dict[str, Processor] = {
        name: _ControlledProcessor(layer, before[name], control) for name, layer in layers.items()
    }
    # set_attn_processor empties the dictionary that it is given, hence the copies.
    try:
        unet.set_attn_processor(before | replaced)
        with uncompiled(unet):
            yield
    finally:
        unet.set_attn_processor(dict(before))


def uncompiled(network: Any) -> AbstractContextManager[object]:  # noqa: ANN401 - as above
    """Return a context in which a network runs uncompiled.

    Compilation would bake one step's control into it.
    """
    compiled = any(part._compiled_call_impl is not None for part in network.modules())
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
