"""A lock on a run folder, which the processes of one run hold together and lose when they end."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from fpinv.errors import UserError
from fpinv.run.processes import Ranks

LOCK_FILE = ".lock"


@contextmanager
def locked(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Keep the processes of other runs off a folder during a block.

    The first process makes sure that it is alone; then all processes of the run share the lock, so
    that the folder is taken as long as any of them lives. Where the file system knows no locks,
    nothing is locked.

    Raises:
        UserError: a process of another run holds the lock; the message names it.
    """
    ranks.first(lambda: folder.mkdir(parents=True, exist_ok=True))
    with (folder / LOCK_FILE).open("a+", encoding="utf-8") as file:
        ranks.first(lambda: _take(file, folder))
        if ranks.size > 1:
            ranks.first(lambda: _lock(file, folder, fcntl.LOCK_SH))
            ranks.each(lambda: _lock(file, folder, fcntl.LOCK_SH))
        yield


def _take(file: TextIO, folder: Path) -> None:
    """Lock the folder for this process alone, and write down which it is."""
    _lock(file, folder, fcntl.LOCK_EX)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()


def _lock(file: TextIO, folder: Path, kind: int) -> None:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise UserError(
            f"{folder} is in use by {file.read() or 'another process'}: wait until that has "
            "ended, or choose another folder with hydra.run.dir"
        ) from None
    except OSError:  # the file system knows no locks
        return
