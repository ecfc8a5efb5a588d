"""Watch a long run: its memory and its images a second over time.

    python experiments/benchmarks/long_run/benchmark.py outputs/long_run steps=10 limit=5000

starts ``run.py`` with these overrides in a folder of its own, ``outputs/long_run/run``. Until it
ends, the memory of its processes (W&B's among them) and the number of images that it has recorded
are read every few seconds. ``measurements.json`` has what was read, ``table.md`` the means of each
quarter of the images, ``long_run.png`` both curves.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil  # accelerate needs it, too
from matplotlib.figure import Figure

from fpinv.reporting.figures import as_picture
from fpinv.reporting.tables import markdown
from fpinv.run.folder import LINES_FILE

ROOT = Path(__file__).parents[3]
QUARTERS = 4
WARM = 0.1  # part of the images after which memory should not grow
MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """One look at the run.

    Arguments:
        seconds: Since the run was started.
        images: Recorded so far.
        memory: Resident memory of all its processes, in MiB.
    """

    seconds: float
    images: int
    memory: float


def memory(process: psutil.Process) -> float:
    """Return the resident memory of a process and its children, in MiB; 0 once it has ended."""
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += each.memory_info().rss
    except psutil.NoSuchProcess:  # ended between two readings
        return 0.0
    return total / MIB


class Lines:
    """The number of lines of a file that grows, each read once."""

    def __init__(self, path: Path) -> None:
        self.path, self.place, self.count = path, 0, 0

    def __call__(self) -> int:
        """Return the number of lines so far."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.place)
                while block := file.read(MIB):
                    self.count += block.count(b"\n")
                self.place = file.tell()
        return self.count


def watch(command: Sequence[str], lines: Lines, interval: float) -> list[Sample]:
    """Return the samples of a run from its start to its end.

    Raises:
        SystemExit: the run failed.
    """
    samples, began = [], time.monotonic()
    run = subprocess.Popen(command, cwd=ROOT)
    process = psutil.Process(run.pid)
    while run.poll() is None:
        if used := memory(process):
            samples.append(Sample(time.monotonic() - began, lines(), used))
        try:
            run.wait(interval)
        except subprocess.TimeoutExpired:
            continue
    if run.returncode:
        sys.exit(run.returncode)
    samples.append(Sample(time.monotonic() - began, lines(), samples[-1].memory))
    return samples


def growth(samples: Sequence[Sample]) -> float:
    """Return the growth of the memory in MiB per 1,000 images, a least-squares line when warm."""
    warm = [s for s in samples if s.images >= WARM * samples[-1].images]
    images = np.array([sample.images for sample in warm], float)
    if len(set(images)) < 2:
        return 0.0
    used = [sample.memory for sample in warm]
    return 1000 * float(np.polynomial.Polynomial.fit(images, used, 1).convert().coef[1])


def table(samples: Sequence[Sample]) -> str:
    """Return the images a second and the memory of each quarter of the images."""
    total, rows = samples[-1].images, []
    for k in range(QUARTERS):
        first, last = (total * (k + j) // QUARTERS for j in (0, 1))
        part = [s for s in samples if first <= s.images <= last and s.images]
        if len(part) < 2 or part[0].images == part[-1].images:
            continue
        rate = (part[-1].images - part[0].images) / (part[-1].seconds - part[0].seconds)
        used = [sample.memory for sample in part]
        images = f"{first + 1} to {last}"
        rows.append([images, f"{rate:.3f}", f"{np.mean(used):.0f}", f"{max(used):.0f}"])
    head = f"{total} images in {samples[-1].seconds / 60:.1f} minutes; after the first tenth the "
    head += f"memory grows by {growth(samples):z.1f} MiB per 1,000 images"
    columns = ("images", "images a second", "memory, MiB: mean", "greatest")
    return f"{head}\n\n{markdown(columns, rows, words=1)}"


def figure(samples: Sequence[Sample]) -> Figure:
    """Return the memory and the images a second over time."""
    drawing = Figure(figsize=(7, 4.5), layout="constrained")
    top, bottom = drawing.subplots(2, 1, sharex=True)
    minutes = np.array([sample.seconds for sample in samples]) / 60
    images = np.array([sample.images for sample in samples], float)
    top.plot(minutes, [sample.memory for sample in samples])
    top.set(ylabel="memory, MiB", ylim=(0, None))
    places = np.linspace(minutes[0], minutes[-1], 51)
    rates = np.diff(np.interp(places, minutes, images)) / np.diff(places) / 60
    bottom.stairs(rates, places)
    bottom.set(xlabel="minutes", ylabel="images a second", ylim=(0, None))
    return drawing


def save(samples: Sequence[Sample], overrides: Sequence[str], folder: Path) -> None:
    """Write the measurements, the table and the picture."""
    entry = {"overrides": list(overrides), "samples": [asdict(sample) for sample in samples]}
    (folder / "measurements.json").write_text(json.dumps(entry) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(table(samples) + "\n", encoding="utf-8")
    as_picture(lambda: figure(samples)).save(folder / "long_run.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the run, watch it, and write what was seen."""
    parser = argparse.ArgumentParser(description="Watches the memory and speed of a long run.")
    parser.add_argument("folder", type=Path, help="where the run and the results go")
    parser.add_argument("overrides", nargs="*", help="of run.py, such as limit=5000")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two readings")
    options = parser.parse_intermixed_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    run = options.folder.resolve() / "run"
    command = [sys.executable, str(ROOT / "run.py"), f"hydra.run.dir={run}", *options.overrides]
    samples = watch(command, Lines(run / LINES_FILE), options.interval)
    save(samples, options.overrides, options.folder)
    print(table(samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
