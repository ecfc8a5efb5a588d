"""Measure how long a device waits for a run's records to be written, at once or in a thread.

    python experiments/benchmarks/records/writing.py '<photos>/*.jpg'

Each of 48 records holds four pictures of 512 x 512 pixels of a photo, and an inversion. A device
that needs a second an image is stood in for by sleep, which leaves the host idle as a GPU does.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from glob import glob
from itertools import cycle, islice
from pathlib import Path

import torch
from PIL import Image

from fpinv.errors import OneLineParser, UserError, command
from fpinv.inversion import Inversion
from fpinv.run.folder import RunFolder
from fpinv.run.writing import at_once, in_order
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


@command
def main() -> None:
    """Print the seconds an image of both ways, and those over the device's own."""
    parser = OneLineParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", help="files, as 'photos/*.jpg'")
    pattern = parser.parse_args().photos
    files = sorted(glob(pattern))
    if not files:
        raise UserError(f"{pattern}: there is no such file")
    photos = [
        Image.open(file).convert("RGB").resize((SIDE, SIDE))
        for file in islice(cycle(files), COUNT)
    ]
    for name, way in (("at once", at_once()), ("in a thread", in_order(BATCH))):
        with tempfile.TemporaryDirectory() as path:
            folder, began = RunFolder(Path(path)), time.perf_counter()
            with way as hand_over:
                for record in records(photos):
                    hand_over(partial(folder.append, record))
            seconds = (time.perf_counter() - began) / COUNT
        share = seconds / SECONDS
        print(f"{name:11} {seconds:.2f} s an image, {share:.2f} of the device's own")


if __name__ == "__main__":
    sys.exit(main())
