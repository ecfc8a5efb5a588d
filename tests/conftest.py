"""Settings shared by all tests: one thread, no network, no W&B account."""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import pytest
import torch

# Tiny networks spend more on thread hand-over than on arithmetic.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def main() -> Callable[[], None]:
    """The ``hydra.main`` function of run.py."""
    file = Path(__file__).parents[1] / "run.py"
    spec = importlib.util.spec_from_file_location("fpinv_run", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fpinv_run"] = module
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
