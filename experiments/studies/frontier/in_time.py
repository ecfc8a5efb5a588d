"""Solve all steps of an inversion at once, and print the rounds that this takes.

python experiments/studies/frontier/in_time.py

A round evaluates the network at all N latents of a trajectory in one batch, and climbs from the
image with what the steps then hold. Anderson's mixing joins the last rounds of the whole
trajectory (Walker and Ni, 2011, https://doi.org/10.1137/10078356X). A round takes the time of one
evaluation where a device has room for N rows, so that it would pay below some N / 4 rounds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

import fpinv
from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import command
from fpinv.images import Frame
from fpinv.run.options import option


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the error of z_N by round, over the images, for each memory of the mixing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--memories", type=int, nargs="+", default=[0, 3, 8], help="of Anderson's")
    parser.add_argument("--accuracy", type=float, default=100.0, help="of auto's solution, in dB")
    options = parser.parse_args(arguments)
    model, dataset = fpinv.load_model("scenes", device="cpu"), option("dataset", "scenes")
    examples = [dataset[k] for k in range(options.images)]
    frame = Frame(model.image_size, "center")
    z0 = model.encode(torch.stack([frame.pixels(example.open()) for example in examples]))
    condition = model.condition([example.prompt for example in examples], options.guidance)
    exact = option("inverter", "auto", accuracy=options.accuracy)
    denoiser = model.denoiser(options.steps)
    solution = exact.invert(model.denoiser(options.steps), z0, condition).noise
    for memory in options.memories:
        errors = list(rounds(denoiser, z0, condition, solution, memory))
        shown = [1, *(options.steps * k // 4 for k in (1, 2, 4))]
        cells = [f"round {k}: {errors[k - 1]:.1e}" for k in dict.fromkeys(shown) if k]
        print(f"memory {memory}, error of z_N after {', '.join(cells)}")


@torch.no_grad()
def rounds(
    denoiser: Denoiser, z0: Tensor, condition: Condition, solution: Tensor, memory: int
) -> Iterator[float]:
    """Yield the largest error of z_N, over its norm, after each of N rounds."""
    steps = denoiser.schedule.steps
    trajectory = z0.repeat(steps, 1, 1, 1, 1)
    history: list[tuple[Tensor, Tensor]] = []
    for _ in range(steps):
        climbed = climb(denoiser, z0, condition, trajectory)
        history = [*history[-memory:], (climbed, climbed - trajectory)][-memory - 1 :]
        trajectory = mixed(history)
        error = (trajectory[-1] - solution).flatten(1).norm(dim=1)
        yield (error / solution.flatten(1).norm(dim=1)).max().item()


def climb(denoiser: Denoiser, z0: Tensor, condition: Condition, trajectory: Tensor) -> Tensor:
    """Return z_1 to z_N, (N, B, C, H, W), by steps that hold the outputs at a trajectory."""
    schedule, z, climbed = denoiser.schedule, z0, []
    for i, latents in enumerate(trajectory, 1):
        z = schedule.raised(z, schedule.held(latents, denoiser(latents, i, condition), i), i)
        climbed.append(z)
    return torch.stack(climbed)


def mixed(history: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return Anderson's mix of the last rounds' values and residuals, (N, B, C, H, W) each.

    Each image is mixed on its own.
    """
    values, residuals = (
        torch.stack(part).double().movedim(2, 0).flatten(2) for part in zip(*history, strict=True)
    )
    value, residual = values[:, -1], residuals[:, -1]
    changes = (residuals[:, :-1] - residual[:, None]).transpose(1, 2)
    weights = torch.linalg.lstsq(changes, residual[:, :, None]).solution
    moves = ((values[:, :-1] - value[:, None]) * weights).sum(1)
    steps, _, *shape = history[-1][0].shape
    return (value - moves).unflatten(1, (steps, *shape)).movedim(0, 1).to(history[-1][0])


if __name__ == "__main__":
    sys.exit(main())
