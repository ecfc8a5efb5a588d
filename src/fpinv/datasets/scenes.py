"""A small clay-and-paper world with captions, attributes and exact edits.

A scene is drawn from `(seed, split, index)` alone, by integer hashing, so that every machine sees
the same world and the splits never meet. One to three objects lie on a background; everything a
caption can say is an attribute of the scene, and `edit` renders the same scene with one attribute
changed, which gives editing methods a ground truth and an exact mask.

Prevalence is long-tailed by design (chance that an object has the shape / that a scene shows it):

| bin  | shapes                                                        | object  | scene   |
| ---- | ------------------------------------------------------------- | ------- | ------- |
| many | circle square triangle star heart cross ring moon (8)         | 11.5 %  | 18 %    |
| med  | diamond drop flower hexagon arrow (5)                         | 1.5 %   | 2.5 %   |
| few  | crown bolt fish house gear (5)                                | 0.04 %  | 0.07 %  |

The pictures are analytic (signed distances, smooth edges), so a scene renders at any size.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fpinv.datasets.classes import Category
from fpinv.datasets.example import Example
from fpinv.errors import UserError

Array = NDArray[np.float32]
T = TypeVar("T")

SHAPES: Mapping[str, tuple[str, ...]] = {
    "many": ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon"),
    "med": ("diamond", "drop", "flower", "hexagon", "arrow"),
    "few": ("crown", "bolt", "fish", "house", "gear"),
}
"""Shape names by prevalence bin."""
SHAPE_NAMES = tuple(shape for group in SHAPES.values() for shape in group)

PREVALENCE: Mapping[str, float] = {
    "many": (1 - 5 * 0.015 - 5 * 0.0004) / 8,
    "med": 0.015,
    "few": 0.0004,
}
"""Probability that one object has one given shape of the bin."""

COUNTS: Mapping[int, float] = {1: 0.45, 2: 0.40, 3: 0.15}
"""Probability of one, two and three objects."""

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 40, 44),
    "orange": (244, 132, 30),
    "yellow": (250, 206, 48),
    "green": (52, 158, 76),
    "cyan": (58, 198, 208),
    "blue": (44, 88, 204),
    "purple": (132, 62, 172),
    "pink": (244, 120, 176),
}
TEXTURES = ("plain", "striped", "dotted")
SIZES: Mapping[str, float] = {"small": 0.145, "large": 0.215}
"""Radius as a fraction of the picture's side; a lone object is 1.25 times as large."""

BACKGROUNDS: Mapping[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "white": ((246, 244, 238), (246, 244, 238)),
    "grey": ((150, 152, 158), (150, 152, 158)),
    "black": ((38, 38, 44), (38, 38, 44)),
    "pale blue": ((182, 208, 236), (182, 208, 236)),
    "pale green": ((190, 222, 186), (190, 222, 186)),
    "pale pink": ((244, 208, 212), (244, 208, 212)),
    "sunset gradient": ((124, 96, 156), (252, 198, 150)),
    "ocean gradient": ((196, 230, 236), (36, 92, 136)),
    "meadow gradient": ((208, 230, 246), (130, 178, 92)),
    "twilight gradient": ((34, 34, 78), (164, 140, 198)),
}
"""Colours at the top and at the bottom; the gradients are named, the others are plain."""

RELATIONS: Mapping[str, str] = {
    "left": "to the left of",
    "right": "to the right of",
    "above": "above",
    "below": "below",
}
OPPOSITE: Mapping[str, str] = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
}
PREFIXES = ("", "a photo of ", "a picture of ", "an image of ", "a scene with ")
SIZE_WORDS: Mapping[str, tuple[str, str]] = {
    "small": ("small", "little"),
    "large": ("large", "big"),
}
SPLITS: Mapping[str, int] = {"train": 1, "val": 2, "test": 3}

PHRASINGS = len(PREFIXES) * 2 * 2 * 2 * 2


@cache
def bin_of(shape: str) -> str:
    """Prevalence bin of a shape: many, med or few."""
    return next(name for name, shapes in SHAPES.items() if shape in shapes)


@dataclass(frozen=True)
class Object:
    """One thing in a scene; x, y and radius are fractions of the side, angle is in radians."""

    shape: str
    colour: str
    texture: str
    size: str
    x: float
    y: float
    radius: float
    angle: float


