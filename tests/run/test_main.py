"""The command line: user errors in one line, and exit codes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_commands import ENVIRONMENT, LOADING, Command, alone, only_run
from toy_conf import ROOT

USER_ERRORS = {
    "inverter=fpx": ["inverter=fpx", "did you mean fpi?", "ddim, fpi"],
    "inverter=FPI": ["inverter=FPI", "did you mean fpi?"],
    "guidence=2": ["guidence", "did you mean guidance?"],
    "experment=figure": ["did you mean experiment?"],
    "experiment=figur": ["experiment=figur", "did you mean figure?"],
    "scale=smok": ["scale=smok", "did you mean smoke?"],
    "inverter.iteration=3": ["did you mean inverter.iterations?"],
    "iterations=3": ["did you mean inverter.iterations?"],
    "+inverter.iteration=3": ["inverter.iteration", "did you mean iterations?"],
    "inverter.iterations=abc": ["inverter.iterations=abc", "a whole number"],
    "inverter.start=last": ["inverter.start=last", "previous or extrapolated"],
    "inverter.iterations=1,2": ["add -m"],
    "~inverter": ["inverter=<option>"],
    "inverter=null": ["inverter=null", "the name of one of its options"],
    "guidance=abc": ["guidance=abc", "a finite number"],
    "guidance=-0.5": ["guidance=-0.5", "negative_guidance=true"],
    "+task.guidance=-2": ["task.guidance=-2", "negative_guidance=true"],
    "+inverter.inversion_guidance=-2": ["inverter.inversion_guidance=-2", "negative_guidance"],
    "guidance=nan": ["guidance=nan", "a finite number"],
    "+task.guidance=nan": ["task.guidance=nan", "a finite number"],
    "steps=abc": ["steps=abc", "a whole number"],
    "steps=0": ["steps=0", "at least 1"],
    "steps=2.5": ["steps=2.5"],
    "limit=-1": ["limit=-1", "at least 1"],
    "limit=0": ["limit=0", "at least 1"],
    "batch_size=0": ["batch_size=0", "at least 1"],
    "seed=-1": ["seed=-1"],
    f"seed={2**63}": [f"seed={2**63} is not possible"],
    f"guidance={10**400}": ["a finite number"],
    "precision=fp8": ["precision=fp8", "fp32 or tf32 or fp16 or bf16"],
    "dataset.root=/nowhere": ["/nowhere", "check dataset.root"],
    "dataset.size=0": ["has no examples"],
    "dataset.size=???": ["dataset.size=<value>"],
    "model.path=/nowhere": ["model.path=/nowhere"],
    "model.device=${nothing}": ["nothing"],
    "steps": ["'steps'", "key=value"],
    "steps=[1": ["steps=[1"],
    "tracking.mode=of": ["tracking.mode=of", "online, offline, disabled"],
    "tracking=3": ["tracking.<key>=<value>"],
    "--steps": ["--steps is no option", "steps=<value>"],
    "--steps=5": ["--steps=5 is no option", "key=value, steps=5"],
    "--cfg": ["--cfg", "expected one argument"],
    "hydra.searchpath=[file:///nowhere]": ["hydra.searchpath: /nowhere", "not available"],
    "hydra.run.dir=conf/config.yaml": ["conf/config.yaml: file exists", "hydra.run.dir"],
    "hydra.run.dir=conf/config.yaml/x": ["not a directory", "choose another folder"],
    "resume=/nowhere": ["/nowhere", "no such folder"],
    "resume=conf/model": ["conf", "no run's folder"],
}


@pytest.mark.parametrize("argument", USER_ERRORS)
def test_a_user_error_is_one_line(run: Command, argument: str, capsys: pytest.CaptureFixture[str]):
    assert run(argument) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and output.err.startswith("error: ")
    for words in USER_ERRORS[argument]:
        assert words in output.err


def test_the_first_line_precedes_all_imports():
    """Block them: python -S has no packages but the source, so that the first import fails."""
    command = [sys.executable, "-S", str(ROOT / "run.py")]
    source = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.run(command, capture_output=True, text=True, env=source, timeout=60)
    assert process.stderr.startswith(LOADING) and "No module named 'hydra'" in process.stderr


def test_a_run_imports_nothing_that_it_does_not_need(tmp_path: Path):
    code = (
        "import sys; from toy import ToyModel; from fpinv.metrics.pixels import ssim; "
        "import torch; ssim(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)); "
        "import fpinv.tasks.reconstruction, fpinv.run.job; "
        "print({'torchmetrics', 'timm', 'matplotlib', 'wandb'} & sys.modules.keys())"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert process.stdout == "set()\n", process.stderr


def test_an_option_with_a_value_behind_it_is_shown_as_a_setting(
    run: Command, capsys: pytest.CaptureFixture[str]
):
    assert run("limit=1", "--steps", "5") == 2
    assert capsys.readouterr().err == (
        "error: --steps is no option: write settings as key=value, steps=5\n"
    )


def test_a_sweep_into_a_file_is_one_line(run: Command, capsys: pytest.CaptureFixture[str]):
    assert run("-m", "limit=1,2", "hydra.sweep.dir=conf/config.yaml") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "conf/config.yaml: file exists" in error


def test_a_full_disk_is_one_line(
    run: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Have every file that is written whole fail, the log of the error among them."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run("limit=1") == 1
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert "No space left on device" in output.err and "free some space" in output.err


def test_the_exit_code_reaches_the_shell(tmp_path: Path):
    process = alone(tmp_path, "inverter=fpx")
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr == LOADING + (
        "error: inverter=fpx: no such option; did you mean fpi? (options: ddim, fpi)\n"
    )


def test_a_number_as_the_option_of_a_group_is_named_as_the_culprit(tmp_path: Path):
    process = alone(tmp_path, "inverter=3", "steps=2")
    assert (process.returncode, process.stdout) == (2, "")
    line = "error: inverter=3: a group takes the name of one of its options\n"
    assert process.stderr == LOADING + line


def test_the_exit_code_belongs_to_one_call_of_several_in_a_process(run: Command, tmp_path: Path):
    """Run twice: the second call has its own exit code and the user's own command line."""
    assert run("-m", "dataset.root=/nowhere,.") == 2
    assert run("limit=1") == 0
    folder = only_run(tmp_path)
    assert run(f"resume={folder}") == 0 and sys.argv[3:] == [f"resume={folder}"]


def test_a_terminal_without_the_characters_shows_escapes(tmp_path: Path):
    process = alone(tmp_path, "limit=1", "hydra.run.dir='ü'", PYTHONIOENCODING="ascii")
    assert (process.returncode, process.stderr) == (0, LOADING)
    assert r"mean \xb1 95 %" in process.stdout and process.stdout.endswith("/\\xfc/pictures.png\n")
