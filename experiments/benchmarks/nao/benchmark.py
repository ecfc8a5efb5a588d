"""Compare the norm-aware path with 10,000 iterations of Adam in double precision.

python experiments/benchmarks/nao/benchmark.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fpinv.seeds.cost import PathCost
from fpinv.seeds.paths import Linear, NAOPath

NOISE = 0.01  # of the descent's start: on the line all gradients lie in the plane of its ends


def main(arguments: Sequence[str] | None = None) -> int:
    """Print times, costs and their ratio; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=16384, help="numbers of a seed")
    parser.add_argument("--points", type=int, default=50, help="of the path, ends included")
    parser.add_argument("--iterations", type=int, default=10_000, help="of Adam")
    parser.add_argument("--rate", type=float, default=0.01, help="of Adam")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    generator = torch.Generator().manual_seed(options.seed)
    start_seed, end_seed = torch.randn(2, 1, options.size, generator=generator)
    nao = NAOPath(resolution=options.points)
    cost = nao.cost(start_seed)
    path, seconds = timed(lambda: nao(start_seed, end_seed, options.points).seeds)
    line = Linear()(start_seed.double(), end_seed.double(), options.points).seeds
    noise = torch.randn(line.shape, generator=generator, dtype=line.dtype)
    reference_path, adam_seconds = timed(
        lambda: descend(cost, line, NOISE * noise, options.iterations, options.rate)
    )
    path_cost, reference_cost = cost(path).item(), cost(reference_path).item()
    print(f"d = {options.size}, {options.points} points, {torch.get_num_threads()} threads")
    print(f"norm-aware path: cost {path_cost:.4f} in {seconds:.2f} s")
    print(
        f"Adam, {options.iterations} iterations: cost {reference_cost:.4f} in {adam_seconds:.1f} s"
    )
    print(f"ratio of the costs: {path_cost / reference_cost:.5f}")
    return 0


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Return the result of ``work`` and its seconds."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def descend(cost: PathCost, path: Tensor, noise: Tensor, iterations: int, rate: float) -> Tensor:
    """Return the best path (1, n, d) that Adam meets from ``path + noise``; the ends stay."""
    inner = (path + noise)[:, 1:-1].clone().requires_grad_()
    adam = torch.optim.Adam([inner], lr=rate)
    best, least = inner.detach().clone(), float("inf")
    for _ in range(iterations):
        loss = cost(torch.cat([path[:, :1], inner, path[:, -1:]], 1)).sum()
        if loss.item() < least:
            best, least = inner.detach().clone(), loss.item()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return torch.cat([path[:, :1], best, path[:, -1:]], 1)


if __name__ == "__main__":
    sys.exit(main())
