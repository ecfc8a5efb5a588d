"""Time and memory of opening and summarising a run of many examples.

    python experiments/benchmarks/records/benchmark.py

It writes 100,000 lines as fpi leaves them at 50 steps, 0.5 GB, into a temporary folder. Any other
number of lines may follow the command.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fpinv.run.folder import LINES_FILE, RunFolder
from fpinv.run.record_line import line_of
from fpinv.run.terminal import progress_bar
from fpinv.tasks.record import Record

METRICS = {f"metric_{k}": 20.5 + k for k in range(20)} | {"psnr": 20.123456789}
SERIES = {f"residual_{k}": [0.0123456789] * 50 for k in range(7)}


@contextmanager
def measured(name: str) -> Iterator[None]:
    """Print the CPU seconds of a block, and the peak memory of the process so far."""
    began = time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:10} {time.process_time() - began:6.1f} CPU s, peak {peak:6.0f} MiB")


def main(count: int) -> None:
    """Write ``count`` lines, and measure what a run that goes on does with them."""
    with tempfile.TemporaryDirectory() as name:
        row = Record("", "a red star", METRICS, SERIES).row()
        with (Path(name) / LINES_FILE).open("w") as file:
            for k in range(count):
                file.write(line_of(row | {"id": f"{k:06d}"}))
        with measured("start"):
            pass
        with measured("opening"):
            folder = RunFolder(Path(name))
        with measured("bar"), progress_bar("lines", count, folder.rows.heads()):
            pass
        with measured("summary"):
            folder.summarise({}, count)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
