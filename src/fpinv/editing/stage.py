"""One editing run in progress: the step it is in, the maps it has seen, what follows from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from fpinv.editing.attention import Layer, attend, coarse_level, probabilities
from fpinv.editing.branches import Branches, Plans
from fpinv.editing.controllers import Moment
from fpinv.errors import UserError

Size = tuple[int, int]


class Stage:
    r"""Controls the attention and the latents of one run; all that changes in editing is here.

    Probabilities are computed only where a local blend looks at them. The rest of
    prompt-to-prompt is linear in them and is done to what they are multiplied with, so that
    attention stays fused: with queries q, keys k and values v,

    .. math:: P_t' v_t = P_s (S v_t) + P_t (d v_t), \qquad
              P = \operatorname{softmax}(q k^\top / \sqrt{n})

    and a target with its source's self-attention is one with its source's q and k.

    Arguments:
        branches: The batch.
        layers: The attention layers, by name.
        steps: Number N of steps of the sampling grid.
        device: Where the network lives.
    """

    def __init__(
        self,
        branches: Branches,
        layers: Mapping[str, Layer],
        steps: int,
        device: torch.device | str,
    ) -> None:
        self._branches, self._steps, self._device = branches, steps, device
        self._layers = set(layers.values())
        self._coarse = {cross: coarse_level(layers, cross) for cross in (True, False)}
        self._origins = torch.tensor(branches.origins, device=device)
        self._targets = torch.arange(len(branches.sources), len(branches), device=device)
        self._reached: set[Layer] = set()
        self._blends = 0
        self._maps: Tensor | None = None
        self._set(0)

    def _set(self, number: int) -> None:
        """Makes the plans those of the moment after ``number`` steps."""
        plans = self._branches.plans(Moment(number, self._steps))
        # Asked before they go to the device, which would have to be waited for.
        self._number = number
        self._changes, self._gathers = plans.changes_prompt, plans.gathers
        self._borrows, self._blending = bool(plans.self_attention.any()), bool(plans.blended.any())
        moved = {f.name: getattr(plans, f.name).to(self._device) for f in fields(Plans)}
        self._plans = Plans(**moved)

    def enter(self, number: int, size: Size, null_rows: int) -> None:
        """Announces a network call.

        Arguments:
            number: Steps taken before it.
            size: Height and width of the latents.
            null_rows: Rows of the null prompt, which come first and are left alone.
        """
        if number != self._number:
            self._set(number)
        self._size = size
        self._rows = (self._origins + null_rows, self._targets + null_rows)

    def attends(self, layer: Layer) -> bool:
        """See :class:`~fpinv.editing.attention.Control`."""
        self._reached.add(layer)
        if layer.cross:
            return self._changes or self._looks(layer)
        return self._borrows and layer.level >= self._coarse[False]

    def _looks(self, layer: Layer) -> bool:
        """Whether the words' maps are taken from this layer."""
        return self._gathers and layer.cross and layer.level == self._coarse[True]

    def attention(self, layer: Layer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See :class:`~fpinv.editing.attention.Control`."""
        if not layer.cross:
            return self._borrowed(query, key, value)
        if self._looks(layer):
            self._gather(layer, query, key)
        return self._mixed(query, key, value) if self._changes else attend(query, key, value)

    def _borrowed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Self-attention in which some targets have their source's queries and keys."""
        origins, targets = (rows[self._plans.self_attention] for rows in self._rows)
        query, key = query.clone(), key.clone()
        query[targets], key[targets] = query[origins], key[origins]
        return attend(query, key, value)

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Cross-attention by the plans' S and d."""
        origins, targets = self._rows
        own = self._plans.own[:, None, :, None].to(value.dtype)
        source = self._plans.source[:, None].to(value.dtype)
        kept = value.clone()
        kept[targets] = own * value[targets]
        answer = attend(query, key, kept)
        answer[targets] += attend(query[origins], key[origins], source @ value[targets])
        return answer

    def _gather(self, layer: Layer, query: Tensor, key: Tensor) -> None:
        """Adds the maps of the words, (T, 2, h, w), to those of earlier layers and steps."""
        words = self._plans.words[..., None]
        maps = [
            probabilities(query[rows], key[rows]).mean(1) @ words[:, k]
            for k, rows in enumerate(self._rows)
        ]
        seen = torch.stack(maps, 1).view(len(words), 2, *_halved(self._size, layer.level))
        self._maps = seen if self._maps is None else self._maps + seen

    def mask(self, size: Size) -> Tensor:
        """Where each target may differ, (T, H, W): where its words were seen so far.

        Everywhere, for those that look for none.
        """
        if self._maps is None:
            return torch.ones(len(self._targets), *size, dtype=torch.bool, device=self._device)
        spread = max_pool2d(self._maps, kernel_size=3, stride=1, padding=1)
        peak = spread.amax((2, 3), keepdim=True).clamp(min=torch.finfo(spread.dtype).tiny)
        shown = interpolate(spread / peak, size=size)
        inside = (shown > self._plans.threshold[:, None, None, None]).any(1)
        return inside | ~self._plans.words.any((1, 2))[:, None, None]

    def blend(self, z: Tensor, number: int) -> Tensor:
        """The latents (R, C, H, W) after ``number`` steps, their backgrounds the sources'."""
        if number != self._number:
            self._set(number)
        self._blends += 1
        if not self._blending:
            return z
        free = (self.mask(z.shape[-2:]) | ~self._plans.blended[:, None, None])[:, None]
        blended = z.clone()
        blended[self._targets] = torch.where(free, z[self._targets], z[self._origins])
        return blended

    def check(self, inverter: object) -> None:
        """Makes sure that the run was an edit, once it is over.

        Raises:
            UserError: attention layers were passed by, or the inverter kept its latents to
                itself, so that the edit would silently have been another one.
        """
        if self._layers - self._reached:
            raise UserError(
                f"{len(self._layers - self._reached)} kinds of attention layer were never "
                "reached, so nothing was edited: the network runs in a way that fpinv cannot "
                "control"
            )
        if self._gathers and not self._blends:
            raise UserError(
                f"inverter {type(inverter).__name__} does not hand on its latents while it "
                "samples, so that they cannot be blended: leave out the words to blend"
            )


def _halved(size: Size, times: int) -> Size:
    """The sides of a token grid, as the UNet's strided convolutions round them."""
    height, width = size
    for _ in range(times):
        height, width = -(-height // 2), -(-width // 2)
    return height, width
