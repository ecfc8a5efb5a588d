"""Keys that nothing reads, and tracking that is switched off."""

import sys

import pytest
from toy_commands import only_run

from fpinv.run import main as command_line
from fpinv.run.console import CONF


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["+limt=3"], "+limt: there is no such key; did you mean limit?"),
        (["edti=a dog"], "edti: no such key; did you mean edit?"),
        (["inverter=ddim", "inverter.iterations=2"], "iterations: no such key of DDIM"),
        (["-m", "inverter=ddim,fpi", "inverter.iterations=2"], "of DDIM, but of aidi, auto,"),
        (["steps=2", "-m", "inverter=ddim,fpi"], "-m stands between settings: put it before all"),
        (
            ["inverter=ddim", "inverter/acceleration=anderson"],
            "chosen inverter has no acceleration",
        ),
    ],
)
def test_key_that_nothing_reads_is_refused(main, tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", "-cp", str(CONF), *arguments])
    assert command_line.run(main) == 2
    assert line in capsys.readouterr().err


def test_no_tracking_is_disabled_tracking(run, tmp_path):
    assert run("tracking=null") == 0
    assert not (only_run(tmp_path) / "wandb").exists()
