"""The state of one editing run: its step and the maps gathered so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d
from torch.nn.functional import scaled_dot_product_attention as attend

from fpinv.batch import combine
from fpinv.editing.attention import Layer, coarse_level, probabilities
from fpinv.editing.branches import Branches
from fpinv.editing.controllers import Moment
from fpinv.editing.projections import Block, Part
from fpinv.errors import UserError

Size = tuple[int, ...]
"""Height and width."""
FINE = 16
"""Side of the maps in which prompt-to-prompt looks for words."""


class Stage:
    r"""The control of the attention and the latents of one run, and all state of editing.

    Probabilities are computed only where a local blend looks at them. The rest of
    prompt-to-prompt is linear in them and is done to what they are multiplied with, so that
    attention stays fused: with queries q, keys k and values v,

    .. math:: P_t' v_t = P_s (S v_t) + P_t (d v_t), \qquad
              P = \operatorname{softmax}(q k^\top / \sqrt{n})

    and a target with its source's self-attention is one with its source's q and k.

    Arguments:
        branches: The batch.
        layers: The attention layers of a UNet by name; none for a transformer.
        steps: Number of steps of the sampling, N or less.
        device: Where the network lives.
        blocks: The blocks in which pictures attend to themselves.
    """

    def __init__(
        self,
        branches: Branches,
        layers: Mapping[str, Layer],
        steps: int,
        device: torch.device | str,
        blocks: Sequence[Block] = (),
    ) -> None:
        self._branches, self._steps, self._device = branches, steps, device
        self._places: set[Layer | int] = {*layers.values(), *(block.number for block in blocks)}
        self._coarse = {cross: coarse_level(layers, cross) for cross in (True, False)}
        self._origins = torch.tensor(branches.origins, device=device)
        self._targets = torch.arange(len(branches.sources), len(branches), device=device)
        self._reached: set[Layer | int] = set()
        self._blends = 0
        self._maps: Tensor | None = None
        self._limited = torch.zeros(len(self._targets), dtype=torch.bool, device=device)
        self._number = -1
        self._set(0)

    def _set(self, number: int) -> None:
        """Take the plans of the moment after ``number`` steps, unless they are in force."""
        if number == self._number:
            return
        plans = self._branches.plans(Moment(number, self._steps))
        self._number = number
        # Read while the plans are on the CPU: a read from a GPU waits for its queue.
        self._changes, self._gathers = plans.changes_prompt, plans.gathers
        self._borrows, self._blending = bool(plans.self_attention.any()), bool(plans.blended.any())
        self._borrowers = plans.self_attention.nonzero().squeeze(1).to(self._device)
        self._plans = combine([plans], lambda x, axis: x[0].to(self._device))

    def enter(self, number: int, size: Size, null_rows: int, prompt_tokens: int = 0) -> None:
        """Announce a network call.

        Arguments:
            number: Steps taken before it.
            size: Height and width of the latents.
            null_rows: Rows of the null prompt, which come first and share alone.
            prompt_tokens: Tokens of a prompt, which come first in a block that joins both.
        """
        self._set(number)
        self._size, self._prompt_tokens = size, prompt_tokens
        self._halves = (0, null_rows) if null_rows else (0,)
        self._rows = (self._origins + null_rows, self._targets + null_rows)

    def attends(self, layer: Layer) -> bool:
        """Return whether the layer's attention is changed or its maps gathered in this call."""
        self._reached.add(layer)
        if layer.cross:
            return self._changes or self._has_maps(layer)
        return self._borrows and layer.level >= self._coarse[False]

    def _has_maps(self, layer: Layer) -> bool:
        """Return whether the words' maps are taken from this layer."""
        return self._gathers and layer.cross and layer.level == self._coarse[True]

    def attention(self, layer: Layer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the layer's attention under the plans, and gather its maps."""
        if not layer.cross:
            return self._borrowed(query, key, value)
        if self._has_maps(layer):
            self._gather(layer, query, key)
        return self._mixed(query, key, value) if self._changes else attend(query, key, value)

    def _borrowed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return self-attention in which some targets have their source's queries and keys."""
        origins, targets = (rows[self._borrowers] for rows in self._rows)
        query, key = query.clone(), key.clone()
        query[targets], key[targets] = query[origins], key[origins]
        return attend(query, key, value)

    def exchange(self, block: Block, part: Part, states: Tensor) -> Tensor:
        """Return projections (R, P, width) in which some targets have their source's."""
        self._reached.add(block.number)
        for share, takes in self._plans.shared.items():
            if share.covers(block, part):
                first = self._prompt_tokens if block.joined and not share.prompt_tokens else 0
                states = self._taken(states, takes, first)
        return states

    def _taken(self, states: Tensor, takes: Tensor, first: int) -> Tensor:
        """Return states whose tokens from ``first`` on are the source's in the targets marked."""
        states = states.clone()
        for half in self._halves:
            targets, origins = self._targets + half, self._origins + half
            rows = torch.where(takes[:, None, None], states[origins], states[targets])
            states[targets, first:] = rows[:, first:]
        return states

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return cross-attention under the plans' S and d."""
        origins, targets = self._rows
        weights = self._plans.target_weights[:, None, :, None].to(value.dtype)
        source_weights = self._plans.source_weights[:, None].to(value.dtype)
        weighted = value.clone()
        weighted[targets] = weights * value[targets]
        output = attend(query, key, weighted)
        output[targets] += attend(query[origins], key[origins], source_weights @ value[targets])
        return output

    def _gather(self, layer: Layer, query: Tensor, key: Tensor) -> None:
        """Add the maps of the words, (T, 2, h, w), to those of earlier layers and steps."""
        words = self._plans.words[..., None]
        maps = [
            probabilities(query[rows], key[rows]).mean(1) @ words[:, k]
            for k, rows in enumerate(self._rows)
        ]
        grid = torch.stack(maps, 1).view(len(words), 2, *_halved(self._size, layer.level))
        self._maps = grid if self._maps is None else self._maps + grid

    def mask(self, size: Size) -> Tensor:
        """Return the mask (T, H, W) of where each target may differ from its source.

        It is where the words were seen so far, in the maps of either; everywhere for targets that
        have not been blended.
        """
        if self._maps is None:
            return torch.ones(len(self._targets), *size, dtype=torch.bool, device=self._device)
        spread = max_pool2d(self._maps, kernel_size=3, stride=1, padding=1)
        peak = spread.amax((2, 3), keepdim=True).clamp(min=torch.finfo(spread.dtype).tiny)
        enlarged = interpolate(spread / peak, size=size)
        threshold = self._plans.threshold.nan_to_num(usual_threshold(spread.shape[-2:]))
        inside = (enlarged > threshold[:, None, None, None]).any(1)
        return inside | ~self._limited[:, None, None]

    def blend(self, z: Tensor, number: int) -> Tensor:
        """Return latents (R, C, H, W) after ``number`` steps, the sources' in the background."""
        self._set(number)
        self._blends += 1
        if not self._blending:
            return z
        self._limited |= self._plans.blended
        free = (self.mask(z.shape[-2:]) | ~self._plans.blended[:, None, None])[:, None]
        blended = z.clone()
        blended[self._targets] = torch.where(free, z[self._targets], z[self._origins])
        return blended

    def check(self, inverter: object) -> None:
        """Check, at the end of the run, that it was an edit.

        Raises:
            UserError: attention layers were never reached, or the inverter called no hook, so
                that the edit would silently have been another one.
        """
        if self._places - self._reached:
            raise UserError(
                f"{len(self._places - self._reached)} kinds of attention layer were never "
                "reached, so nothing was edited: the network runs in a way that fpinv cannot "
                "control"
            )
        if self._gathers and not self._blends:
            raise UserError(
                f"inverter {type(inverter).__name__} does not call on_step while it samples, so "
                "that its latents cannot be blended: leave out the words to blend"
            )


def usual_threshold(size: Size) -> float:
    """Return the share of the maximum of maps (h, w) from which on a pixel belongs to the words.

    That of the paper, 0.3, is for maps of 16 x 16. Coarser ones are spread by one grid point, too,
    so that with it most of the picture is free on the 8 x 8 of the bundled model; 0.6 misses the
    lesser of two like objects there.
    """
    return 0.3 if max(size) >= FINE else 0.5


def _halved(size: Size, times: int) -> Size:
    """Return the sides of a token grid, rounded up as by the UNet's strided convolutions."""
    height, width = size
    for _ in range(times):
        height, width = -(-height // 2), -(-width // 2)
    return height, width