@dataclass(frozen=True)
class Scene:
    """Everything that `render` and `caption` need.

    Args:
        objects: one to three; of a pair the left or upper one first.
        relations: none for one object; `left` or `above` for the first object against the second;
            for three objects also where the third is against those two.
        background: a name of `BACKGROUNDS`.
        light: direction the light comes from, radians from straight up.
        phrasing: which of the caption's phrasings is used.
    """

    seed: int
    split: str
    index: int
    objects: tuple[Object, ...]
    relations: tuple[str, ...]
    background: str
    light: float
    phrasing: int

    def attributes(self) -> dict[str, Any]:
        """The scene as plain numbers, strings and lists."""
        found = asdict(self)
        found["objects"] = [{**asdict(item), "bin": bin_of(item.shape)} for item in self.objects]
        found["relations"] = list(self.relations)
        found["count"] = len(self.objects)
        return found


# --- drawing from (seed, split, index) ------------------------------------------------------

_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """The finaliser of splitmix64."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


class _Draws:
    """Uniform numbers from a key: splitmix64, the same on every machine and for ever."""

    def __init__(self, *key: int) -> None:
        self.state = 0
        for part in key:
            self.state = _mix((self.state ^ part) + 0x9E3779B97F4A7C15 & _MASK)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        self.state = self.state + 0x9E3779B97F4A7C15 & _MASK
        return low + (high - low) * (_mix(self.state) >> 11) * 2.0**-53

    def choice(self, items: Sequence[T]) -> T:
        return items[int(self.uniform() * len(items))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        mark = self.uniform() * sum(weights.values())
        for item, weight in weights.items():
            mark -= weight
            if mark < 0:
                return item
        return next(reversed(list(weights)))


@cache
def _shape_weights(shapes: tuple[str, ...] | None) -> Mapping[str, float]:
    if shapes is not None:
        return dict.fromkeys(shapes, 1.0)
    return {shape: PREVALENCE[name] for name, group in SHAPES.items() for shape in group}


def sample_scene(
    seed: int,
    index: int,
    split: str = "train",
    objects: int | None = None,
    shapes: Sequence[str] | None = None,
) -> Scene:
    """Draw the scene number `index` of a split.

    Args:
        objects: how many objects; None draws the number from `COUNTS`.
        shapes: draw shapes evenly from these; None draws them with the long tail.
    """
    draws = _Draws(seed, SPLITS[split], index)
    drawn = draws.weighted(COUNTS)
    count = drawn if objects is None else objects
    relations, places = _layout(draws, count)
    free = list(COLOURS)
    weights = _shape_weights(None if shapes is None else tuple(shapes))
    things = []
    for x, y in places:
        colour = draws.choice(free)
        free.remove(colour)
        things.append(_sample_object(draws, colour, x, y, weights, alone=count == 1))
    return Scene(
        seed=seed,
        split=split,
        index=index,
        objects=tuple(things),
        relations=relations,
        background=draws.choice(list(BACKGROUNDS)),
        light=draws.uniform(-0.9, -0.4),
        phrasing=int(draws.uniform() * PHRASINGS),
    )


def _sample_object(
    draws: _Draws,
    colour: str,
    x: float,
    y: float,
    weights: Mapping[str, float],
    alone: bool,
) -> Object:
    size = draws.choice(list(SIZES))
    return Object(
        shape=draws.weighted(weights),
        colour=colour,
        texture=draws.choice(TEXTURES),
        size=size,
        x=x,
        y=y,
        radius=SIZES[size] * (1.25 if alone else 1.0) * draws.uniform(0.95, 1.05),
        angle=draws.uniform(-0.3, 0.3),
    )


def _layout(draws: _Draws, count: int) -> tuple[tuple[str, ...], list[tuple[float, float]]]:
    """Relations and centres; a pair lies along one axis, a third object beside the pair."""
    if count == 1:
        return (), [(0.5 + draws.uniform(-0.12, 0.12), 0.5 + draws.uniform(-0.12, 0.12))]
    along, across = "left", draws.uniform(-0.08, 0.08)
    if draws.uniform() < 0.5:
        along = "above"
    places = [(-0.25, across), (0.25, across + draws.uniform(-0.05, 0.05))]
    relations: tuple[str, ...] = (along,)
    if count == 3:
        side = draws.choice(("before", "after"))
        shift = -0.22 if side == "after" else 0.22
        places = [(place, shift + draws.uniform(-0.02, 0.02)) for place, _ in places]
        places.append((draws.uniform(-0.12, 0.12), -shift + draws.uniform(-0.02, 0.02)))
        names = ("above", "below") if along == "left" else ("left", "right")
        relations = (along, names[side == "after"])
    if along == "above":
        places = [(across, along_) for along_, across in places]
    return relations, [
        (0.5 + x + draws.uniform(-0.025, 0.025), 0.5 + y + draws.uniform(-0.025, 0.025))
        for x, y in places
    ]


# --- captions -------------------------------------------------------------------------------


def _article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _phrase(item: Object, synonym: int, swap: int) -> str:
    """`a large red striped star`, or `a large striped red star`."""
    texture = [] if item.texture == "plain" else [item.texture]
    looks = [*texture, item.colour] if swap else [item.colour, *texture]
    return _article(" ".join([SIZE_WORDS[item.size][synonym], *looks, item.shape]))


def caption(scene: Scene) -> str:
    """Say everything that is drawn, in the scene's phrasing; a plain texture goes unsaid."""
    rest, prefix = divmod(scene.phrasing, len(PREFIXES))
    synonym, swap, flip, comma = (rest >> bit & 1 for bit in range(4))
    parts = [_phrase(item, synonym, swap) for item in scene.objects]
    text = parts[0]
    if scene.relations:
        relation = scene.relations[0]
        first, second = parts[:2]
        if flip:
            first, second, relation = second, first, OPPOSITE[relation]
        text = f"{first} {RELATIONS[relation]} {second}"
    if len(parts) == 3:
        where = scene.relations[1]
        text += f", with {parts[2]} " + (
            where if where in ("above", "below") else f"on the {where}"
        )
    ground = _article(f"{scene.background} background")
    return f"{PREFIXES[prefix]}{text}{',' if comma or len(parts) == 3 else ''} on {ground}"


