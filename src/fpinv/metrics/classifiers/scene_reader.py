"""Reads the attributes of scenes off their pictures: the judge of the bundled model's world.

A caption of `fpinv.datasets.scenes` names every attribute of its scene, so whether a picture shows
what was asked is a matter of reading them back.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from fpinv.datasets.scenes import BACKGROUNDS, COLOURS, COUNTS, SHAPES, SIZES, TEXTURES
from fpinv.errors import UserError
from fpinv.models.weights import SCENES, local_folder

BUNDLED = f"{SCENES}/classifier"
NONE = "none"
SLOTS = max(COUNTS)
OBJECT_FIELDS: Mapping[str, tuple[str, ...]] = {
    "shape": (NONE, *(shape for group in SHAPES.values() for shape in group)),
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "size": tuple(SIZES),
}
"""Values of each attribute of an object; an absent object has the shape `none`."""

SCENE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "background": tuple(BACKGROUNDS),
    "pair": (NONE, "left", "above"),
    "third": (NONE, "left", "right", "above", "below"),
}
"""Values of each attribute of a scene: its background and its two relations."""


class Thing(NamedTuple):
    """What can be said about one object."""

    shape: str
    colour: str
    texture: str
    size: str


@dataclass(frozen=True)
class Reading:
    """What a picture shows, or what its caption says, in the order of `Scene.objects`."""

    objects: tuple[Thing, ...]
    relations: tuple[str, ...]
    background: str

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Reading:
        """The truth, from `Scene.attributes()`."""
        things = tuple(
            Thing(*(item[name] for name in Thing._fields)) for item in attributes["objects"]
        )
        return cls(things, tuple(attributes["relations"]), attributes["background"])

    def attributes(self) -> dict[str, Any]:
        """The same in the words of `Scene.attributes()`, as far as a picture tells."""
        return {
            "objects": [thing._asdict() for thing in self.objects],
            "count": len(self.objects),
            "background": self.background,
            "relations": list(self.relations),
        }


def agreement(seen: Reading, said: Reading) -> dict[str, bool]:
    """Which attributes of a picture are as they should be, over all its objects.

    `bound` asks for the right pairs of shape and colour, wherever the objects are; all else is
    compared object by object in the scene's order. An attribute of objects that are too many or
    too few is wrong.
    """
    same = len(seen.objects) == len(said.objects)
    pairs = list(zip(seen.objects, said.objects, strict=False))
    found = {"count": same, "background": seen.background == said.background}
    found["relation"] = seen.relations == said.relations
    for name in Thing._fields:
        found[name] = same and all(getattr(a, name) == getattr(b, name) for a, b in pairs)
    found["bound"] = _looks(seen) == _looks(said)
    found["all"] = seen == said
    return found


def _looks(reading: Reading) -> Counter[tuple[str, str]]:
    return Counter((thing.shape, thing.colour) for thing in reading.objects)


class Reader(nn.Module):
    """Learned queries attend to states (B, L, C): one for each object and one for the scene."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(0.5 * torch.randn(SLOTS + 1, width))
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.item = nn.Linear(width, sum(map(len, OBJECT_FIELDS.values())))
        self.scene = nn.Linear(width, sum(map(len, SCENE_FIELDS.values())))

    def forward(self, states: Tensor) -> list[Tensor]:
        """Logits (B, values) of every object's fields, then of the scene's."""
        queries = self.queries.expand(len(states), -1, -1)
        found = self.mix(queries + self.attend(queries, states, states, need_weights=False)[0])
        sizes = [len(values) for values in OBJECT_FIELDS.values()]
        logits = [part for k in range(SLOTS) for part in self.item(found[:, k]).split(sizes, -1)]
        ends = [len(values) for values in SCENE_FIELDS.values()]
        return logits + list(self.scene(found[:, -1]).split(ends, -1))


