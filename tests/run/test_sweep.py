"""Sweeps: a group of runs, one table and one exit code."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from toy_commands import Command
from wandb_files import of_kind, offline_files


def test_a_sweep_ends_with_a_table_over_its_group_of_runs(
    run: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
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
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("-m", "dataset.corrupt=null,1") == 1
    assert run("-m", "dataset.root=null,/nowhere,.") == 2
    output = capsys.readouterr().err.splitlines()
    assert output[-1].startswith("error: job 1 (dataset.root=/nowhere): /nowhere: no such folder")
    assert len(list(tmp_path.glob("outputs/multirun/*/2/summary.json"))) == 1


def test_a_sweep_that_cannot_be_read_has_not_succeeded(
    run: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fpinv.run.sweep.read_jobs", lambda folder: 1 / 0)
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        assert run("-m", "limit=1,2") == 1


def test_a_sweep_that_its_launcher_gives_up_is_gathered(
    run: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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


def test_an_experiment_may_hold_a_sweep(run: Command, tmp_path: Path):
    assert run("experiment=figure") == 0
    with next(tmp_path.glob("outputs/multirun/*/sweep.csv")).open() as file:
        assert [row["inverter"] for row in csv.DictReader(file)] == ["ddim", "fpi"]


@pytest.mark.parametrize(
    ("scale", "size", "jobs"),
    [("smoke", 1, 1), ("default", 2, 2), ("paper", 3, 3), ("full", 4, 2)],
)
def test_an_experiment_has_a_size_for_each_scale(
    run: Command, tmp_path: Path, scale: str, size: int, jobs: int
):
    assert run("experiment=sized", f"scale={scale}") == 0
    files = sorted(tmp_path.glob("outputs/multirun/*/*/summary.json"))
    summaries = [json.loads(file.read_text()) for file in files]
    assert [job["guidance"] for job in summaries] == list(range(1, jobs + 1))
    assert {job["total"] for job in summaries} == {size}
    assert run("experiment=sized", f"scale={scale}", "limit=4", "guidance=7") == 0
    (again,) = set(tmp_path.glob("outputs/multirun/*/*/summary.json")) - set(files)
    assert json.loads(again.read_text())["total"] == 4
