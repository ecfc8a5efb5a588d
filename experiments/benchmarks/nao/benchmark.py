"""The norm-aware path against 10,000 iterations of Adam in double precision.

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
    """Reads the command line, prints times, costs and their ratio; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=16384, help="numbers of a seed")
    parser.add_argument("--points", type=int, default=50, help="of the path, ends included")
    parser.add_argument("--iterations", type=int, default=10_000, help="of Adam")
    parser.add_argument("--rate", type=float, default=0.01, help="of Adam")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    generator = torch.Generator().manual_seed(given.seed)
    first, last = torch.randn(2, 1, given.size, generator=generator)
    nao = NAOPath(resolution=given.points)
    cost = nao.cost(first)
    ours, took = timed(lambda: nao(first, last, given.points).seeds)
    start = Linear()(first.double(), last.double(), given.points).seeds
    noise = torch.randn(start.shape, generator=generator, dtype=start.dtype)
    theirs, took_adam = timed(
        lambda: descend(cost, start, NOISE * noise, given.iterations, given.rate)
    )
    found, reference = cost(ours).item(), cost(theirs).item()
    print(f"d = {given.size}, {given.points} points, {torch.get_num_threads()} threads")
    print(f"norm-aware path: cost {found:.4f} in {took:.2f} s")
    print(f"Adam, {given.iterations} iterations: cost {reference:.4f} in {took_adam:.1f} s")
    print(f"ratio of the costs: {found / reference:.5f}")
    return 0


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What ``work`` returns, and its seconds."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def descend(cost: PathCost, path: Tensor, noise: Tensor, iterations: int, rate: float) -> Tensor:
    """The best path (1, n, d) that Adam meets from one (1, n, d) with noise; its ends stay."""
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
