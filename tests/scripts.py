"""Loading of scripts of experiments/, which is no package."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@contextmanager
def beside_its_modules(path: str) -> Iterator[ModuleType]:
    """Yield the script experiments/<path>.py, which imports modules of its own folder."""
    file = EXPERIMENTS / f"{path}.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(file.parent))
        yield importlib.import_module(file.stem)
    for module in file.parent.glob("*.py"):
        sys.modules.pop(module.stem, None)


def load(path: str) -> ModuleType:
    """Return the script experiments/<path>.py as a module."""
    name = f"experiments.{path.replace('/', '.')}"
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{path}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
