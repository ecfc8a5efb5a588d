"""Scenes as class labels, for the networks that read attributes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fpinv.datasets.scenes import Scene
from fpinv.metrics.classifiers.scene_attributes import NONE, OBJECT_FIELDS, SCENE_FIELDS, SLOTS

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