class _Block(nn.Module):
    """Two 3x3 convolutions with a shortcut; the first may halve the side."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(before, after, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class SceneClassifier(nn.Module):
    """A small residual network and a `Reader`.

    Pictures are (B, 3, H, W) in [-1, 1]; those larger than ``side`` are averaged down to it, since
    the model was trained there.

    Arguments:
        side: Side of the pictures it was trained on.
        width: Channels of the first stage; the last has four times as many.
        heads: Heads of the reader's attention.
    """

    name = "scenes"

    def __init__(self, side: int = 64, width: int = 48, heads: int = 4) -> None:
        super().__init__()
        self.config = {"side": side, "width": width, "heads": heads}
        self.side = side
        self.trunk = nn.Sequential(
            nn.Conv2d(3, width, 5, 2, 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            _Block(width, 2 * width, 2),
            _Block(2 * width, 2 * width, 1),
            _Block(2 * width, 4 * width, 2),
            _Block(4 * width, 4 * width, 1),
        )
        self.places = nn.Parameter(torch.zeros((side // 8) ** 2, 4 * width))
        self.reader = Reader(4 * width, heads)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> SceneClassifier:
        """The network that `save_pretrained` wrote, in single precision, ready to judge."""
        model = cls(**json.loads((Path(folder) / "config.json").read_text()))
        model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "config.json").write_text(json.dumps(self.config, indent=2) + "\n")
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(weights, Path(folder) / "model.safetensors")

    def stages(self, images: Tensor) -> list[Tensor]:
        """Feature maps (B, C, h, w) of pictures, from the stem's to the last block's."""
        if images.shape[-1] != self.side:
            images = F.interpolate(images, (self.side, self.side), mode="area")
        stem, *blocks = self.trunk[:3], *self.trunk[3:]
        maps = [stem(images)]
        for block in blocks:
            maps.append(block(maps[-1]))
        return maps

    def states(self, images: Tensor) -> Tensor:
        """States (B, places, C) of pictures."""
        return self.stages(images)[-1].flatten(2).mT

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits of every field, as `Reader` orders them."""
        return self.reader(self.states(images) + self.places)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Mean state (B, C), for Frechet distances between sets of pictures."""
        return self.states(images).mean(1)

    @torch.no_grad()
    def read(self, images: Tensor) -> list[Reading]:
        """The likeliest attributes of each picture."""
        best = torch.stack([part.argmax(-1) for part in self(images)], dim=1)
        return [_reading(row) for row in best.tolist()]


def _reading(values: Sequence[int]) -> Reading:
    """A reading from the number of each field's value; objects end at the first absent one."""
    per_object = len(OBJECT_FIELDS)
    things = []
    for slot in range(SLOTS):
        numbers = values[slot * per_object : (slot + 1) * per_object]
        if numbers[0] == 0:
            break
        names = zip(OBJECT_FIELDS.values(), numbers, strict=True)
        things.append(Thing(*(known[number] for known, number in names)))
    ends = zip(SCENE_FIELDS.values(), values[SLOTS * per_object :], strict=True)
    background, *relations = [known[number] for known, number in ends]
    return Reading(tuple(things), tuple(relations[: max(0, len(things) - 1)]), background)


@lru_cache(maxsize=2)
def judge(path: str) -> SceneClassifier:
    """The network in a folder, ``pkg://`` or not; loaded once.

    Raises:
        UserError: the folder holds none.
    """
    folder = local_folder(path)
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{path}: there is no scene classifier; the bundled one is {BUNDLED}")
    return SceneClassifier.from_pretrained(folder)


@dataclass(frozen=True)
class ScenesReader:
    """A judge of edits and of what they keep, for `fpinv.metrics.edit_accuracy`.

    Arguments:
        path: Folder of the classifier; loaded on the first use.
    """

    path: str = BUNDLED

    def __call__(self, images: Tensor) -> list[dict[str, Any]]:
        """The attributes of pictures (B, 3, H, W) in [-1, 1], in order."""
        found = judge(self.path).to(images.device).read(images.float().clamp(-1, 1))
        return [reading.attributes() for reading in found]


@dataclass(frozen=True)
class ScenesFeatures:
    r"""Distance of pictures in the classifier's features: (B,), lower is closer.

    As LPIPS measures it, but without learned weights: with :math:`f_l` the maps of layer l, each
    place's vector scaled to length 1,

    .. math:: d(x, y) = \sum_l \frac{1}{h_l w_l} \sum_p \| f_l(x)_p - f_l(y)_p \|^2

    It stands in for LPIPS where that one's weights are not to be had; it knows scenes only, and
    its numbers are not LPIPS's.

    Arguments:
        path: Folder of the classifier; loaded on the first use.
    """

    path: str = BUNDLED

    name = "features_scenes"

    @torch.no_grad()
    def __call__(self, images: Tensor, reference: Tensor) -> Tensor:
        pictures = torch.cat([images, reference]).float().clamp(-1, 1)
        stages = judge(self.path).to(images.device).stages(pictures)
        return torch.stack([_apart(*stage.chunk(2)) for stage in stages]).sum(0)


def _apart(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of the unit vectors of two maps (B, C, h, w): (B,)."""
    difference = F.normalize(first, dim=1) - F.normalize(second, dim=1)
    return difference.square().sum(1).mean((1, 2))
