"""The command: its records, errors in one line, sweeps, and resuming after a kill."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_conf import ROOT, write_toy_conf
from wandb_files import of_kind, offline_files

from fpinv.run import main as command_line

Run = Callable[..., int]


@pytest.fixture
def run(main: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command on toys, in this process and a new folder."""
    conf = write_toy_conf(tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["run.py", "-cp", str(conf), *arguments])
        return command_line.run(main)

    return call


def subprocess_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the command in a process of its own, which may be killed."""
    conf = write_toy_conf(folder / "conf")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "-cp", str(conf), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
    )


def only_run(tmp_path: Path) -> Path:
    (folder,) = tmp_path.glob("outputs/2*/*")
    return folder


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_a_run_leaves_its_records(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("images=2", "guidance=2") == 0
    folder, output = only_run(tmp_path), capsys.readouterr()
    assert output.err == "" and output.out.splitlines()[-1] == str(folder)
    assert "psnr" in output.out
    assert [row["id"] for row in rows(folder)] == [f"{k:03d}" for k in range(8)]
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["000", "001"]
    content = summary(folder)
    assert (content["n"], content["failed"], content["total"]) == (8, 0, 8)
    assert content["psnr"]["mean"] == 3.5 + 5 + 2 and content["residual"] is None
    header = {"model": "toy", "dataset": "scenes", "inverter": "fpi", "task": "reconstruction"}
    assert header.items() <= content.items()
    assert (content["steps"], content["guidance"], content["seed"]) == (50, 2, 0)
    assert {"python", "torch", "diffusers", "transformers", "fpinv"} == content["versions"].keys()
    assert json.loads((folder / "status.json").read_text())["exit_code"] == 0
    assert "${" not in (folder / "config.yaml").read_text()


USER_ERRORS = {
    "inverter=fpx": ["inverter=fpx", "did you mean fpi?", "ddim, fpi"],
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
    "guidance=nan": ["guidance=nan", "a finite number"],
    "steps=abc": ["steps=abc", "a whole number"],
    "steps=0": ["steps=0", "at least 1"],
    "steps=2.5": ["steps=2.5"],
    "limit=-1": ["limit=-1", "at least 1"],
    "limit=0": ["limit=0", "at least 1"],
    "batch_size=0": ["batch_size=0", "at least 1"],
    "seed=-1": ["seed=-1"],
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
    "resume=/nowhere": ["/nowhere", "no such folder"],
    "resume=conf/model": ["conf", "no run's folder"],
}


@pytest.mark.parametrize("argument", USER_ERRORS)
def test_a_user_error_is_one_line(run: Run, argument: str, capsys: pytest.CaptureFixture[str]):
    assert run(argument) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and output.err.startswith("error: ")
    for words in USER_ERRORS[argument]:
        assert words in output.err


def test_the_exit_code_reaches_the_shell(tmp_path: Path):
    process = subprocess_run(tmp_path, "inverter=fpx")
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr == (
        "error: inverter=fpx: no such option; did you mean fpi? (options: ddim, fpi)\n"
    )


def test_a_number_as_the_option_of_a_group_is_named_as_the_culprit(tmp_path: Path):
    process = subprocess_run(tmp_path, "inverter=3", "steps=2")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "error: inverter=3: a group takes the name of one of its options\n"


def test_a_crash_keeps_its_traceback(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("task.crash=true") == 1
    output, log = capsys.readouterr().err, only_run(tmp_path) / "error.log"
    assert output == f"error: RuntimeError: the toy broke (traceback in {log})\n"
    assert "in __call__" in log.read_text()


def test_a_corrupt_image_fails_alone_and_is_done_again(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("limit=null", "dataset.corrupt=4") == 1
    output, folder = capsys.readouterr().err, only_run(tmp_path)
    assert output.startswith("error: 1 of 10 examples failed: 004 (broken.png: no such image")
    assert (summary(folder)["n"], summary(folder)["failed"]) == (9, 1)
    assert [row["id"] for row in rows(folder) if row["error"]] == ["004"]
    assert run(f"resume={folder}") == 1 and len(rows(folder)) == 10


def test_a_killed_run_resumes_to_the_records_of_an_uninterrupted_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    overrides = ["task.stop_at=5", "guidance=2", "images=6", "seed=3"]
    process = subprocess_run(tmp_path, *overrides, f"hydra.run.dir={folder}")
    assert process.returncode == -signal.SIGKILL and len(rows(folder)) == 5
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"id": "005", "pro')
    monkeypatch.setenv("TOY_GOES_ON", "1")
    assert run(f"resume={folder}") == 0
    assert run(*overrides, f"hydra.run.dir={whole}") == 0
    assert rows(folder) == rows(whole) and summary(folder) == summary(whole)
    for ours, theirs in zip(_files(folder / "images"), _files(whole / "images"), strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    assert not list(tmp_path.glob("outputs/2*/*"))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_ctrl_c_keeps_the_records_and_says_how_to_go_on(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert run("task.stop_at=3", f"task.signal={int(signal.SIGINT)}") == 130
    folder = only_run(tmp_path)
    assert capsys.readouterr().err == (
        f"interrupted: 3 of 8 examples are kept; to go on: python run.py resume={folder}\n"
    )
    assert (summary(folder)["n"], summary(folder)["total"]) == (3, 8)
    monkeypatch.setenv("TOY_GOES_ON", "1")
    assert run(f"resume={folder}") == 0 and summary(folder)["n"] == 8


def test_a_resumed_run_refuses_another_configuration(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("guidance=2", "limit=2") == 0
    folder = only_run(tmp_path)
    before = _contents(folder)
    capsys.readouterr()
    assert run(f"resume={folder}", "guidance=3", "inverter=ddim", "limit=2", "steps=50") == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert (
        "guidance=2 and not guidance=3" in output
        and "inverter=fpi and not inverter=ddim" in output
    )
    assert "limit" not in output and "steps" not in output
    assert _contents(folder) == before
    assert run(f"resume={folder}", "guidance=2.0", "tracking.images=3") == 0


def test_a_run_of_another_version_is_refused_in_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Resume runs whose task has since moved, or has lost an argument."""
    assert run("limit=2") == 0
    folder = only_run(tmp_path)
    config = (folder / "config.yaml").read_text()
    for line in ("_target_: run_toys_before.ToyTask", "_target_: run_toys.ToyTask\n  stopping: 3"):
        (folder / "config.yaml").write_text(config.replace("_target_: run_toys.ToyTask", line))
        before = _contents(folder)
        capsys.readouterr()
        assert run(f"resume={folder}") == 2
        output = capsys.readouterr()
        assert output.out == "" and output.err.count("\n") == 1
        assert f"resume={folder} is a run of another version of fpinv (task." in output.err
        assert _contents(folder) == before
    (folder / "config.yaml").write_text(config)
    assert run(f"resume={folder}") == 0


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in _files(folder)}


