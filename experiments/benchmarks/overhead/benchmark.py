"""Measure the time of inversion and sampling over the network's own forward passes.

    python experiments/benchmarks/overhead/benchmark.py

prints, for ddim, ife and fpi, the time of invert + sample over (network rows x the bare network's
time per row at that batch): 1 is the floor. The bare network is timed on the very rows of the run,
one call after each of the run's own, so that other work of the machine slows both alike; its time
is subtracted from the run's. The inverters take turns within each repeat; the table shows medians
and extremes. Takes the model, steps, guidance, batch_size, device and precision keys of run.py.
"""

from __future__ import annotations

import statistics
import sys

import hydra
import torch
from omegaconf import DictConfig
from torch import Tensor

from fpinv.denoiser import Condition, Embedding, Network
from fpinv.inversion import Inverter
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.ife import IFE
from fpinv.models.model import Model
from fpinv.reporting.tables import markdown
from fpinv.run import main as command_line
from fpinv.run.build import build
from fpinv.tasks.timing import wall_time

REPEATS = 5
INVERTERS = {"ddim": DDIM(), "ife": IFE(), "fpi": FixedPoint()}


class Shadowed:
    """A network that does every call twice, the second time for the clock alone.

    Attributes:
        seconds: Time of the second calls.
    """

    def __init__(self, model: Model, network: Network) -> None:
        self.model, self.network, self.seconds = model, network, 0.0

    def __call__(self, z: Tensor, timestep: Tensor, embedding: Embedding) -> Tensor:
        output = self.network(z, timestep, embedding)
        self.seconds += wall_time(self.model.device, lambda: self.network(z, timestep, embedding))
        return output


def ratio(model: Model, inverter: Inverter, z: Tensor, condition: Condition, steps: int) -> float:
    """Return the time of invert + sample over the bare network's time for the same rows."""
    denoiser = model.denoiser(steps)
    shadowed = Shadowed(model, denoiser.network)
    denoiser.network = shadowed

    def there_and_back() -> None:
        inverter.sample(denoiser, inverter.invert(denoiser, z, condition), condition)

    return wall_time(model.device, there_and_back) / shadowed.seconds - 1


def ratios(model: Model, steps: int, guidance: float, batch: int) -> dict[str, list[float]]:
    """Return the times over the floor by inverter, one a repeat, after one run to warm up."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(batch, *model.latent_shape, generator=generator).to(model.device)
    condition = model.condition(["a large red circle on a blue background"] * batch, guidance)
    ratio(model, INVERTERS["ddim"], z, condition, steps=2)
    times: dict[str, list[float]] = {name: [] for name in INVERTERS}
    for _ in range(REPEATS):
        for name, inverter in INVERTERS.items():
            times[name].append(ratio(model, inverter, z, condition, steps))
    return times


@hydra.main(version_base="1.3", config_path="../../../conf", config_name="config")
def main(config: DictConfig) -> None:
    model = build(config, "model")
    times = ratios(model, config.steps, config.guidance, config.batch_size)
    rows = [
        [name, *(f"{summary(values):.3f}" for summary in (statistics.median, min, max))]
        for name, values in times.items()
    ]
    print(
        f"time / (rows x bare network time per row), {REPEATS} interleaved repeats: "
        f"{model.name}, {model.device}, batch {config.batch_size}, steps {config.steps}, "
        f"guidance {config.guidance:g}\n"
    )
    print(markdown(("inverter", "median", "least", "most"), rows))


if __name__ == "__main__":
    sys.exit(command_line.run(main))
