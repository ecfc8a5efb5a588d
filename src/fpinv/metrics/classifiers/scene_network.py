"""The bundled classifier of scenes: a small residual network that reads every attribute."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from fpinv.errors import UserError
from fpinv.images import central
from fpinv.metrics.classifiers.scene_attributes import OBJECT_FIELDS, SCENE_FIELDS, SLOTS, Reading
from fpinv.models.weights import SCENES, local_folder

BUNDLED = f"{SCENES}/classifier"


class AttributeHead(nn.Module):
    """Learned queries that attend to states (B, L, C): one for each object and one for the scene.

    Arguments:
        width: Channels C of the states.
        heads: Heads of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(0.5 * torch.randn(SLOTS + 1, width))
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.item = nn.Linear(width, sum(map(len, OBJECT_FIELDS.values())))
        self.scene = nn.Linear(width, sum(map(len, SCENE_FIELDS.values())))

    def forward(self, states: Tensor) -> list[Tensor]:
        """Return logits (B, values) of every object's fields, then of the scene's."""
        queries = self.queries.expand(len(states), -1, -1)
        attended = self.attend(queries, states, states, need_weights=False)[0]
        answers = self.mix(queries + attended)
        object_sizes, scene_sizes = (
            [len(values) for values in fields.values()] for fields in (OBJECT_FIELDS, SCENE_FIELDS)
        )
        objects = [self.item(answers[:, k]).split(object_sizes, -1) for k in range(SLOTS)]
        scene = self.scene(answers[:, -1]).split(scene_sizes, -1)
        return [logits for fields in (*objects, scene) for logits in fields]


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; the first of them may halve the side."""

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
    """A small residual network with an :class:`AttributeHead`.

    Pictures are (B, 3, H, W) in [-1, 1]. Of oblong ones the central square is seen, and those
    larger than ``side`` are averaged down to it, since the network was trained there.

    Arguments:
        side: Side of the pictures it was trained on.
        width: Channels of the first stage; the last has four times as many.
        heads: Heads of the attention.
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
            _ResidualBlock(width, 2 * width, 2),
            _ResidualBlock(2 * width, 2 * width, 1),
            _ResidualBlock(2 * width, 4 * width, 2),
            _ResidualBlock(4 * width, 4 * width, 1),
        )
        self.places = nn.Parameter(torch.zeros((side // 8) ** 2, 4 * width))
        self.reader = AttributeHead(4 * width, heads)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> SceneClassifier:
        """Return the network that ``save_pretrained`` wrote, in float32 and evaluation mode."""
        model = cls(**json.loads((Path(folder) / "config.json").read_text()))
        model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "config.json").write_text(json.dumps(self.config, indent=2) + "\n")
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(weights, Path(folder) / "model.safetensors")

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return feature maps (B, C, h, w) of pictures, from the stem's to the last block's."""
        images = central(images)
        if images.shape[-1] != self.side:
            images = F.interpolate(images, (self.side, self.side), mode="area")
        stem, *blocks = self.trunk[:3], *self.trunk[3:]
        maps = [stem(images)]
        for block in blocks:
            maps.append(block(maps[-1]))
        return maps

    def states(self, images: Tensor) -> Tensor:
        """Return states (B, L, C) of pictures, one for each of L places."""
        return self.stages(images)[-1].flatten(2).mT

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits of every field, in the order of :class:`AttributeHead`."""
        return self.reader(self.states(images) + self.places)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return the mean state (B, C), for Frechet distances between sets of pictures."""
        return self.states(images).mean(1)

    @torch.no_grad()
    def read(self, images: Tensor, doubt: float = 1.0) -> list[Reading]:
        """Return the likeliest attributes of each picture.

        Arguments:
            images: The pictures.
            doubt: Probability of nothing at all above which no object is read, even if one is
                likelier.
        """
        fields = self(images)
        best = torch.stack([logits.argmax(-1) for logits in fields], dim=1)
        best[fields[0].softmax(-1)[:, 0] > doubt, 0] = 0
        return [Reading.decode(row) for row in best.tolist()]


@lru_cache(maxsize=2)
def load_classifier(path: str) -> SceneClassifier:
    """Return the network in a folder, ``pkg://`` or not; it is loaded once.

    Raises:
        UserError: the folder holds no classifier.
    """
    folder = local_folder(path)
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{path}: there is no scene classifier; the bundled one is {BUNDLED}")
    return SceneClassifier.from_pretrained(folder)
