"""The look of figures: one colour and marker an inverter, axes that say where they end, themes.

Markers are hollow, so that what lies under one still shows.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from zlib import crc32

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

Drawing = Callable[[], Figure]
"""Draws a figure, in the theme of the moment."""

DPI = 110  # dots an inch
INK = "ink"
"""The colour of the text, which differs by theme."""
GROUND, BRIGHT, EDGE = "#1c1f24", "#e7e8ea", "#5a616b"  # the dark sheet of page.css, and its ink

DARK: dict[Any, str] = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), GROUND),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), BRIGHT),
    **dict.fromkeys(("xtick.color", "ytick.color"), BRIGHT),
    "legend.edgecolor": EDGE,
}
"""Settings of matplotlib for a dark figure, where they differ from those for a light one."""

BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = (
    *("#0072b2", "#56b4e9", "#009e73"),
    *("#e69f00", "#d55e00", "#cc79a7"),
)
PALETTE = (INK, BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE)
"""Colours that the colour-blind tell apart (Okabe and Ito, 2008), without the yellow."""

INVERTERS: Mapping[str, tuple[str, str]] = {
    "auto": (INK, "*"),
    # plain steps
    "ddim": (VERMILION, "o"),
    "euler": (VERMILION, "s"),
    # equations solved by iteration
    "fpi": (BLUE, "s"),
    "sweeps": (BLUE, "D"),
    "newton": (BLUE, "X"),
    "aidi": (SKY, "^"),
    "renoise": (SKY, ">"),
    "renoise_turbo": (SKY, "<"),
    # equations estimated, or avoided
    "ife": (PURPLE, "D"),
    "negative_prompt": (PURPLE, "d"),
    "direct": (PURPLE, "P"),
    "null_text": (ORANGE, "p"),
    # exact by what they store
    "edict": (GREEN, "v"),
    "bdia": (GREEN, "<"),
    "belm": (GREEN, ">"),
    "edit_friendly": (GREEN, "h"),
    "stored_noises": (GREEN, "H"),
    # for rectified flow
    "rf_solver": (ORANGE, "^"),
    "rf_inversion": (ORANGE, "X"),
    "fireflow": (ORANGE, "v"),
    "uniinv": (ORANGE, "D"),
}
"""Colour and marker of each inverter; a colour is a family."""
FOREIGN_MARKERS = ("8", "1", "2", "3", "4", "+")
"""Markers of inverters from elsewhere, which no inverter of the project has."""


def look(inverter: str) -> tuple[str, str]:
    """Return the colour and marker of an inverter: the same in all figures, by its name alone."""
    if inverter in INVERTERS:
        return INVERTERS[inverter]
    number = crc32(inverter.encode())
    return PALETTE[1 + number % 6], FOREIGN_MARKERS[number // 6 % len(FOREIGN_MARKERS)]


def style(inverter: str, filled: bool = False) -> dict[str, Any]:
    """Return the arguments of matplotlib for the points and lines of an inverter.

    Arguments:
        inverter: Name of the inverter.
        filled: Fill the marker, for a variant in the same figure or one that error bars cross.
    """
    colour, marker = look(inverter)
    shade = ink() if colour == INK else colour
    face = shade if filled else "none"
    size = 8 if marker == "*" else 5
    return {"color": shade, "marker": marker, "markerfacecolor": face, "markersize": size}


def ink() -> str:
    """Return the colour of the text in the theme of the moment."""
    return str(matplotlib.rcParams["text.color"])


def mark_cap(axes: Axes, cap: float) -> None:
    """Say at the y axis that points on the line ``cap`` are at least so high.

    It is called when all is drawn; without points there the axis stays as it is.
    """
    if not any(cap in np.asarray(line.get_ydata()) for line in axes.get_lines()):
        return
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= cap - (high - low) / 10]
    axes.set_yticks([*ticks, cap], [*(f"{tick:g}" for tick in ticks), f"≥ {cap:g}"])
    axes.set_ylim(low, high)


def name_coincident(axes: Axes, points: Iterable[tuple[str, float, float]]) -> None:
    """Write the names of different inverters beside points that coincide, once for each set.

    It is called when all is drawn, as it needs the limits of the axes.

    Arguments:
        axes: The axes.
        points: Name and place of each point; points coincide that are nearer than 1.2 % of the
            axes.
    """
    axes.autoscale_view()
    places = axes.transScale + axes.transLimits
    groups: list[tuple[tuple[float, float], list[str]]] = []
    for name, x, y in points:
        across, up = places.transform((x, y))
        for (left, bottom), names in groups:
            if max(abs(across - left), abs(up - bottom)) < 0.012:
                names.append(name)
                break
        else:
            groups.append(((across, up), [name]))
    firsts = {tuple(dict.fromkeys(names)): place for place, names in reversed(groups)}
    for distinct, place in firsts.items():
        if len(distinct) > 1:
            _note(axes, ", ".join(distinct), place)


def _note(axes: Axes, words: str, place: tuple[float, float]) -> None:
    """Write words beside a place in parts of the axes, on the side where there is room."""
    right, low = place[0] > 0.6, place[1] < 0.9
    axes.annotate(
        words,
        place,
        (-6 if right else 6, 6 if low else -9),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize=7,
    )


def dark_name(name: str) -> str:
    """Return the file name of the dark variant of a figure, such as ``frontier.dark.png``."""
    stem, _, ending = name.rpartition(".")
    return f"{stem}.dark.{ending}"


def as_picture(drawing: Drawing, dark: bool = False) -> Image.Image:
    """Return a figure as a picture, in light or in dark."""
    file = io.BytesIO()
    # The theme lasts until the file is written: matplotlib makes ticks when it draws.
    with matplotlib.rc_context(DARK if dark else {}):
        FigureCanvasAgg(drawing()).print_figure(file, format="png", dpi=DPI)
    return Image.open(file).convert("RGB")
