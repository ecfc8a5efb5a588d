"""The command on toys in processes of its own, and its records."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toy_conf import ROOT, environment_of_its_own, write_toy_conf

ENVIRONMENT = environment_of_its_own() | {"WANDB_MODE": "disabled"}
TIMEOUT = 600  # seconds, for busy machines: a process that waits for ever ends then

LOADING = "loading ...\n"
"""The line of the command before it has imported anything."""

REAL_INVERTER = [
    "inverter=ddim",
    "inverter._target_=fpinv.inverters.ddim.DDIM",
    "~inverter.iterations",
]
PAIRS = ["task=interpolation", "model=toy", "dataset=shades", *REAL_INVERTER, "steps=3"]
"""Overrides for a task that groups its data set and measures all examples together."""

Command = Callable[..., int]


def command(folder: Path, *arguments: str) -> list[str]:
    """Return the command with a configuration of toys in ``folder``."""
    conf = write_toy_conf(folder / "conf")
    return [sys.executable, str(ROOT / "run.py"), "-cp", str(conf), *arguments]


def alone(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the command in one process, which may be killed."""
    return subprocess.run(
        command(folder, *arguments),
        cwd=folder,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def only_run(folder: Path) -> Path:
    """Return the folder of the only run among the outputs."""
    (path,) = folder.glob("outputs/2*/*")
    return path


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run without their checksums."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in row.items() if key != "crc32"} for row in lines]


def summary(folder: Path) -> dict[str, Any]:
    """Return the summary of a run."""
    return json.loads((folder / "summary.json").read_text())


def files(folder: Path) -> list[Path]:
    """Return all files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a folder, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in files(folder)}
