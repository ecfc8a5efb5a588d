"""Pictures that show no scene: what the classifier must not take for an object.

A kind is a function of :class:`Material`, scenes with their model, that returns a picture for each
set of scenes. The classifier is trained on some kinds and measured on the others, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import common
import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from fpinv.datasets.scenes import Scene, caption, render_array, sample_scene
from fpinv.datasets.scenes.world import SHAPE_NAMES
from fpinv.images import square
from fpinv.images.viewing import open_picture
from fpinv.models.stable_diffusion import StableDiffusion

SET = 5
"""Scenes of a set: as many as a centroid is made of."""
FAINTEST = 0.35
"""Least weight of a picture in a crossfade: below it the other is seen to be there alone."""
STEPS = 20
UNFINISHED = 0.2
"""Signal scale below which a sample's prediction of the image is no object yet, by eye."""


@dataclass(frozen=True)
class Material:
    """Sets of scenes of one object, the shapes taking turns, and the networks of their model.

    Arguments:
        split: A split of the world.
        seed: Seed of the world and of everything random.
        size: Side of the pictures.
        count: Number of sets.
        vae: The autoencoder.
        model: The whole model; None where there is none yet, which leaves ``unfinished`` out.
        photographs: A folder of JPEG files; None leaves ``photograph`` out.
    """

    split: str
    seed: int
    size: int
    count: int
    vae: AutoencoderKL
    model: StableDiffusion | None = None
    photographs: str | None = None

    @cached_property
    def scenes(self) -> list[Scene]:
        """The first scene of each set."""
        return [self._scene(index) for index in range(self.count)]

    def _scene(self, index: int, member: int = 0) -> Scene:
        shape = SHAPE_NAMES[index % len(SHAPE_NAMES)]
        # Far from the scenes that the classifier is measured on.
        number = 2_000_000 + SET * index + member
        return sample_scene(self.seed, number, self.split, 1, [shape])

    @cached_property
    def sets(self) -> Tensor:
        """The pictures (count, SET, 3, size, size) in [-1, 1], those of a set of one shape."""
        scenes = [self._scene(index, k) for index in range(self.count) for k in range(SET)]
        pictures = self.drawn(scenes)
        return pictures.unflatten(0, (self.count, SET))

    @property
    def pictures(self) -> Tensor:
        """The first picture of each set."""
        return self.sets[:, 0]

    def drawn(self, scenes: list[Scene]) -> Tensor:
        """Return the pictures of scenes, (B, 3, size, size) in [-1, 1]."""
        arrays = np.stack([render_array(scene, self.size) for scene in scenes])
        return common.to_tensor(arrays, self.vae.device)

    def chance(self, kind: str) -> torch.Generator:
        """Return the generator of a kind."""
        number = int.from_bytes(f"{self.split} {kind}".encode()[:7], "big")
        return torch.Generator().manual_seed(self.seed + number)

    def normal(self, kind: str, *shape: int) -> Tensor:
        """Return the normal numbers (count, *shape) of a kind."""
        values = torch.randn(self.count, *shape, generator=self.chance(kind))
        return values.to(self.vae.device)

    def uniform(self, kind: str, *shape: int) -> Tensor:
        """Return the numbers (count, *shape) in [0, 1) of a kind."""
        values = torch.rand(self.count, *shape, generator=self.chance(kind))
        return values.to(self.vae.device)

    @torch.no_grad()
    def decoded(self, latents: Tensor) -> Tensor:
        """Return the pictures of latents (B, C, h, w)."""
        batches = [self.vae.decode(z).sample for z in latents.split(50)]
        return torch.cat(batches).clamp(-1, 1)

    @torch.no_grad()
    def encoded(self, pictures: Tensor) -> Tensor:
        """Return the latents of pictures (B, 3, size, size)."""
        batches = [self.vae.encode(x).latent_dist.mode() for x in pictures.split(50)]
        return torch.cat(batches)


Kind = Callable[[Material], Tensor]


def noise(material: Material) -> Tensor:
    """Return noise of every grain around a colour."""
    side = material.size
    colour = 0.5 * material.normal("noise: colour", 3, 1, 1)
    strength = material.uniform("noise: strength", 1, 1, 1)
    picture = colour.expand(-1, -1, side, side)
    for octave in range(5):
        cells = material.normal(f"{octave} of noise", 3, side >> octave, side >> octave)
        weight = material.uniform(f"{octave} of weight", 1, 1, 1)
        picture = picture + strength * weight * _enlarged(cells, side)
    return picture.clamp(-1, 1)


def texture(material: Material) -> Tensor:
    """Return stripes, checks and gradients of two colours, in any direction and of any width."""
    side = material.size
    place = torch.linspace(-1, 1, side, device=material.vae.device)
    y, x = torch.meshgrid(place, place, indexing="ij")
    angle = 2 * torch.pi * material.uniform("angle", 1, 1)
    frequency = 0.5 * 30 ** material.uniform("frequency", 1, 1)
    a = torch.cos(angle) * x + torch.sin(angle) * y
    b = torch.cos(angle) * y - torch.sin(angle) * x
    wave = torch.sin(torch.pi * frequency * a)
    checked = material.uniform("checked", 1, 1) < 0.5
    wave = torch.where(checked, wave * torch.sin(torch.pi * frequency * b), wave)
    sharpness = 1 + 9 * material.uniform("sharpness", 1, 1)
    share = (0.5 + 0.5 * torch.tanh(sharpness * wave) / torch.tanh(sharpness)).unsqueeze(1)
    first, second = (material.uniform(f"{k}. colour", 3, 1, 1) for k in (1, 2))
    return 2 * (first + share * (second - first)) - 1


