"""The command: what run.py and the console script ``fpinv`` start."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

CONF = Path(__file__).parents[1] / "conf"
"""The folder of the configuration groups."""


def main() -> None:
    """Run the command with the configuration of the package, from any folder."""
    start(CONF)


def start(conf: Path) -> None:
    """Run the command with the configuration in a folder, and exit with its code."""
    if os.environ.get("RANK", "0") == "0":
        # Before the imports below, because Hydra, torch and diffusers take seconds.
        print("loading ...", file=sys.stderr, flush=True)
    from fpinv.run import main as command_line
    from fpinv.run.processes import conclude

    conclude(lambda: command_line.run(hydra_main(conf)))


def hydra_main(conf: Path) -> Callable[[], None]:
    """Return the function by which Hydra reads the command line and does the jobs."""
    import hydra

    from fpinv.run.job import run_job

    decorate = hydra.main(
        version_base="1.3", config_path=str(conf.resolve()), config_name="config"
    )
    return decorate(run_job)
