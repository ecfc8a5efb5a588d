"""Runs one experiment, or a sweep with -m: ``python run.py inverter=fpi dataset=scenes``.

Every key is in conf/ and listed by ``python run.py --help``; results go to outputs/.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from fpinv import command, execution
from fpinv.ranks import conclude


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> int:
    """One job."""
    return execution.run_job(config)


if __name__ == "__main__":
    conclude(lambda: command.run(main))
