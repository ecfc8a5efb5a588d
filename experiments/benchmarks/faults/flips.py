"""Single bits that flip in the files of a run."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from forked import Trial, command, compare, judged, rows
from kills import RUN

KINDS = ("config.yaml", "metrics.jsonl", "summary.json", "status.json")
SEED = 0


def _flip(path: Path, chance: random.Random) -> str:
    """Flip a bit of a file, and return its place."""
    content = bytearray(path.read_bytes())
    place, bit = chance.randrange(len(content)), chance.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"byte {place}, bit {bit}"


def bit_flips(scratch: Path, count: int) -> Iterator[Trial]:
    """Yield trials of finished runs with a flipped bit: gone on with, and inversions opened."""
    whole, folder = scratch / "whole", scratch / "run"
    # The configuration holds its own folder, so that every trial happens there.
    start = command(*RUN, f"hydra.run.dir={folder}")
    assert start.code == 0, start.text
    shutil.copytree(folder, whole)
    reference, chance = rows(whole), random.Random(SEED)
    inversions = sorted((whole / "inversions").glob("*.safetensors"))
    for k in range(count):
        turn = k % (len(KINDS) + 1)
        if turn == len(KINDS):
            yield _opened(chance.choice(inversions), scratch / "flipped.safetensors", chance)
            continue
        name = KINDS[turn]
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        place = _flip(folder / name, chance)
        output = command(f"resume={folder}")
        difference = compare(folder, reference) if output.code == 0 else ""
        yield judged("flips", f"{name}: {place}", output, difference)


def _opened(whole: Path, flipped: Path, chance: random.Random) -> Trial:
    """Return the trial of an inversion file that is opened with a flipped bit."""
    from fpinv import Inversion, UserError

    shutil.copy(whole, flipped)
    fault = f"inversion: {_flip(flipped, chance)}"
    try:
        opened = Inversion.load(flipped)
    except UserError as error:
        return Trial("flips", fault, "refused", str(error))
    except Exception as error:
        return Trial("flips", fault, "lost", f"{type(error).__name__}: {error}")
    same = bool((opened.noise == Inversion.load(whole).noise).all())
    return Trial("flips", fault, "right" if same else "lost", "" if same else "other numbers")
