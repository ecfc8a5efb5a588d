"""The attention layers of a UNet under the control of an editing run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttentionProcessor
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fpinv.errors import UserError

COARSE = 2  # halvings after which a grid's side is a quarter of the latent's

BLOCK = re.compile(r"(down_blocks|mid_block|up_blocks)(?:\.(\d+))?\..*\.processor$")


@dataclass(frozen=True)
class Layer:
    """One attention layer.

    Arguments:
        cross: Whether it attends to the prompt; else to the picture itself.
        level: How often the latent's sides are halved where it stands.
    """

    cross: bool
    level: int


class Control(Protocol):
    """What an editing run does to the attention of one network call.

    Queries, keys and values are (rows, heads, positions, width), rows being those of the network.
    """

    def attends(self, layer: Layer) -> bool:
        """Whether the layer's attention is to be changed or looked at in this call."""

    def attention(self, layer: Layer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What the layer answers instead: (rows, heads, positions, width)."""


class _Processor:
    """Asks the control where it has a say; everything else is left to the layer's own processor.

    The layers of a UNet's transformer blocks have neither norms nor masks nor residuals inside.
    """

    def __init__(self, layer: Layer, inner: AttentionProcessor, control: Control) -> None:
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
        answer = self._control.attention(self._layer, query, key, value)
        return attn.to_out[1](attn.to_out[0](answer.transpose(1, 2).flatten(2)))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Fused attention softmax(q k' / sqrt(width)) v, which never shows its probabilities."""
    return scaled_dot_product_attention(query, key, value)


def probabilities(query: Tensor, key: Tensor) -> Tensor:
    """The probabilities themselves, in float32: (rows, heads, queries, keys)."""
    scores = query.float() @ key.float().transpose(-1, -2)
    return (scores / query.shape[-1] ** 0.5).softmax(-1)


def find_layers(unet: UNet2DConditionModel) -> dict[str, Layer]:
    """The attention layers of a UNet's transformer blocks, by the name of their processor.

    Raises:
        UserError: it has no cross-attention of the kind that Stable Diffusion has, so that no
            prompt could be edited.
    """
    blocks = len(unet.config.down_block_types)
    found = {
        name: Layer(unet.get_submodule(name.removesuffix(".processor")).is_cross_attention, level)
        for name in unet.attn_processors
        if (level := _level(name, blocks)) is not None
    }
    if not any(layer.cross for layer in found.values()):
        raise UserError(
            f"{type(unet).__name__} has no cross-attention layer that can be edited: use a model "
            "of Stable Diffusion's kind"
        )
    return found


def _level(name: str, blocks: int) -> int | None:
    """How often the sides are halved where a layer stands, which its name tells."""
    if (place := BLOCK.match(name)) is None:
        return None
    side, number = place[1], int(place[2] or 0)
    return {"down_blocks": number, "mid_block": blocks - 1}.get(side, blocks - 1 - number)


def coarse_level(layers: Mapping[str, Layer], cross: bool) -> int:
    """The level from which on layers of one kind count as coarse.

    There the grid's side is at most a quarter of the latent's; where no layer is as coarse as
    that, the level of the coarsest.
    """
    return min(COARSE, max(layer.level for layer in layers.values() if layer.cross == cross))


@contextmanager
def controlled(unet: UNet2DConditionModel, control: Control) -> Iterator[None]:
    """Puts the attention layers of a UNet under control; afterwards they are as before."""
    before = unet.attn_processors
    layers = find_layers(unet)
    taken = {name: _Processor(layer, before[name], control) for name, layer in layers.items()}
    try:
        unet.set_attn_processor(dict(before) | taken)
        with _eager(unet):
            yield
    finally:
        unet.set_attn_processor(dict(before))


def _eager(unet: UNet2DConditionModel) -> AbstractContextManager[None]:
    """Sets compilation aside, which would bake one step's control into the network."""
    compiled = unet._compiled_call_impl is not None
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
