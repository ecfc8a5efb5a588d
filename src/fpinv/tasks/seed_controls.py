"""Seeds that stand in for inverted ones: the rows of control of tables of seeds.

A result is worth something where it beats what needs no inversion (``random``, ``crossfade``), and
it cannot be expected to beat seeds that need none because they are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from fpinv.datasets.classes import Category
from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.seeding import normal
from fpinv.tasks.seed_pipeline import GroupImages, GroupSeeds, SeedPipeline, rows_of

Source = Literal["inverted", "random", "known", "crossfade"]
"""The seeds of a group's images. ``inverted``: those of the images' inversions. ``random``: fresh
noise, which knows nothing of the images. ``known``: the noise of images that the model made of the
class, in place of the group's own. ``crossfade``: none; the images' pixels are mixed."""

DRAWS = 16
"""Draws of noise at most for an image that shows its class."""

Shows = Callable[[Tensor, Category], bool]
"""``shows(images, category)``: whether one of images (B, 3, H, W) shows the class."""


def random_seeds(pipeline: SeedPipeline, loaded: Sequence[GroupImages]) -> list[GroupSeeds]:
    """Return fresh noise for each group's members."""
    return [GroupSeeds(item, _drawn(pipeline, item.group.members)) for item in loaded]


def pixel_seeds(loaded: Sequence[GroupImages]) -> list[GroupSeeds]:
    """Return the pixels (B, 3, H, W) of each group's members in the place of their seeds."""
    return [GroupSeeds(item, item.members) for item in loaded]


def known_seeds(
    pipeline: SeedPipeline, loaded: Sequence[GroupImages], shows: Shows
) -> list[GroupSeeds | UserError]:
    """Return noise from which the model makes images of each group's class, with these images.

    As the group's own images all show their class, noise is drawn until its image does, at most
    :data:`DRAWS` times; the first draw is that of :func:`random_seeds`.
    """
    members = [(item.group, member) for item in loaded for member in item.group.members]
    pairs: dict[int, tuple[Tensor, Tensor | UserError]] = {}
    missed = list(range(len(members)))
    for draw in range(DRAWS):
        noise = _drawn(pipeline, [members[k][1] for k in missed], draw)
        texts = [[pipeline.texts(group, [m])] for group, m in (members[k] for k in missed)]
        images = pipeline.sample(noise.split(1), texts)
        pairs |= dict(zip(missed, zip(noise, images, strict=True), strict=True))
        missed = [k for k in missed if not _done(pairs[k][1], members[k][0].category, shows)]
        if not missed:
            break
    rows = rows_of([len(item.group.members) for item in loaded])
    results = [pairs[k] for k in range(len(members))]
    return [_group(item, results[part]) for item, part in zip(loaded, rows, strict=True)]


def _drawn(pipeline: SeedPipeline, members: Sequence[Example], draw: int = 0) -> Tensor:
    """Return a draw of noise (B, C, h, w) for images, by their names."""
    model, ids = pipeline.model, [f"{member.id}/{draw}" for member in members]
    return normal(model.latent_shape, pipeline.settings.seed, ids, "seed", model.device)


def _done(image: Tensor | UserError, category: Category, shows: Shows) -> bool:
    return isinstance(image, UserError) or shows(image, category)


def _group(
    loaded: GroupImages, made: Sequence[tuple[Tensor, Tensor | UserError]]
) -> GroupSeeds | UserError:
    """Return a group with the images that were made in place of its own, or their error."""
    images = []
    for _, image in made:
        if isinstance(image, UserError):
            return image
        images.append(image)
    noise = torch.stack([z for z, _ in made])
    return GroupSeeds(replace(loaded, members=torch.cat(images)), noise)
