"""Settings shared by all tests: one thread, no network, no W&B account."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

# Tiny networks spend more on thread hand-over than on arithmetic, in child processes, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import pytest
import torch
from toy_commands import Command
from toy_conf import write_toy_conf

from fpinv.run import main as command_line
from fpinv.run.console import hydra_main

torch.set_num_threads(1)


CONF = str(Path(__file__).parents[1] / "conf")


@pytest.fixture(scope="session")
def main() -> Callable[[], None]:
    """Return the ``hydra.main`` function of run.py."""
    return hydra_main(Path(CONF))


@pytest.fixture(scope="session")
def recorded_sweep(main: Callable[[], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep of two real runs, tracked offline."""
    folder = tmp_path_factory.mktemp("recorded") / "sweep"
    overrides = ["limit=2", "steps=2", "inverter.iterations=1,2", f"hydra.sweep.dir={folder}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, "argv", ["run.py", "-cp", CONF, "-m", *overrides, "tracking.mode=offline"]
        )
        assert command_line.run(main) == 0
    return folder


@pytest.fixture
def run(main: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that runs the command on toys, in this process and a new folder."""
    conf = write_toy_conf(tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["run.py", "-cp", str(conf), *arguments])
        return command_line.run(main)

    return call


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
