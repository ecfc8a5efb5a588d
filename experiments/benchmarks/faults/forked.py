"""Commands of the repository in forked processes, which share one import of torch."""

from __future__ import annotations

import json
import math
import os
import runpy
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[3]
LIMIT = 300  # seconds after which a command counts as hung

# Fields that differ between two right runs: times, and the checksum of the line that holds them.
VOLATILE = ("seconds", "crc32")

Outcome = Literal["right", "refused", "lost"]


@dataclass(frozen=True)
class Trial:
    """A fault and what came of it.

    Arguments:
        campaign: The kind of fault.
        fault: The fault, in words.
        outcome: ``right``: the results are those of a run without the fault. ``refused``: one line
            names the culprit, and nothing else is lost. ``lost``: anything else.
        detail: The line that was printed, or what went wrong.
    """

    campaign: str
    fault: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class Output:
    """The end of a command.

    Arguments:
        code: The exit code, negative for a signal.
        text: Its output, errors included.
    """

    code: int
    text: str

    @property
    def refusal(self) -> str:
        """Return the one line of a refusal; empty where the command did not end with one."""
        lines = [line for line in self.text.splitlines() if line.startswith("error: ")]
        orderly = self.code == 2 and len(lines) == 1 and "Traceback" not in self.text
        return lines[0] if orderly else ""

    @property
    def last_line(self) -> str:
        """Return the last line of the output, with the exit code."""
        lines = self.text.strip().splitlines() or ["no output"]
        return f"exit code {self.code}: {lines[-1][:200]}"


def command(*arguments: str, fault: Callable[[], None] | None = None) -> Output:
    """Run ``python run.py <arguments>`` in a forked process.

    Arguments:
        fault: Called in the forked process before the command.
    """
    sys.stdout.flush()
    ours, theirs = os.pipe()
    process = os.fork()
    if not process:
        _become(theirs, list(arguments), fault)
    os.close(theirs)
    text = _read(ours, process)
    _, status = os.waitpid(process, 0)
    return Output(os.waitstatus_to_exitcode(status), text)


def _read(pipe: int, process: int) -> str:
    """Return all that comes through a pipe; a process that takes too long is killed."""
    deadline, parts = time.monotonic() + LIMIT, []
    with open(pipe, "rb", buffering=0) as stream:
        while True:
            ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                os.kill(process, signal.SIGKILL)
            part = stream.read(65536)
            if not part:
                return b"".join(parts).decode("utf-8", "replace")
            parts.append(part)


def _become(pipe: int, arguments: list[str], fault: Callable[[], None] | None) -> None:
    """Turn this process into the command, and leave it by its exit code."""
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(pipe, stream)
        os.close(pipe)
        # The old streams may think of a file, which can be sought in.
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)
        sys.argv = [str(ROOT / "run.py"), *arguments]
        if fault:
            fault()
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def records(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run, failed ones too; none where it has not begun."""
    file = folder / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
    return [json.loads(line) for line in lines if line]


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the finished lines of a run by their example, without what may differ."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return {row["id"]: _lasting(row) for row in records if row["error"] is None}


def _lasting(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if not any(word in k for word in VOLATILE)}


def compare(folder: Path, reference: dict[str, dict[str, Any]]) -> str:
    """Return how a run's records differ from those of a run without a fault; empty if not."""
    try:
        made = rows(folder)
    except (OSError, ValueError, KeyError) as error:
        return f"metrics.jsonl: {type(error).__name__}: {error}"
    if missing := reference.keys() - made.keys():
        return f"{len(missing)} of {len(reference)} records are missing"
    differing = [id for id, row in reference.items() if not _close(made[id], row)]
    return f"the records of {', '.join(differing)} differ" if differing else ""


def _close(value: Any, reference: Any) -> bool:  # noqa: ANN401 - whatever JSON holds
    """Return whether values are the same, numbers up to the rounding of another batch."""
    match value, reference:
        case dict(), dict():
            return value.keys() == reference.keys() and all(
                _close(value[key], reference[key]) for key in value
            )
        case list(), list():
            return len(value) == len(reference) and all(map(_close, value, reference))
        case ((int() | float()), (int() | float())):
            return math.isclose(value, reference, rel_tol=1e-4, abs_tol=1e-4)
    return bool(value == reference)


def judged(campaign: str, fault: str, output: Output, difference: str) -> Trial:
    """Return the trial of a command that should have ended with the right results."""
    if output.code == 0 and not difference:
        return Trial(campaign, fault, "right")
    if output.refusal:
        return Trial(campaign, fault, "refused", output.refusal)
    return Trial(campaign, fault, "lost", difference or output.last_line)