def vocabulary() -> list[str]:
    """Every word and sign that captions use, sorted."""
    words = {"a", "an", "on", "the", "with", "to", "of", "background", "gradient", ","}
    words.update(word for text in PREFIXES for word in text.split())
    words.update(word for pair in SIZE_WORDS.values() for word in pair)
    words.update(word for text in BACKGROUNDS for word in text.split())
    words.update(COLOURS, TEXTURES, RELATIONS, (shape for g in SHAPES.values() for shape in g))
    return sorted(words)


# --- signed distances: negative inside, the shape fits the unit circle -----------------------


def _smooth(low: float, high: float, value: Array) -> Array:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _box(x: Array, y: Array, wide: float, high: float) -> Array:
    dx, dy = np.abs(x) - wide, np.abs(y) - high
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return outside + np.minimum(np.maximum(dx, dy), 0)


def _polygon(points: Sequence[tuple[float, float]]) -> Callable[[Array, Array], Array]:
    """Exact distance to a polygon; y points down."""
    corners = np.array(points, np.float32)
    edges = np.roll(corners, 1, axis=0) - corners
    lengths = (edges**2).sum(1)
    ends = np.roll(corners, 1, axis=0)

    def distance(x: Array, y: Array) -> Array:
        wx = x[..., None] - corners[:, 0]
        wy = y[..., None] - corners[:, 1]
        t = np.clip((wx * edges[:, 0] + wy * edges[:, 1]) / lengths, 0, 1)
        squared = ((wx - t * edges[:, 0]) ** 2 + (wy - t * edges[:, 1]) ** 2).min(-1)
        above = y[..., None] >= corners[:, 1]
        below = y[..., None] < ends[:, 1]
        side = edges[:, 0] * wy > edges[:, 1] * wx
        crossings = ((above & below & side) | (~above & ~below & ~side)).sum(-1)
        return np.where(crossings % 2 == 1, -1, 1).astype(np.float32) * np.sqrt(squared)

    return distance


def _wheel(count: int, radii: Sequence[float], turn: float = 0.0) -> list[tuple[float, float]]:
    """Corners at `count * len(radii)` equal angles from the top, radii in turn."""
    total = count * len(radii)
    angles = [2 * math.pi * k / total + turn for k in range(total)]
    return [
        (radii[k % len(radii)] * math.sin(a), -radii[k % len(radii)] * math.cos(a))
        for k, a in enumerate(angles)
    ]


