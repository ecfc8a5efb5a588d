"""Many edits of one image from one inversion (FPI, Fig. 13).

python experiments/figure13_many_edits/plot.py --out many_edits.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from fpinv import FixedPoint, StableDiffusion, UserError, edit, square, to_pil
from fpinv.datasets.scenes import caption, render, sample_scene

SCENE = sample_scene(seed=0, index=2, split="test", objects=1)
WISHES = (
    ("orange", "green"),
    ("orange", "purple"),
    ("striped", "dotted"),
    ("triangle", "star"),
    ("an ocean gradient", "a black"),
    ("an ocean gradient", "a sunset gradient"),
)
"""Words of the scene's caption, and what is to take their place."""
COLUMNS = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="scenes=pkg://fpinv.models.scenes", help="name=path")
    parser.add_argument("--image", type=Path, help="a picture; none for a scene")
    parser.add_argument("--prompt", default=caption(SCENE), help="what it shows")
    parser.add_argument("--edits", nargs="+", help="what it should show instead")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument(
        "--guidance", type=float, default=3.0, help="of the edits; the source's is 1"
    )
    parser.add_argument("--out", type=Path, default=Path("many_edits.png"))
    given = parser.parse_args(arguments)
    edits = given.edits or [given.prompt.replace(*wish) for wish in WISHES]
    try:
        pictures = many_edits(
            given.model, given.image, given.prompt, edits, given.steps, given.guidance
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    draw(pictures, ["source", given.prompt, *edits], given.out)
    print(given.out)
    return 0


def many_edits(
    model: str,
    image: Path | None,
    prompt: str,
    edits: Sequence[str],
    steps: int,
    guidance: float,
) -> list[Image.Image]:
    """The source, its reconstruction and its edits, all from one inversion at guidance 1.

    Raises:
        UserError: the model or a prompt is at fault.
    """
    name, _, path = model.partition("=")
    network = StableDiffusion(path, name=name)
    source = render(SCENE, network.image_size) if image is None else Image.open(image)
    pixels = square(source, network.image_size)
    inverter = FixedPoint(iterations=5)
    inversion = inverter.invert(
        network.denoiser(steps), network.encode(pixels[None]), network.condition([prompt], 1.0)
    )
    found = edit(
        network, inverter, inversion, prompt, edits, steps=steps, target_guidance=guidance
    )
    return [to_pil(x) for x in (pixels, found.reconstruction, *found.images)]


def draw(pictures: Sequence[Image.Image], titles: Sequence[str], path: Path) -> None:
    """Pictures with their prompts, four a row."""
    rows = -(-len(pictures) // COLUMNS)
    figure = Figure(figsize=(2.2 * COLUMNS, 2.7 * rows), layout="constrained")
    grid = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axis in grid:
        axis.set_axis_off()
    for axis, picture, title in zip(grid, pictures, titles, strict=False):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(fill(title, width=40), fontsize=7)
    FigureCanvasAgg(figure).print_figure(path, format="png", dpi=120)


if __name__ == "__main__":
    sys.exit(main())
