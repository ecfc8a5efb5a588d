"""Scenes as class labels, for the networks that read attributes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fpinv.datasets.scenes import Scene
from fpinv.metrics.classifiers.scene_attributes import (
    NONE,
    OBJECT_FIELDS,
    SCENE_FIELDS,
    SLOTS,
    Reading,
)

FIELDS = [f"{name} {slot}" for slot in range(SLOTS) for name in OBJECT_FIELDS] + list(SCENE_FIELDS)
ABSENT = -100
NOTHING = [0, ABSENT, ABSENT, ABSENT] * SLOTS + [ABSENT] * len(SCENE_FIELDS)
"""The labels of a picture that shows no scene: no object in any place, and nothing else asked."""


def labels(scenes: Sequence[Scene | Reading]) -> Tensor:
    """Return class numbers (B, fields) in the order of `FIELDS`, `ABSENT` for no object."""
    return torch.tensor([_labels(scene) for scene in scenes])


def _labels(scene: Scene | Reading) -> list[int]:
    numbers = []
    for slot in range(SLOTS):
        if slot < len(scene.objects):
            item = scene.objects[slot]
            numbers += [names.index(getattr(item, key)) for key, names in OBJECT_FIELDS.items()]
        else:
            numbers += [0, ABSENT, ABSENT, ABSENT]
    pair, third = (*scene.relations, NONE, NONE)[:2]
    values = {"background": scene.background, "pair": pair, "third": third}
    return numbers + [names.index(values[key]) for key, names in SCENE_FIELDS.items()]


def reading_loss(logits: list[Tensor], truth: Tensor) -> Tensor:
    """Return the mean cross-entropy over the fields that are there."""
    losses = [
        F.cross_entropy(field.float(), truth[:, k], ignore_index=ABSENT, reduction="sum")
        for k, field in enumerate(logits)
    ]
    return torch.stack(losses).sum() / (truth != ABSENT).sum()


def accuracy(logits: list[Tensor], truth: Tensor) -> dict[str, float]:
    """Return the share of right answers for each field, over the scenes that have it."""
    right = torch.stack([field.argmax(-1) for field in logits], dim=1) == truth
    there = truth != ABSENT
    return {name: float(right[:, k][there[:, k]].float().mean()) for k, name in enumerate(FIELDS)}
