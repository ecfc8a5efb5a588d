"""Run one experiment, or a sweep with -m: ``python run.py inverter=fpi dataset=scenes``.

Every key is in conf/ and listed by ``python run.py --help``; results go to outputs/.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from fpinv.run import main as command_line
from fpinv.run.job import run_job
from fpinv.run.processes import conclude


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> int:
    """Do one job."""
    return run_job(config)


if __name__ == "__main__":
    conclude(lambda: command_line.run(main))
