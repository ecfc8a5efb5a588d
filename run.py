"""Run one experiment, or a sweep with -m: ``python run.py inverter=fpi dataset=scenes``.

Every key is in conf/ and listed by ``python run.py --help``; results go to outputs/.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and os.environ.get("RANK", "0") == "0":
    # Before the imports below, because Hydra, torch and diffusers take seconds.
    print("loading ...", file=sys.stderr, flush=True)

import hydra  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from fpinv.run import main as command_line  # noqa: E402
from fpinv.run.job import run_job  # noqa: E402
from fpinv.run.processes import conclude  # noqa: E402


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> int:
    """Do one job."""
    return run_job(config)


if __name__ == "__main__":
    conclude(lambda: command_line.run(main))
