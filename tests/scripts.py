"""Loading of scripts of experiments/, which is no package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def load(path: str) -> ModuleType:
    """Return the script experiments/<path>.py as a module."""
    name = f"experiments.{path.replace('/', '.')}"
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{path}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