def _heart(x: Array, y: Array) -> Array:
    """Two discs and a tip, the formula of Inigo Quilez."""
    x, y = np.abs(x) / 1.62, (0.92 - y) / 1.62
    top = np.hypot(x - 0.25, y - 0.75) - math.sqrt(2) / 4
    slant = 0.5 * np.maximum(x + y, 0)
    low = np.minimum(x**2 + (y - 1) ** 2, (x - slant) ** 2 + (y - slant) ** 2)
    return 1.62 * np.where(y + x > 1, top, np.sqrt(low) * np.sign(x - y))


def _ring(x: Array, y: Array) -> Array:
    return np.abs(np.hypot(x, y) - 0.68) - 0.27


def _moon(x: Array, y: Array) -> Array:
    x = x - 0.12
    return np.maximum(np.hypot(x, y) - 0.95, 0.8 - np.hypot(x - 0.5, y + 0.08))


def _cross(x: Array, y: Array) -> Array:
    return np.minimum(_box(x, y, 0.86, 0.26), _box(x, y, 0.26, 0.86)) - 0.05


def _drop(x: Array, y: Array) -> Array:
    """A disc whose tangents meet in a tip above it."""
    centre, radius = 0.34, 0.62
    sine = radius / (1 + centre)
    cosine = math.sqrt(1 - sine * sine)
    slant = np.abs(x) * cosine - (y + 1) * sine
    past = (y + 1) * cosine + np.abs(x) * sine > (1 + centre) * cosine
    return np.where(past, np.hypot(x, y - centre) - radius, np.maximum(slant, -1 - y))


def _flower(x: Array, y: Array) -> Array:
    """Five round petals around a disc."""
    angle = np.arctan2(x, -y)
    fold = 2 * math.pi / 5
    angle = np.mod(angle + fold / 2, fold) - fold / 2
    far = np.hypot(x, y)
    petal = np.hypot(far * np.sin(angle), far * np.cos(angle) - 0.57) - 0.4
    return np.minimum(petal, far - 0.4)


def _fish(x: Array, y: Array) -> Array:
    """An oval body swimming to the right, and a tail."""
    body = (np.hypot((x - 0.16) / 0.84, y / 0.52) - 1) * 0.52
    return np.minimum(body, _TAIL(x, y))


_TAIL = _polygon([(-0.45, 0), (-1, -0.56), (-0.86, 0), (-1, 0.56)])
_STAR = _wheel(5, (1.0, 0.44))
_GEAR_ANGLES = (-0.2, -0.13, 0.13, 0.2)
_GEAR = [
    (radius * math.sin(tooth + turn), -radius * math.cos(tooth + turn))
    for tooth in (k * math.pi / 4 for k in range(8))
    for turn, radius in zip((-0.24, -0.16, 0.16, 0.24), (0.7, 0.98, 0.98, 0.7), strict=True)
]


def _gear(x: Array, y: Array) -> Array:
    return np.maximum(_WHEEL(x, y), 0.3 - np.hypot(x, y))


_WHEEL = _polygon(_GEAR)


def _rounded(
    distance: Callable[[Array, Array], Array], by: float
) -> Callable[[Array, Array], Array]:
    return lambda x, y: distance(x, y) - by


DISTANCES: Mapping[str, Callable[[Array, Array], Array]] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.9,
    "square": lambda x, y: _box(x, y, 0.68, 0.68) - 0.08,
    "triangle": _rounded(_polygon([(0, -0.9), (0.88, 0.66), (-0.88, 0.66)]), 0.07),
    "star": _rounded(_polygon(_STAR), 0.04),
    "heart": _heart,
    "cross": _cross,
    "ring": _ring,
    "moon": _moon,
    "diamond": _rounded(_polygon([(0, -0.98), (0.6, 0), (0, 0.98), (-0.6, 0)]), 0.04),
    "drop": _drop,
    "flower": _flower,
    "hexagon": _rounded(_polygon(_wheel(6, (0.9,), math.pi / 6)), 0.05),
    "arrow": _rounded(
        _polygon(
            [(-0.92, -0.24), (0.02, -0.24), (0.02, -0.72), (0.94, 0), (0.02, 0.72), (0.02, 0.24)]
            + [(-0.92, 0.24)]
        ),
        0.04,
    ),
    "crown": _rounded(
        _polygon(
            [(-0.8, 0.66), (-0.92, -0.6), (-0.42, 0.02), (0, -0.8), (0.42, 0.02), (0.92, -0.6)]
            + [(0.8, 0.66)]
        ),
        0.04,
    ),
    "bolt": _rounded(
        _polygon(
            [(0.3, -0.98), (-0.62, 0.14), (-0.06, 0.14), (-0.34, 0.98), (0.64, -0.22)]
            + [(0.08, -0.22)]
        ),
        0.03,
    ),
    "fish": _fish,
    "house": _rounded(
        _polygon(
            [(0, -0.94), (0.94, -0.12), (0.66, -0.12), (0.66, 0.8), (-0.66, 0.8), (-0.66, -0.12)]
            + [(-0.94, -0.12)]
        ),
        0.03,
    ),
    "gear": _gear,
}


