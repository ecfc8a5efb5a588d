"""Pictures of scenes, computed analytically at any size."""

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
    """Return the coordinates x and y (size, size) of the pixels' centres, 0 to 1."""
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x, y = np.meshgrid(centres, centres)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def _background(name: str, size: int) -> Array:
    """Return two colours from top to bottom with a soft spot of light in the upper left."""
    x, y = _grid(size)
    top, bottom = (np.array(colour, np.float32) / 255 for colour in BACKGROUNDS[name])
    paint = top + smooth(0.05, 0.95, y)[..., None] * (bottom - top)
    glow = 0.045 - 0.1 * ((x - 0.4) ** 2 + (y - 0.35) ** 2)
    return np.asarray(paint + glow[..., None], np.float32)


def _window(item: Object, size: int) -> tuple[slice, slice]:
    """Return the rows and columns that an object and its shadow can reach."""
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
    """Return the signed distance to an object at points (x, y), in units of its radius."""
    sine, cosine = np.float32(math.sin(item.angle)), np.float32(math.cos(item.angle))
    u, v = (x - np.float32(item.x)) / item.radius, (y - np.float32(item.y)) / item.radius
    return DISTANCES[item.shape](
        np.asarray(cosine * u + sine * v, np.float32),
        np.asarray(cosine * v - sine * u, np.float32),
    )


def _pattern(item: Object, x: Array, y: Array) -> Array:
    """Return the share of the texture's lighter paint at each point, 0 to 1."""
    if item.texture == "plain":
        return np.zeros_like(x)
    period = 0.62  # of stripes and of dots, in radii
    turn = item.angle + (math.pi / 4 if item.texture == "striped" else 0)
    u, v = (x - item.x) / item.radius, (y - item.y) / item.radius
    a = np.cos(turn) * u + np.sin(turn) * v
    b = np.cos(turn) * v - np.sin(turn) * u
    if item.texture == "striped":
        return np.asarray(smooth(-0.35, 0.35, np.cos(a * (2 * math.pi / period))), np.float32)
    a, b = (np.mod(t + period / 2, period) - period / 2 for t in (a, b))
    return np.asarray(1 - smooth(0.11, 0.23, np.hypot(a, b)), np.float32)


@dataclass(frozen=True)
class ObjectLayer:
    """One object of a picture on the rows and columns that it can reach.

    Arguments:
        rows: Rows of the picture.
        columns: Columns of the picture.
        cover: Opacity of the object at each pixel, 0 to 1.
        shadow: Share of the light that its shadow takes away, 0 to 1.
        paint: Colour of the object (h, w, 3), 0 to 1.
    """

    rows: slice
    columns: slice
    cover: Array
    shadow: Array
    paint: Array


def object_layer(item: Object, light: float, size: int) -> ObjectLayer:
    """Return cover, shadow and paint of an object in light from a direction in radians."""
    rows, columns = _window(item, size)
    x, y = (plane[rows, columns] for plane in _grid(size))
    toward = (math.sin(light), -math.cos(light))
    distance = _distance(item, x, y)
    edge = 0.75 / (size * item.radius)
    cover = 1 - smooth(-edge, edge, distance)
    drop = 0.2 * item.radius
    shadow_distance = _distance(item, x + toward[0] * drop, y + toward[1] * drop)
    shadow = 0.42 * (1 - smooth(-0.3, 0.26, shadow_distance))
    colour = np.array(COLOURS[item.colour], np.float32) / 255
    pale = colour + 0.66 * (1 - colour)
    paint = colour + _pattern(item, x, y)[..., None] * (pale - colour)
    # A rounded rim lit from one side, on a body that is brighter towards the light.
    body = 0.07 * ((x - item.x) * toward[0] + (y - item.y) * toward[1]) / item.radius
    shade = _rim(distance, toward, size * item.radius) + body
    return ObjectLayer(rows, columns, cover, shadow, _shaded(paint, shade))


def _rim(distance: Array, toward: tuple[float, float], radius: float) -> Array:
    """Return the brightness of a rounded rim, at distances in units of a radius in pixels."""
    height = np.sqrt(np.clip(-distance, 0.0, 0.4) / 0.4)
    slope_y, slope_x = np.gradient(height, 1 / radius)
    return np.clip(-(slope_x * toward[0] + slope_y * toward[1]) * 0.085, -0.22, 0.24)


def _shaded(paint: Array, shade: Array) -> Array:
    """Return paint (h, w, 3) that is lighter where the shade is positive and darker elsewhere."""
    shade = shade[..., None]
    return np.where(shade > 0, paint + shade * (1 - paint), paint * (1 + shade))


def _composite(scene: Scene, size: int) -> Array:
    """Return the picture (size, size, 3) in 0 to 1, all shadows below all objects."""
    picture = _background(scene.background, size)
    layers = [object_layer(item, scene.light, size) for item in scene.objects]
    for layer in layers:
        picture[layer.rows, layer.columns] *= 1 - layer.shadow[..., None]
    for layer in layers:
        window = picture[layer.rows, layer.columns]
        window += layer.cover[..., None] * (layer.paint - window)
    return picture


def object_mask(scene: Scene, size: int = 64) -> NDArray[np.bool_]:
    """Return the pixels (size, size) that an object covers, if only in part; shadows are none."""
    mask = np.zeros((size, size), bool)
    for item in scene.objects:
        layer = object_layer(item, scene.light, size)
        mask[layer.rows, layer.columns] |= layer.cover > 0
    return mask


def render_array(scene: Scene, size: int = 64) -> NDArray[np.uint8]:
    """Return the picture as (size, size, 3) bytes."""
    return (np.clip(_composite(scene, size), 0, 1) * 255 + 0.5).astype(np.uint8)


def render(scene: Scene, size: int = 64) -> Image.Image:
    """Return the picture at any size; a larger picture shows the scene in more detail."""
    return Image.fromarray(render_array(scene, size))
