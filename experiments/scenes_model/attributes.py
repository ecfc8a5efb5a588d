"""Scenes as class labels, and a small head that reads them off a tower's states."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fpinv.datasets.scenes import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES, Scene

SLOTS = 3
NONE = "none"
OBJECT_FIELDS = {
    "shape": (NONE, *(shape for group in SHAPES.values() for shape in group)),
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "size": tuple(SIZES),
}
SCENE_FIELDS = {
    "background": tuple(BACKGROUNDS),
    "pair": (NONE, "left", "above"),
    "third": (NONE, "left", "right", "above", "below"),
}
CLASSES = [len(names) for names in OBJECT_FIELDS.values()] * SLOTS + [
    len(names) for names in SCENE_FIELDS.values()
]
FIELDS = [f"{name} {slot}" for slot in range(SLOTS) for name in OBJECT_FIELDS] + list(SCENE_FIELDS)
ABSENT = -100


def labels(scenes: Sequence[Scene]) -> Tensor:
    """Class numbers (B, fields) in the order of `FIELDS`; `ABSENT` where there is nothing."""
    return torch.tensor([_labels(scene) for scene in scenes])


def _labels(scene: Scene) -> list[int]:
    found = []
    for slot in range(SLOTS):
        if slot < len(scene.objects):
            item = scene.objects[slot]
            found += [names.index(getattr(item, key)) for key, names in OBJECT_FIELDS.items()]
        else:
            found += [0, ABSENT, ABSENT, ABSENT]
    pair, third = (*scene.relations, NONE, NONE)[:2]
    values = {"background": scene.background, "pair": pair, "third": third}
    return found + [names.index(values[key]) for key, names in SCENE_FIELDS.items()]


class Reader(nn.Module):
    """Learned queries attend to the states (B, L, C), one for each slot and one for the scene."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(0.5 * torch.randn(SLOTS + 1, width))
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.item = nn.Linear(width, sum(len(names) for names in OBJECT_FIELDS.values()))
        self.scene = nn.Linear(width, sum(len(names) for names in SCENE_FIELDS.values()))

    def forward(self, states: Tensor) -> list[Tensor]:
        """Logits of every field, in the order of `FIELDS`."""
        queries = self.queries.expand(len(states), -1, -1)
        found = self.mix(queries + self.attend(queries, states, states, need_weights=False)[0])
        sizes = [len(names) for names in OBJECT_FIELDS.values()]
        logits = [part for k in range(SLOTS) for part in self.item(found[:, k]).split(sizes, -1)]
        ends = [len(names) for names in SCENE_FIELDS.values()]
        return logits + list(self.scene(found[:, -1]).split(ends, -1))


def reading_loss(logits: list[Tensor], truth: Tensor) -> Tensor:
    """Mean cross-entropy over the fields that are there."""
    parts = [
        F.cross_entropy(part.float(), truth[:, k], ignore_index=ABSENT, reduction="sum")
        for k, part in enumerate(logits)
    ]
    return torch.stack(parts).sum() / (truth != ABSENT).sum()


def accuracy(logits: list[Tensor], truth: Tensor) -> dict[str, float]:
    """Share of right answers for each field, over the scenes that have it."""
    right = torch.stack([part.argmax(-1) for part in logits], dim=1) == truth
    there = truth != ABSENT
    return {name: float(right[:, k][there[:, k]].float().mean()) for k, name in enumerate(FIELDS)}
