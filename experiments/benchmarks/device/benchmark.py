"""Measure networks of published sizes by precision, compilation and batch, in one run.

    python experiments/benchmarks/device/benchmark.py outputs/device

writes ``measurements.json``, ``table.md`` and ``device.png``. Of each setting: milliseconds a row
of the bare network, that over the network's first setting, the time of inversion and sampling
(fpi, 5 iterations, guidance 1) over its network rows times the bare time, images a second of the
same at 50 steps, and the peak of the GPU's memory. A setting that does not fit is written down
with its error.

The minutes are shared evenly among the networks; no setting begins once a network's are over.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import DDIMScheduler
from matplotlib.figure import Figure
from networks import SIZES, Size
from torch import nn

from fpinv.batch import combine
from fpinv.denoiser import Condition, Denoiser, Network
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.models.machine import Precision, compile_network, resolve_device, set_precision
from fpinv.models.samplers.grids import ddim_grid
from fpinv.reporting.figures import as_picture
from fpinv.reporting.tables import markdown
from fpinv.tasks.timing import wall_time

MODES = ("eager", "compiled")
ITERATIONS, STEPS = 5, 2
PROTOCOL_STEPS = 50


@dataclass(frozen=True)
class Measurement:
    """The costs of a setting; all None but ``error`` where it did not run.

    Arguments:
        network, precision, mode, batch: The setting.
        ms_row: Milliseconds a row of the bare network, the median of several calls.
        relative: That over the one of the network's first setting.
        overhead: Seconds of inversion and sampling over those of their network rows.
        images_per_second: Of inversion and sampling with 50 steps, from the time of 2.
        peak_gib: Peak memory of the GPU, weights included; None without a GPU.
        seconds_first: Seconds of the first call, in which kernels are chosen and compiled.
        error: Why the setting did not run.
    """

    network: str
    precision: str
    mode: str
    batch: int
    ms_row: float | None = None
    relative: float | None = None
    overhead: float | None = None
    images_per_second: float | None = None
    peak_gib: float | None = None
    seconds_first: float | None = None
    error: str | None = None


def built(size: Size, precision: Precision, device: torch.device) -> nn.Module:
    """Return a network on the device.

    It is made there in its precision, since twice the bytes of the largest would not fit.
    """
    dtype = set_precision(precision)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            network = size.build()
    finally:
        torch.set_default_dtype(before)
    return network.to(device).requires_grad_(False).eval()


@torch.no_grad()
def measure(size: Size, network: Network, batch: int, device: torch.device) -> dict[str, float]:
    """Return the numbers of a setting of :class:`Measurement`, but for the relative one."""
    latents, embedding = size.inputs(batch, torch.Generator().manual_seed(0))
    condition = Condition(combine([embedding], lambda x, _: x[0].to(device)))
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    schedule = ddim_grid(scheduler, steps=STEPS)
    denoiser = Denoiser(network, schedule, device=device)
    z, inverter = latents.to(device), FixedPoint(iterations=ITERATIONS)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def bare() -> None:
        denoiser(z, STEPS, condition)

    def there_and_back() -> None:
        inverter.sample(denoiser, inverter.invert(denoiser, z, condition), condition)

    first = wall_time(device, bare)
    again = wall_time(device, bare)
    repeats = max(3, min(20, int(1 / again)))
    call = statistics.median(wall_time(device, bare) for _ in range(repeats))
    denoiser.rows = 0
    whole = wall_time(device, there_and_back)
    numbers = {
        "ms_row": 1000 * call / batch,
        "overhead": whole / (denoiser.rows / batch * call),
        "images_per_second": batch / (whole * PROTOCOL_STEPS / STEPS),
        "seconds_first": first,
    }
    if device.type == "cuda":
        numbers["peak_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return numbers


def measurements(
    networks: Sequence[str],
    precisions: Sequence[Precision],
    modes: Sequence[str],
    batches: Sequence[int],
    device: torch.device,
    minutes: float,
) -> Iterator[Measurement]:
    """Yield the measurements of all settings that begin within each network's share of minutes."""
    for name in networks:
        end = time.monotonic() + 60 * minutes / len(networks)
        size, first = SIZES[name], None
        for precision, mode in product(precisions, modes):
            if time.monotonic() > end:
                break
            try:
                module: Any = built(size, precision, device)
                if mode == "compiled":
                    compile_network(module, device)
            except (RuntimeError, OSError) as error:
                yield Measurement(name, precision, mode, batches[0], error=one_line(error))
                continue
            for batch in batches:
                if time.monotonic() > end:
                    break
                setting = (name, precision, mode, batch)
                try:
                    numbers = measure(size, size.call(module), batch, device)
                except RuntimeError as error:
                    yield Measurement(*setting, error=one_line(error))
                    break
                first = first or numbers["ms_row"]
                yield Measurement(*setting, relative=numbers["ms_row"] / first, **numbers)
            del module
            gc.collect()
            torch.compiler.reset()
            if device.type == "cuda":
                torch.cuda.empty_cache()


