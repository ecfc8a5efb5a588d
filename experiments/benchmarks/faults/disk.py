"""Disks that are full, and folders that are none."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from forked import Trial, command, compare, rows
from kills import RUN, changes, go_on, on_event


def _full(folder: Path, number: int) -> Callable[[], None]:
    """Return a fault after which no file of the folder can be changed: the disk is full."""

    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    return on_event(folder, number, fail, ever_after=True)


def _limited(size: int) -> Callable[[], None]:
    """Return a fault after which no file grows beyond ``size`` bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _faults(folder: Path, total: int) -> Iterator[tuple[str, Callable[[], None], Callable]]:
    """Yield the name of each fault, what is done in the command, and what beforehand."""

    def nothing() -> None: ...

    def made(name: str) -> Callable[[], None]:
        return lambda: (folder / name).mkdir(parents=True)

    for part in range(5):
        number = 1 + part * (total - 1) // 4
        yield f"disk full from change {number} of {total}", _full(folder, number), nothing
    for size in (0, 2_000, 10_000):
        yield f"no file beyond {size} bytes", _limited(size), nothing
    yield "the run folder is a file", nothing, lambda: folder.write_text("notes")
    yield "metrics.jsonl is a folder", nothing, made("metrics.jsonl")
    yield "config.yaml is a folder", nothing, made("config.yaml")
    removed = on_event(folder, total // 2, lambda: shutil.rmtree(folder))
    yield "the run folder is removed half-way", removed, nothing


def disk_faults(scratch: Path) -> Iterator[Trial]:
    """Yield trials of runs whose disk fails: one line, then a right run once it is mended."""
    whole = scratch / "whole"
    total = changes(whole, (*RUN, f"hydra.run.dir={whole}"))
    reference = rows(whole)
    folder = scratch / "run"
    for fault, during, before in _faults(folder, total):
        before()
        arguments = (*RUN, f"hydra.run.dir={folder}")
        output = command(*arguments, fault=during)
        lines = [line for line in output.text.splitlines() if line.startswith("error: ")]
        orderly = output.code and lines and "Traceback" not in output.text
        for obstacle in (folder, folder / "metrics.jsonl", folder / "config.yaml"):
            if obstacle.is_file() and obstacle == folder:
                obstacle.unlink()
            elif obstacle.is_dir() and obstacle != folder:
                obstacle.rmdir()
        again = command(*go_on(folder, arguments))
        difference = compare(folder, reference)
        if output.code == 0 and not difference:
            yield Trial("disk", fault, "right")
        elif orderly and again.code == 0 and not difference:
            yield Trial("disk", fault, "refused", lines[0])
        else:
            second = difference or (again.last_line if again.code else "")
            yield Trial("disk", fault, "lost", f"{output.last_line}; again: {second}")
        shutil.rmtree(folder, ignore_errors=True)
