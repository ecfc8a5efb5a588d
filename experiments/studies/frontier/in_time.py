"""Solve all steps of an inversion at once, and print the rounds that this takes.

python experiments/studies/frontier/in_time.py

A round evaluates the network at all N latents of a trajectory, and climbs from the image with what
the steps then hold. Anderson's acceleration mixes the last trajectories of an image. The N
evaluations of a round do not depend on one another, so that a device with room for N rows could do
them at once. That would pay below some N / 4 rounds; here they are done one after another.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

import fpinv
from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import command
from fpinv.images import Frame
from fpinv.run.options import option
from fpinv.solvers import Acceleration, Anderson, rms


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the error of z_N by round, over the images, for each window of the mixing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 4, 9], help="of Anderson's")
    parser.add_argument("--accuracy", type=float, default=100.0, help="of auto's solution, in dB")
    options = parser.parse_args(arguments)
    model, dataset = fpinv.load_model("scenes", device="cpu"), option("dataset", "scenes")
    examples = [dataset[k] for k in range(options.images)]
    frame = Frame(model.image_size, "center")
    z0 = model.encode(torch.stack([frame.pixels(example.open()) for example in examples]))
    condition = model.condition([example.prompt for example in examples], options.guidance)
    exact = option("inverter", "auto", accuracy=options.accuracy)
    denoiser = model.denoiser(options.steps)
    solution = exact.invert(denoiser, z0, condition).noise
    for window in options.windows:
        errors = list(rounds(denoiser, z0, condition, solution, Anderson(window)))
        shown = [1, *(options.steps * k // 4 for k in (1, 2, 4))]
        cells = [f"round {k}: {errors[k - 1]:.1e}" for k in dict.fromkeys(shown) if k]
        print(f"window {window}, error of z_N after {', '.join(cells)}")


@torch.no_grad()
def rounds(
    denoiser: Denoiser,
    z0: Tensor,
    condition: Condition,
    solution: Tensor,
    acceleration: Acceleration,
) -> Iterator[float]:
    """Yield the largest error of z_N, over its norm, after each of N rounds."""
    steps = denoiser.schedule.steps
    trajectory = torch.stack([z0] * steps, 1)
    points, values = (deque[Tensor](maxlen=acceleration.memory) for _ in range(2))
    for _ in range(steps):
        points.append(trajectory)
        values.append(climb(denoiser, z0, condition, trajectory))
        trajectory = acceleration([*points], [*values])
        yield (rms(trajectory[:, -1] - solution) / rms(solution)).max().item()


def climb(denoiser: Denoiser, z0: Tensor, condition: Condition, trajectory: Tensor) -> Tensor:
    """Return z_1 to z_N, (B, N, C, H, W), by steps that hold the outputs at a trajectory."""
    schedule, z, climbed = denoiser.schedule, z0, []
    for i, latents in enumerate(trajectory.unbind(1), 1):
        z = schedule.raised(z, schedule.held(latents, denoiser(latents, i, condition), i), i)
        climbed.append(z)
    return torch.stack(climbed, 1)


if __name__ == "__main__":
    sys.exit(main())
