"""What inversion and sampling cost beyond the network's own forward passes.

    python experiments/benchmark/benchmark.py

prints, for ddim, ife and fpi, the time of invert + sample over (network rows x the bare network's
time per row at that batch): 1 is the floor. All are timed in turn within each repeat, the bare
network before and after each inverter, so that what else the machine does hits them alike; the
table shows medians and extremes over the repeats. Takes the model, steps, guidance, batch_size,
device and precision keys of run.py; fewer steps than 50 make it shorter and stricter.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import hydra
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from fpinv import command
from fpinv.construction import build
from fpinv.denoiser import Condition
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.ife import IFE
from fpinv.models.model import Model

REPEATS = 5
INVERTERS = {"ddim": DDIM(), "ife": IFE(), "fpi": FixedPoint()}


def seconds(model: Model, work: Callable[[], object]) -> float:
    """Wall time of ``work``, the device's queue done before and after."""
    wait = torch.cuda.synchronize if model.device.type == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def bare_pass(model: Model, z: torch.Tensor, condition: Condition, steps: int) -> None:
    """Every grid index once, through the network alone."""
    denoiser = model.denoiser(steps)
    rows = torch.cat([z] * condition.rows_per_sample).to(denoiser.dtype)
    timesteps = torch.tensor(denoiser.schedule.timestep, device=model.device)
    with torch.no_grad():
        for t in timesteps[1:]:
            denoiser.network(rows, t, condition.embedding)


def ratios(model: Model, steps: int, guidance: float, batch: int) -> dict[str, list[float]]:
    """Time over the floor for every inverter, one value a repeat."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(batch, *model.latent_shape, generator=generator).to(model.device)
    condition = model.condition(["a large red circle on a blue background"] * batch, guidance)
    bare_pass(model, z, condition, 2)
    found: dict[str, list[float]] = {name: [] for name in INVERTERS}
    for _ in range(REPEATS):
        for name, inverter in INVERTERS.items():
            before = seconds(model, lambda: bare_pass(model, z, condition, steps))
            denoiser = model.denoiser(steps)

            def there_and_back(inverter=inverter, denoiser=denoiser) -> None:  # noqa: ANN001
                inverter.sample(denoiser, inverter.invert(denoiser, z, condition), condition)

            spent = seconds(model, there_and_back)
            after = seconds(model, lambda: bare_pass(model, z, condition, steps))
            per_row = (before + after) / (2 * steps * batch * condition.rows_per_sample)
            found[name].append(spent / (denoiser.rows * per_row))
    return found


@hydra.main(version_base="1.3", config_path="../../conf", config_name="config")
def main(config: DictConfig) -> None:
    model = build(config, "model")
    found = ratios(model, config.steps, config.guidance, config.batch_size)
    table = Table(
        title=f"time / (rows x bare network time per row), {REPEATS} interleaved repeats: "
        f"{model.name}, {model.device}, batch {config.batch_size}, steps {config.steps}, "
        f"guidance {config.guidance:g}"
    )
    for heading in ("inverter", "median", "least", "most"):
        table.add_column(heading, justify="left" if heading == "inverter" else "right")
    for name, values in found.items():
        numbers = (statistics.median(values), min(values), max(values))
        table.add_row(name, *(f"{value:.3f}" for value in numbers))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(command.run(main))
