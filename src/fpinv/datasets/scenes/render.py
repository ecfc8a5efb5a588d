"""Pictures of scenes, analytic, at any size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fpinv.datasets.scenes.shapes import DISTANCES, Array, smooth
from fpinv.datasets.scenes.world import BACKGROUNDS, COLOURS, Object, Scene


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
    paint = top + smooth(0.05, 0.95, y)[..., None] * (bottom - top)
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
        return np.asarray(smooth(-0.35, 0.35, np.cos(a * (2 * math.pi / 0.62))), np.float32)
    period = 0.62
    a, b = (np.mod(t + period / 2, period) - period / 2 for t in (a, b))
    return np.asarray(1 - smooth(0.11, 0.23, np.hypot(a, b)), np.float32)


@dataclass(frozen=True)
class ObjectLayer:
    rows: slice
    columns: slice
    cover: Array
    shadow: Array
    paint: Array


def object_layer(item: Object, light: float, size: int) -> ObjectLayer:
    """Cover, shadow and paint of one object on its own window."""
    rows, columns = _window(item, size)
    x, y = (plane[rows, columns] for plane in _grid(size))
    toward = (math.sin(light), -math.cos(light))
    distance = _distance(item, x, y)
    edge = 0.75 / (size * item.radius)
    cover = 1 - smooth(-edge, edge, distance)
    drop = 0.2 * item.radius
    fallen = _distance(item, x + toward[0] * drop, y + toward[1] * drop)
    shadow = 0.42 * (1 - smooth(-0.3, 0.26, fallen))
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
    return ObjectLayer(rows, columns, cover, shadow, paint)


def _composite(scene: Scene, size: int) -> Array:
    picture = _background(scene.background, size)
    layers = [object_layer(item, scene.light, size) for item in scene.objects]
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
