"""The command: errors in one line, records, sweeps, resuming after a kill."""

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
    """Runs the command in this process, in a folder of its own, on toy parts."""
    conf = write_toy_conf(tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["run.py", "-cp", str(conf), *arguments])
        return command_line.run(main)

    return call


def subprocess_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The same in a process of its own, which may be killed."""
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
    folder, said = only_run(tmp_path), capsys.readouterr()
    assert said.err == "" and said.out.splitlines()[-1] == str(folder)
    assert "psnr" in said.out
    assert [row["id"] for row in rows(folder)] == [f"{k:03d}" for k in range(8)]
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["000", "001"]
    found = summary(folder)
    assert (found["n"], found["failed"], found["total"]) == (8, 0, 8)
    assert found["psnr"]["mean"] == 3.5 + 5 + 2 and found["residual"] is None
    header = {"model": "toy", "dataset": "scenes", "inverter": "fpi", "task": "reconstruction"}
    assert header.items() <= found.items()
    assert (found["steps"], found["guidance"], found["seed"]) == (50, 2, 0)
    assert {"python", "torch", "diffusers", "transformers", "fpinv"} == found["versions"].keys()
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
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("error: ")
    for part in USER_ERRORS[argument]:
        assert part in said.err


def test_the_exit_code_reaches_the_shell(tmp_path: Path):
    done = subprocess_run(tmp_path, "inverter=fpx")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "error: inverter=fpx: no such option; did you mean fpi? (options: ddim, fpi)\n"
    )


def test_of_numbers_given_to_groups_and_keys_the_groups_are_to_blame(tmp_path: Path):
    done = subprocess_run(tmp_path, "inverter=3", "steps=2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: inverter=3: a group takes the name of one of its options\n"


def test_a_crash_keeps_its_traceback(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("task.crash=true") == 1
    said, log = capsys.readouterr().err, only_run(tmp_path) / "error.log"
    assert said == f"error: RuntimeError: the toy broke (traceback in {log})\n"
    assert "in __call__" in log.read_text()


def test_one_corrupt_image_among_ten(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("limit=null", "dataset.corrupt=4") == 1
    said, folder = capsys.readouterr().err, only_run(tmp_path)
    assert said.startswith("error: 1 of 10 examples failed: 004 (broken.png: no such image")
    assert (summary(folder)["n"], summary(folder)["failed"]) == (9, 1)
    assert [row["id"] for row in rows(folder) if row["error"]] == ["004"]
    assert run(f"resume={folder}") == 1 and len(rows(folder)) == 10


def test_a_killed_run_resumes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    asked = ["task.stop_at=5", "guidance=2", "images=6", "seed=3"]
    done = subprocess_run(tmp_path, *asked, f"hydra.run.dir={folder}")
    assert done.returncode == -signal.SIGKILL and len(rows(folder)) == 5
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"id": "005", "pro')
    monkeypatch.setenv("TOY_GOES_ON", "1")
    assert run(f"resume={folder}") == 0
    assert run(*asked, f"hydra.run.dir={whole}") == 0
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
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "guidance=2 and not guidance=3" in said and "inverter=fpi and not inverter=ddim" in said
    assert "limit" not in said and "steps" not in said
    assert _contents(folder) == before
    assert run(f"resume={folder}", "guidance=2.0", "tracking.images=3") == 0


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in _files(folder)}


def test_a_sweep_is_a_group_of_runs_and_a_table(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert run("-m", "limit=2", "guidance=1,2") == 0
    (folder,) = tmp_path.glob("outputs/multirun/*")
    said = capsys.readouterr()
    assert said.err == "" and said.out.splitlines()[-1] == str(folder)
    assert "guidance" in said.out and "limit" not in said.out
    runs = [of_kind(file, "run")[0] for file in offline_files(folder)]
    assert len({one.run_id for one in runs}) == 2
    assert {one.run_group for one in runs} == {folder.name}
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
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: job 1 (dataset.root=/nowhere): /nowhere: no such folder")
    assert len(list(tmp_path.glob("outputs/multirun/*/2/summary.json"))) == 1


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
    found = [json.loads(file.read_text()) for file in files]
    assert [job["guidance"] for job in found] == list(range(1, jobs + 1))
    assert {job["total"] for job in found} == {size}
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


def test_a_task_may_group_the_data_set_and_measure_all_examples_together(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(*PAIRS, "limit=6", "images=1") == 0
    folder, said = only_run(tmp_path), capsys.readouterr().out
    found = summary(folder)
    assert (found["n"], found["total"], found["features"]) == (6, 6, "brightness")
    assert found["fid"]["mean"] > 0 and found["diversity"]["mean"] > 0
    assert "fid" in said and "diversity" in said and "accuracy_few" in said
    assert [path.name for path in (folder / "images").iterdir()] == ["dark-0000"]
    assert len(list((folder / "arrays").iterdir())) == 6


def test_measures_over_all_examples_survive_a_kill(run: Run, tmp_path: Path):
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
    said = capsys.readouterr().err
    assert "has no classes" in said and len(said.splitlines()) == 1
