"""The README's tutorial: its own code, added to a real run from a folder of its own."""

import json
import re
import sys
from pathlib import Path

import pytest

from fpinv.run import main as command_line

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").partition("### Add an inverter")[2]


def block(language: str) -> str:
    """The section's first code block in a language."""
    return re.search(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)[1]


@pytest.fixture
def run(main, tmp_path, monkeypatch):
    """Puts the tutorial's two files into a folder and runs the command with them."""
    mine = tmp_path / "mine"
    (mine / "conf/inverter").mkdir(parents=True)
    (mine / "heun.py").write_text(block("python"))
    (mine / "conf/inverter/heun.yaml").write_text(block("yaml"))
    monkeypatch.syspath_prepend(mine)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    asked = ["-cp", str(ROOT / "conf"), f"hydra.searchpath=[file://{mine}/conf]", "inverter=heun"]

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["run.py", *asked, *arguments])
        return command_line.run(main)

    return call


def test_an_inverter_is_added_from_outside(run, tmp_path):
    assert run("inverter.far=1", "guidance=2", "steps=4", "limit=2", "images=0") == 0
    (file,) = tmp_path.glob("outputs/2*/*/summary.json")
    found = json.loads(file.read_text())
    assert (found["inverter"], found["n"], found["failed"]) == ("heun", 2, 0)
    assert (found["nfe_calls"]["mean"], found["nfe_rows"]["mean"]) == (8, 16)


def test_its_arguments_are_checked_like_all_others(run, capsys):
    assert run("inverter.far=much") == 2
    assert "inverter.far=much has the wrong type: it must be a number" in capsys.readouterr().err


def test_it_takes_no_more_lines_than_it_says():
    assert len(block("python").splitlines()) <= 20 and "heun" in block("bash")
