"""Scripts of experiments/, which are no package, as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def load(path: str) -> ModuleType:
    """The script experiments/<path>.py."""
    name = f"experiments.{path.replace('/', '.')}"
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{path}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
