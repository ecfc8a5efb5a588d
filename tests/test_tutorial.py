"""The README's tutorial: its own code, added to a real run from a folder of its own."""

import json
import re
import sys
from pathlib import Path

import pytest

from fpinv.run import main as command_line

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Add an inverter")[2]


def block(language: str) -> str:
    """Return the section's first code block in a language."""
    return re.search(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)[1]


@pytest.fixture
def run(main, tmp_path, monkeypatch):
    """Put the tutorial's two files into a folder; return a function that runs them."""
    mine = tmp_path / "mine"
    (mine / "conf/inverter").mkdir(parents=True)
    (mine / "heun.py").write_text(block("python"))
    (mine / "conf/inverter/heun.yaml").write_text(block("yaml"))
    monkeypatch.syspath_prepend(mine)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    overrides = [
        "-cp",
        str(ROOT / "conf"),
        f"hydra.searchpath=[file://{mine}/conf]",
        "inverter=heun",
    ]

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["run.py", *overrides, *arguments])
        return command_line.run(main)

    return call


def test_an_inverter_is_added_from_outside(run, tmp_path):
    assert run("inverter.far=1", "guidance=2", "steps=4", "limit=2", "images=0") == 0
    (file,) = tmp_path.glob("outputs/2*/*/summary.json")
    content = json.loads(file.read_text())
    assert (content["inverter"], content["n"], content["failed"]) == ("heun", 2, 0)
    assert (content["nfe_calls"]["mean"], content["nfe_rows"]["mean"]) == (8, 16)


def test_arguments_of_the_added_inverter_are_checked(run, capsys):
    assert run("inverter.far=much") == 2
    assert "inverter.far=much has the wrong type: it must be a number" in capsys.readouterr().err


def test_the_tutorial_takes_at_most_twenty_lines():
    assert len(block("python").splitlines()) <= 20 and "heun" in block("bash")