def ground(material: Material) -> Tensor:
    """Return the backgrounds of scenes without their objects."""
    return material.drawn([replace(scene, objects=()) for scene in material.scenes])


def crossfade(material: Material) -> Tensor:
    """Return weighted means of two pictures, or means of a set.

    Half of the two are of one shape. Three quarters are of two pictures.
    """
    first, second = material.sets[:, 0], material.sets[:, 1]
    alike = material.uniform("alike", 1, 1, 1) < 0.5
    other = torch.where(alike, second, second.roll(1, 0))
    weight = FAINTEST + (1 - 2 * FAINTEST) * material.uniform("weight", 1, 1, 1)
    two = material.uniform("two", 1, 1, 1) < 0.75
    return torch.where(two, first.lerp(other, weight), material.sets.mean(1))


def melted(material: Material) -> Tensor:
    """Return objects whose outlines are bent until they have no name."""
    side = material.size
    waves = _enlarged(material.normal("melted", 2, 7, 7), side)
    waves = waves / waves.std((2, 3), keepdim=True)
    amount = 0.2 + 0.12 * material.uniform("amount", 1, 1, 1)
    place = (torch.arange(side, device=material.vae.device) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(place, place, indexing="ij")
    grid = torch.stack([x, y], -1) + (amount * waves).permute(0, 2, 3, 1)
    return F.grid_sample(material.pictures, grid, padding_mode="reflection", align_corners=False)


@torch.no_grad()
def unfinished(material: Material) -> Tensor:
    """Return what the model predicts of the image early in sampling, under full captions."""
    model = material.model
    assert model is not None
    denoiser = model.denoiser(STEPS)
    schedule = denoiser.schedule
    steps = [i for i in range(STEPS, 0, -1) if schedule.alpha[i] <= UNFINISHED]
    picked = (len(steps) * material.uniform("step")).long()
    seeds, latents = material.normal("seed", *model.latent_shape), []
    for rows in torch.arange(material.count).split(50):
        prompts = [caption(material.scenes[row]) for row in rows]
        z, condition = seeds[rows], model.condition(prompts, 1.0 + 2.0 * (int(rows[0]) // 50 % 2))
        predictions = []
        for i in steps:
            m = denoiser(z, i, condition)
            predictions.append(schedule.clean(z, m, i))
            z = schedule.transfer(z, m, i, i - 1)
        latents.append(torch.stack(predictions, 1)[torch.arange(len(z)), picked[rows]])
    return material.decoded(torch.cat(latents))


def latent_crossfade(material: Material) -> Tensor:
    """Return the decoded mean of two latents of one shape."""
    means = material.encoded(material.sets[:, 0]).lerp(material.encoded(material.sets[:, 1]), 0.5)
    return material.decoded(means)


def noised(material: Material) -> Tensor:
    """Return decoded latents with as much noise as the image has, or up to three times that."""
    z = material.encoded(material.pictures)
    ratio = 1 + 2 * material.uniform("ratio", 1, 1, 1)
    eps = material.normal("noised", *z.shape[1:])
    return material.decoded((z + ratio * eps) / (1 + ratio**2).sqrt())


def shuffled(material: Material) -> Tensor:
    """Return pictures cut into 8 x 8 tiles, which are then shuffled."""
    side = material.size // 8
    tiles = F.unfold(material.pictures, side, stride=side)
    order = material.uniform("shuffled", 64).argsort(1)
    tiles = tiles.gather(2, order.unsqueeze(1).expand_as(tiles))
    return F.fold(tiles, material.size, side, stride=side)


def photograph(material: Material) -> Tensor:
    """Return parts of photographs, from a third of their shorter side up to all of it."""
    assert material.photographs is not None
    files = sorted(Path(material.photographs).rglob("*.jpg"))
    places = material.uniform("photograph", 3).tolist()
    pictures = []
    for k, (scale, x, y) in enumerate(places):
        image = open_picture(files[k % len(files)])
        side = round(min(image.size) * (1 + 2 * scale) / 3)
        left, top = round(x * (image.width - side)), round(y * (image.height - side))
        pictures.append(square(image.crop((left, top, left + side, top + side)), material.size))
    return torch.stack(pictures).to(material.vae.device)


def _enlarged(cells: Tensor, side: int) -> Tensor:
    return F.interpolate(cells, (side, side), mode="bicubic", align_corners=False)


TRAINED: Mapping[str, Kind] = {
    kind.__name__: kind for kind in (noise, texture, ground, crossfade, melted, unfinished)
}
HELD_OUT: Mapping[str, Kind] = {
    kind.__name__: kind for kind in (latent_crossfade, noised, shuffled, photograph)
}

DECODED = ("unfinished", "latent crossfade", "noised")
"""Kinds whose pictures come from the autoencoder already."""


def made(material: Material, kinds: Mapping[str, Kind]) -> dict[str, Tensor]:
    """Return the pictures of each kind for which there is what it takes, by its name."""
    lacking = {"unfinished": material.model, "photograph": material.photographs}
    return {
        name.replace("_", " "): kind(material)
        for name, kind in kinds.items()
        if lacking.get(name, material.vae) is not None
    }