# --- rendering ------------------------------------------------------------------------------


@cache
def _grid(size: int) -> tuple[Array, Array]:
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x, y = np.meshgrid(centres, centres)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def _background(name: str, size: int) -> Array:
    """Two colours from top to bottom, with a soft spot of light in the upper left."""
    x, y = _grid(size)
    top, bottom = (np.array(colour, np.float32) / 255 for colour in BACKGROUNDS[name])
    paint = top + _smooth(0.05, 0.95, y)[..., None] * (bottom - top)
    glow = 0.045 - 0.1 * ((x - 0.4) ** 2 + (y - 0.35) ** 2)
    return np.asarray(paint + glow[..., None], np.float32)


def _window(item: Object, size: int) -> tuple[slice, slice]:
    """The pixels that the object and its shadow can reach."""
    reach = item.radius * 1.5 + 1.5 / size
    rows, columns = (
        slice(
            max(0, math.floor((centre - reach) * size)),
            min(size, math.ceil((centre + reach) * size)),
        )
        for centre in (item.y, item.x)
    )
    return rows, columns


def _distance(item: Object, x: Array, y: Array) -> Array:
    """Signed distance to the object in units of its radius, at pictures' points (x, y)."""
    sine, cosine = np.float32(math.sin(item.angle)), np.float32(math.cos(item.angle))
    u, v = (x - np.float32(item.x)) / item.radius, (y - np.float32(item.y)) / item.radius
    return DISTANCES[item.shape](
        np.asarray(cosine * u + sine * v, np.float32),
        np.asarray(cosine * v - sine * u, np.float32),
    )


def _pattern(item: Object, x: Array, y: Array) -> Array:
    """How much of the texture's lighter paint each point has, 0 to 1."""
    if item.texture == "plain":
        return np.zeros_like(x)
    turn = item.angle + (math.pi / 4 if item.texture == "striped" else 0)
    u, v = (x - item.x) / item.radius, (y - item.y) / item.radius
    a = np.cos(turn) * u + np.sin(turn) * v
    b = np.cos(turn) * v - np.sin(turn) * u
    if item.texture == "striped":
        return np.asarray(_smooth(-0.35, 0.35, np.cos(a * (2 * math.pi / 0.62))), np.float32)
    period = 0.62
    a, b = (np.mod(t + period / 2, period) - period / 2 for t in (a, b))
    return np.asarray(1 - _smooth(0.11, 0.23, np.hypot(a, b)), np.float32)


@dataclass(frozen=True)
class _Layer:
    rows: slice
    columns: slice
    cover: Array
    shadow: Array
    paint: Array


def _layer(item: Object, light: float, size: int) -> _Layer:
    """Cover, shadow and paint of one object on its own window."""
    rows, columns = _window(item, size)
    x, y = (plane[rows, columns] for plane in _grid(size))
    toward = (math.sin(light), -math.cos(light))
    distance = _distance(item, x, y)
    edge = 0.75 / (size * item.radius)
    cover = 1 - _smooth(-edge, edge, distance)
    drop = 0.2 * item.radius
    fallen = _distance(item, x + toward[0] * drop, y + toward[1] * drop)
    shadow = 0.42 * (1 - _smooth(-0.3, 0.26, fallen))
    colour = np.array(COLOURS[item.colour], np.float32) / 255
    pale = colour + 0.66 * (1 - colour)
    paint = colour + _pattern(item, x, y)[..., None] * (pale - colour)
    # A rounded rim lit from one side, on a body that is brighter towards the light.
    height = np.sqrt(np.clip(-distance, 0.0, 0.4) / 0.4)
    slope_y, slope_x = np.gradient(height, 1 / (size * item.radius))
    rim = np.clip(-(slope_x * toward[0] + slope_y * toward[1]) * 0.085, -0.22, 0.24)
    body = 0.07 * ((x - item.x) * toward[0] + (y - item.y) * toward[1]) / item.radius
    shade = rim + body
    paint = np.where(
        shade[..., None] > 0,
        paint + shade[..., None] * (1 - paint),
        paint * (1 + shade[..., None]),
    )
    return _Layer(rows, columns, cover, shadow, paint)


