"""The look of figures: methods are told apart, axes say where they end, themes are two."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fpinv.reporting import figures
from fpinv.reporting.figures import INVERTERS, as_picture, look, mark_cap, name_coincident, style
from fpinv.run.options import names

# Machado, Oliveira and Fernandes (2009), severity 1: what people without red or green cones see.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}


def test_every_inverter_has_a_colour_and_a_marker_of_its_own():
    assert set(names("inverter")) == set(INVERTERS)
    assert len(set(INVERTERS.values())) == len(INVERTERS)


def test_an_inverter_from_elsewhere_always_looks_the_same_and_like_none_of_ours():
    looks = {name: look(name) for name in ("heun", "mine", "theirs")}
    assert all(look(name) == seen for name, seen in looks.items())
    assert not set(looks.values()) & set(INVERTERS.values())


@pytest.mark.parametrize("matrix", BLINDNESS.values(), ids=BLINDNESS)
@pytest.mark.parametrize("ink", ["black", figures.BRIGHT])
def test_the_colours_differ_for_the_colour_blind_too(matrix, ink):
    colours = [to_rgb(ink if c == figures.INK else c) for c in figures.PALETTE]
    seen = [np.asarray(matrix) @ _linear(colour) for colour in colours]
    assert min(np.abs(a - b).max() for a, b in combinations(seen, 2)) > 0.1


def _linear(colour):
    """Return sRGB as amounts of light."""
    return (np.asarray(colour) + 0.055) ** 2.4 / 1.055**2.4


def test_an_axis_says_that_it_is_capped_only_where_points_lie_at_the_cap():
    axes = Figure().subplots()
    axes.plot([1, 2], [20, 60])
    before = [tick.get_text() for tick in axes.get_yticklabels()]
    mark_cap(axes, 75.0)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == before
    axes.plot([3], [75.0])
    mark_cap(axes, 75.0)
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels[-1] == "≥ 75" and "20" in labels and "80" not in labels


def test_points_that_coincide_are_named_together():
    axes = Figure().subplots()
    points = [("a", 1, 1), ("b", 1, 1.001), ("a", 1, 1), ("c", 2, 2), ("c", 2, 2), ("d", 3, 9)]
    for name, x, y in points:
        axes.plot(x, y, **style(name))
    name_coincident(axes, points)
    assert [text.get_text() for text in axes.texts] == ["a, b"]


def test_a_dark_figure_has_a_dark_ground_and_the_same_colours_of_methods():
    def draw():
        figure = Figure()
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], linewidth=9, **style("fpi"))
        axes.plot([0, 1], [1, 0], linewidth=9, **style("auto"))
        axes.set_xlabel("x")
        return figure

    light, dark = np.asarray(as_picture(draw)), np.asarray(as_picture(draw, dark=True))
    assert light[0, 0].min() == 255 and dark[0, 0].max() < 50
    fpi = (np.array(to_rgb(figures.BLUE)) * 255).round()
    areas = [(picture == fpi).all(-1).sum() for picture in (light, dark)]
    assert areas[0] > 1000 and areas[1] == pytest.approx(areas[0], rel=0.05)
    assert (dark == 0).all(-1).sum() == 0, "nothing black is left, which nobody would see"