def one_line(error: Exception) -> str:
    """Return the first line of an error."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def table(rows: Sequence[Measurement]) -> str:
    """Return the measurements as a table in Markdown."""
    titles = {
        "ms_row": ("ms a row", 2),
        "relative": ("over the first", 2),
        "overhead": ("time / floor", 2),
        "images_per_second": ("images/s, N = 50", 3),
        "peak_gib": ("peak, GiB", 2),
    }
    cells = []
    for row in rows:
        values = [
            "–" if (value := getattr(row, key)) is None else f"{value:.{digits}f}"
            for key, (_, digits) in titles.items()
        ]
        setting = [row.network, row.precision, row.mode, str(row.batch)]
        cells.append([*setting, *values, row.error or ""])
    heads = ["network", "precision", "mode", "batch", *(title for title, _ in titles.values())]
    return markdown([*heads, "error"], cells)


def figure(rows: Sequence[Measurement]) -> Figure:
    """Return milliseconds a row against the batch, a panel a network."""
    rows = [row for row in rows if row.error is None]
    names = list(dict.fromkeys(row.network for row in rows))
    figure = Figure(figsize=(4 * len(names), 3.2), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)
    for name, axis in zip(names, axes[0], strict=True):
        members = [row for row in rows if row.network == name]
        for precision, mode in dict.fromkeys((row.precision, row.mode) for row in members):
            line = [row for row in members if (row.precision, row.mode) == (precision, mode)]
            dashes = "--" if mode == "compiled" else "-"
            x, y = [row.batch for row in line], [row.ms_row for row in line]
            axis.plot(x, y, dashes, marker="o", markersize=3, label=f"{precision}, {mode}")
        axis.set(xscale="log", yscale="log", xlabel="batch", title=name)
        axis.set_xticks(sorted({row.batch for row in members}), minor=False)
        axis.xaxis.set_major_formatter("{x:.0f}")
        axis.legend()
    axes[0, 0].set_ylabel("network, ms a row")
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--networks", type=choice(SIZES), default=["scenes", "sd15"])
    parser.add_argument("--precisions", type=choice(get_args(Precision)), default=["fp32", "bf16"])
    parser.add_argument("--modes", type=choice(MODES), default=list(MODES))
    parser.add_argument("--batches", type=counts, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=8)
    options = parser.parse_args(arguments)
    device = resolve_device(options.device)
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    machine = f"{kind}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[Measurement] = []
    for row in measurements(
        options.networks,
        options.precisions,
        options.modes,
        options.batches,
        device,
        options.minutes,
    ):
        rows.append(row)
        print(json.dumps(asdict(row)), flush=True)
        document = {"machine": machine, "measurements": [asdict(row) for row in rows]}
        (options.out / "measurements.json").write_text(json.dumps(document, indent=1) + "\n")
    (options.out / "table.md").write_text(f"{machine}\n\n{table(rows)}\n")
    if any(row.error is None for row in rows):
        as_picture(lambda: figure(rows)).save(options.out / "device.png")
    return 0


def choice(names: Sequence[str]) -> Callable[[str], list[str]]:
    """Return the reader of a list of some of the names, with commas."""

    def read(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in names]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(names)}")
        return chosen

    return read


def counts(text: str) -> list[int]:
    """Return the batch sizes in a list with commas."""
    try:
        sizes = [int(size) for size in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of batch sizes")
    return sizes


if __name__ == "__main__":
    sys.exit(main())