def _composite(scene: Scene, size: int) -> Array:
    picture = _background(scene.background, size)
    layers = [_layer(item, scene.light, size) for item in scene.objects]
    for layer in layers:
        picture[layer.rows, layer.columns] *= 1 - layer.shadow[..., None]
    for layer in layers:
        part = picture[layer.rows, layer.columns]
        part += layer.cover[..., None] * (layer.paint - part)
    return picture


def render_array(scene: Scene, size: int = 64) -> NDArray[np.uint8]:
    """The picture as (size, size, 3) bytes."""
    return (np.clip(_composite(scene, size), 0, 1) * 255 + 0.5).astype(np.uint8)


def render(scene: Scene, size: int = 64) -> Image.Image:
    """The picture at any size; a larger one shows the same scene in more detail."""
    return Image.fromarray(render_array(scene, size))


# --- edits ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One attribute to change, or one object to add or remove.

    Args:
        attribute: shape, colour, texture, size, background, relation, add or remove.
        value: the new value; a relation swaps the pair's places, so it must be the opposite one.
            To add is to put a small plain object, say "blue star", beside a pair.
        object: which object, for the first four and for remove.
    """

    attribute: str
    value: str = ""
    object: int = 0


@dataclass(frozen=True)
class Edit:
    """A scene, the same scene after one change, and where the two pictures may differ."""

    source: Scene
    target: Scene
    change: Change

    @property
    def prompt(self) -> str:
        """The target's caption, in the source's phrasing."""
        return caption(self.target)

    def image(self, size: int = 64) -> Image.Image:
        """The ground truth: what a perfect edit would show."""
        return render(self.target, size)

    def mask(self, size: int = 64) -> NDArray[np.bool_]:
        """True where the change may show: all of it, shadows and a little edge included."""
        if self.change.attribute == "background":
            return _cover(self.source, range(len(self.source.objects)), size, inside=True)
        gone, new = _lost(self.source, self.target), _lost(self.target, self.source)
        return _cover(self.source, gone, size) | _cover(self.target, new, size)


def _lost(scene: Scene, other: Scene) -> list[int]:
    """The objects of a scene that another one does not have as they are."""
    return [k for k, item in enumerate(scene.objects) if item not in other.objects]


def _cover(
    scene: Scene, which: Sequence[int] | range, size: int, inside: bool = False
) -> NDArray[np.bool_]:
    """Pixels that the objects or their shadows touch; `inside`: all but those fully covered."""
    mask = np.full((size, size), inside)
    for k in which:
        layer = _layer(scene.objects[k], scene.light, size)
        part = mask[layer.rows, layer.columns]
        part[...] = part & (layer.cover < 1) if inside else part | (layer.cover + layer.shadow > 0)
    return mask


def edit(scene: Scene, change: Change) -> Edit:
    """Change one attribute of a scene and leave everything else where it is."""
    if change.attribute == "background":
        if change.value not in BACKGROUNDS:
            raise UserError(f"no background {change.value!r}; known: {', '.join(BACKGROUNDS)}")
        return Edit(scene, replace(scene, background=change.value), change)
    others = {"relation": _swapped, "add": _with_another, "remove": _without}
    return Edit(scene, others.get(change.attribute, _with_object)(scene, change), change)


def _swapped(scene: Scene, change: Change) -> Scene:
    """Exchange the places of a pair; the one now on the left or above comes first."""
    relation = change.value
    if len(scene.objects) != 2 or relation != OPPOSITE[scene.relations[0]]:
        raise UserError(
            f"only a pair can change places, to the opposite relation; not {relation!r}"
        )
    first, second = scene.objects
    moved = (replace(second, x=first.x, y=first.y), replace(first, x=second.x, y=second.y))
    return replace(scene, objects=moved)


def _with_another(scene: Scene, change: Change) -> Scene:
    """Put a third object beside a pair, where there is more room."""
    colour, _, shape = change.value.partition(" ")
    if len(scene.objects) != 2 or colour not in COLOURS or shape not in SHAPE_NAMES:
        raise UserError(
            f"an object of a colour and a shape is added to a pair, e.g. 'blue star'; "
            f"not {change.value!r} to {len(scene.objects)}"
        )
    beside = scene.relations[0] == "left"
    middle = sum(item.y if beside else item.x for item in scene.objects) / 2
    after = middle < 0.5
    across = min(0.83, middle + 0.4) if after else max(0.17, middle - 0.4)
    x, y = (0.5, across) if beside else (across, 0.5)
    new = Object(shape, colour, "plain", "small", x, y, SIZES["small"], 0.0)
    where = (("above", "below") if beside else ("left", "right"))[after]
    return replace(scene, objects=(*scene.objects, new), relations=(*scene.relations, where))


def _without(scene: Scene, change: Change) -> Scene:
    """Take away one of a pair, or the third object; the others stay as they are."""
    count = len(scene.objects)
    if (count, change.object) not in ((2, 0), (2, 1), (3, 2)):
        raise UserError(
            "only one of a pair (0 or 1) or the third object (2) can be removed; "
            f"not {change.object} of {count}"
        )
    left = scene.objects[: change.object] + scene.objects[change.object + 1 :]
    return replace(scene, objects=left, relations=scene.relations[: count - 2])


def _with_object(scene: Scene, change: Change) -> Scene:
    known: Mapping[str, Sequence[str]] = {
        "shape": SHAPE_NAMES,
        "colour": list(COLOURS),
        "texture": TEXTURES,
        "size": list(SIZES),
    }
    if change.attribute not in known:
        names = ", ".join([*known, "background", "relation", "add", "remove"])
        raise UserError(f"no attribute {change.attribute!r} to change; known: {names}")
    if change.value not in known[change.attribute]:
        names = ", ".join(known[change.attribute])
        raise UserError(f"no {change.attribute} {change.value!r}; known: {names}")
    if not 0 <= change.object < len(scene.objects):
        raise UserError(f"the scene has {len(scene.objects)} objects, none is {change.object}")
    item = scene.objects[change.object]
    changed = replace(item, **{change.attribute: change.value})
    if change.attribute == "size":
        changed = replace(changed, radius=item.radius * SIZES[change.value] / SIZES[item.size])
    things = list(scene.objects)
    things[change.object] = changed
    return replace(scene, objects=tuple(things))


# --- the dataset ----------------------------------------------------------------------------


class Scenes:
    """A split of the world as examples.

    Args:
        split: train, val or test; no scene is in two of them.
        seed: another seed is another world.
        size: side of the pictures in pixels.
        objects: only scenes with this many objects.
        shapes: draw shapes evenly from these, in place of the long tail.
        length: how many scenes; the generator itself has no end.
    """

    def __init__(
        self,
        split: str = "test",
        seed: int = 0,
        size: int = 64,
        objects: int | None = None,
        shapes: Sequence[str] | None = None,
        length: int = 10_000,
    ) -> None:
        if split not in SPLITS:
            raise UserError(f"no split {split!r}; known: {', '.join(SPLITS)}")
        if objects not in (None, *COUNTS):
            raise UserError(f"scenes have 1, 2 or 3 objects, not {objects}")
        if unknown := [shape for shape in shapes or () if shape not in SHAPE_NAMES]:
            raise UserError(f"no shape {unknown[0]!r}; known: {', '.join(SHAPE_NAMES)}")
        self.split, self.seed, self.size, self.length = split, seed, size, length
        self.objects, self.shapes = objects, tuple(shapes) if shapes else None

    def __len__(self) -> int:
        return self.length

    def scene(self, index: int) -> Scene:
        """The scene behind an example."""
        return sample_scene(self.seed, index, self.split, self.objects, self.shapes)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.length:
            raise IndexError(f"scene {index} of {self.length}")
        scene = self.scene(index)
        return Example(
            id=f"scenes-{self.seed}-{self.split}-{index:06d}",
            prompt=caption(scene),
            image=partial(render, scene, self.size),
            attributes=scene.attributes(),
        )

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(self.length))

    @property
    def categories(self) -> list[Category]:
        """A category per shape: this split's scenes of one object of that shape, or of several."""
        return [self._category(shape) for shape in self.shapes or SHAPE_NAMES]

    def _category(self, shape: str) -> Category:
        objects = self.objects or 1
        images = Scenes(self.split, self.seed, self.size, objects, [shape], self.length)
        prompt, group = f"a photo of {_article(shape)}", bin_of(shape)
        return Category(shape, shape, prompt, images, PREVALENCE[group], group)
