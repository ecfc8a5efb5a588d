"""The package's surface: what it exports, and that its two lists of dependencies agree."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fpinv

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", fpinv.__all__)
def test_every_public_name_exists_and_is_documented(name):
    value = getattr(fpinv, name)
    assert name == "__version__" or value.__doc__


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="nothing"):
        fpinv.nothing  # noqa: B018


def test_importing_the_package_does_not_import_torch():
    code = "import sys, fpinv; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def names(lines):
    matches = (re.match(r"[A-Za-z0-9_.-]+", line.strip()) for line in lines)
    return {match[0].lower().replace("_", "-") for match in matches if match}


def test_requirements_and_package_metadata_name_the_same_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert lines[-1] == "-e ."
    listed = [line for line in lines if line and not line.startswith(("#", "-"))]
    assert names(listed) == names(project["dependencies"])


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert project["version"] == fpinv.__version__ and f"version: {fpinv.__version__}" in citation