def test_a_sweep_ends_with_a_table_over_its_group_of_runs(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert run("-m", "limit=2", "guidance=1,2") == 0
    (folder,) = tmp_path.glob("outputs/multirun/*")
    output = capsys.readouterr()
    assert output.err == "" and output.out.splitlines()[-1] == str(folder)
    assert "guidance" in output.out and "limit" not in output.out
    runs = [of_kind(file, "run")[0] for file in offline_files(folder)]
    assert len({wandb_run.run_id for wandb_run in runs}) == 2
    assert {wandb_run.run_group for wandb_run in runs} == {folder.name}
    assert all(of_kind(file, "exit")[0].exit_code == 0 for file in offline_files(folder))
    with (folder / "sweep.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["guidance"] for row in table] == ["1", "2"]
    assert [float(row["psnr"]) for row in table] == [6.5, 7.5]


def test_the_worst_code_of_a_sweep_wins(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("-m", "dataset.corrupt=null,1") == 1
    assert run("-m", "dataset.root=null,/nowhere,.") == 2
    output = capsys.readouterr().err.splitlines()
    assert output[-1].startswith("error: job 1 (dataset.root=/nowhere): /nowhere: no such folder")
    assert len(list(tmp_path.glob("outputs/multirun/*/2/summary.json"))) == 1


def test_the_exit_code_belongs_to_one_call_of_several_in_a_process(run: Run, tmp_path: Path):
    """Run twice: the second call has its own exit code and the user's own command line."""
    assert run("-m", "dataset.root=/nowhere,.") == 2
    assert run("limit=1") == 0
    folder = only_run(tmp_path)
    assert run(f"resume={folder}") == 0 and sys.argv[3:] == [f"resume={folder}"]


def test_a_sweep_that_cannot_be_read_has_not_succeeded(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fpinv.run.sweep.read_jobs", lambda folder: 1 / 0)
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        assert run("-m", "limit=1,2") == 1


def test_a_sweep_that_its_launcher_gives_up_is_gathered(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    launch = BasicLauncher.launch

    def give_up(launcher: BasicLauncher, jobs: list, initial_job_idx: int) -> None:
        launch(launcher, jobs[:1], initial_job_idx)
        raise RuntimeError("no node is free")

    monkeypatch.setattr(BasicLauncher, "launch", give_up)
    assert run("-m", "limit=1,2") == 1
    output = capsys.readouterr()
    assert output.err == "error: RuntimeError: no node is free\n" and "1 jobs" in output.out


def test_an_experiment_may_hold_a_sweep(run: Run, tmp_path: Path):
    assert run("experiment=figure") == 0
    with next(tmp_path.glob("outputs/multirun/*/sweep.csv")).open() as file:
        assert [row["inverter"] for row in csv.DictReader(file)] == ["ddim", "fpi"]


@pytest.mark.parametrize(
    ("scale", "size", "jobs"),
    [("smoke", 1, 1), ("default", 2, 2), ("paper", 3, 3), ("full", 4, 2)],
)
def test_an_experiment_has_a_size_for_each_scale(
    run: Run, tmp_path: Path, scale: str, size: int, jobs: int
):
    assert run("experiment=sized", f"scale={scale}") == 0
    files = sorted(tmp_path.glob("outputs/multirun/*/*/summary.json"))
    summaries = [json.loads(file.read_text()) for file in files]
    assert [job["guidance"] for job in summaries] == list(range(1, jobs + 1))
    assert {job["total"] for job in summaries} == {size}
    assert run("experiment=sized", f"scale={scale}", "limit=4", "guidance=7") == 0
    (again,) = set(tmp_path.glob("outputs/multirun/*/*/summary.json")) - set(files)
    assert json.loads(again.read_text())["total"] == 4


def test_a_sweep_is_no_run_to_resume(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("-m", "seed=0,1", "limit=1") == 0
    (folder,) = tmp_path.glob("outputs/multirun/*")
    assert run(f"resume={folder}") == 2 and "is a sweep" in capsys.readouterr().err
    assert run("-m", f"resume={folder}/0") == 2 and "leave out -m" in capsys.readouterr().err
    assert run(f"resume={folder}/0") == 0


def test_a_resumed_experiment_does_not_sweep_again(run: Run, tmp_path: Path):
    assert run("experiment=figure", "limit=1") == 0
    (sweep,) = tmp_path.glob("outputs/multirun/*")
    assert run("experiment=figure", "limit=1", f"resume={sweep}/0") == 0
    assert list(tmp_path.glob("outputs/multirun/*")) == [sweep]


def test_a_folder_holds_one_run(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("hydra.run.dir=here", "limit=2") == 0
    before = _files(tmp_path / "here" / "images")
    assert run("hydra.run.dir=here", "limit=4", "guidance=3") == 2
    assert "resume=" in capsys.readouterr().err and _files(tmp_path / "here/images") == before
    assert run("resume=here") == 0 and summary(tmp_path / "here")["guidance"] == 1


REAL_INVERTER = [
    "inverter=ddim",
    "inverter._target_=fpinv.inverters.ddim.DDIM",
    "~inverter.iterations",
]
PAIRS = ["task=interpolation", "model=toy", "dataset=shades", *REAL_INVERTER, "steps=3"]


def test_a_grouping_task_has_pooled_measures(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(*PAIRS, "limit=6", "images=1") == 0
    folder, output = only_run(tmp_path), capsys.readouterr().out
    content = summary(folder)
    assert (content["n"], content["total"], content["features"]) == (6, 6, "brightness")
    assert content["fid"]["mean"] > 0 and content["diversity"]["mean"] > 0
    assert "fid" in output and "diversity" in output and "accuracy_few" in output
    assert [path.name for path in (folder / "images").iterdir()] == ["dark-0000"]
    assert len(list((folder / "arrays").iterdir())) == 6


def test_pooled_measures_survive_a_kill(run: Run, tmp_path: Path):
    assert run(*PAIRS, "limit=6") == 0
    folder = only_run(tmp_path)
    whole = summary(folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:4]) + lines[4][:20])
    assert run(f"resume={folder}") == 0
    again = summary(folder)
    assert again["n"] == 6
    assert again["fid"]["mean"] == pytest.approx(whole["fid"]["mean"], rel=1e-4)


def test_a_data_set_without_classes_is_refused_in_one_line(
    run: Run, capsys: pytest.CaptureFixture[str]
):
    assert run("task=interpolation", "model=toy", *REAL_INVERTER) == 2
    output = capsys.readouterr().err
    assert "has no classes" in output and len(output.splitlines()) == 1
