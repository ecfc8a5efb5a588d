"""What a run's device waits for its records to be written, at the time or behind the next batch.

    python experiments/benchmarks/records/writing.py '<photos>/*.jpg'

Each of 48 records holds four pictures of 512 x 512 pixels of a photo, and an inversion. A device
that needs a second an image is stood in for by sleep, which leaves the host idle as a GPU
does.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from glob import glob
from itertools import cycle, islice
from pathlib import Path

import torch
from PIL import Image

from fpinv.inversion import Inversion
from fpinv.run.folder import RunFolder
from fpinv.run.writing import in_order
from fpinv.tasks.record import Record

COUNT, BATCH, SIDE, STEPS = 48, 8, 512, 50
SECONDS = 1.0  # of the device, an image
NAMES = ("original", "ceiling", "reconstruction", "difference")


def records(photos: list[Image.Image]) -> Iterator[Record]:
    """Yield the records of a device that gives a batch at a time."""
    for k, photo in enumerate(photos):
        if k % BATCH == 0:
            time.sleep(SECONDS * BATCH)
        inversion = Inversion(
            torch.randn(1, 4, SIDE // 8, SIDE // 8), torch.ones(STEPS, 1), torch.ones(STEPS, 1)
        )
        yield Record(str(k), "a photo", images=dict.fromkeys(NAMES, photo), inversion=inversion)


def at_once(records: Iterable[Record], folder: RunFolder) -> None:
    """Write each record before the next one is asked for."""
    for record in records:
        folder.append(record)


def behind(records: Iterable[Record], folder: RunFolder) -> None:
    """Write the records in a thread, as a run does."""
    with in_order(BATCH) as hand_over:
        for record in records:
            hand_over(partial(folder.append, record))


def main(pattern: str) -> None:
    """Print the seconds an image of both ways, and their part above the device's own."""
    chosen = islice(cycle(sorted(glob(pattern))), COUNT)
    photos = [Image.open(file).convert("RGB").resize((SIDE, SIDE)) for file in chosen]
    for way in (at_once, behind):
        with tempfile.TemporaryDirectory() as name:
            began = time.perf_counter()
            way(records(photos), RunFolder(Path(name)))
            seconds = (time.perf_counter() - began) / COUNT
        share = seconds / SECONDS
        print(f"{way.__name__:8} {seconds:.2f} s an image, {share:.2f} of the device's own")


if __name__ == "__main__":
    main(sys.argv[1])
