"""Sweeps: a group of runs, one table and one exit code."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from toy_commands import Command, contents
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
    output = capsys.readouterr().err
    assert "error: job 1 (dataset.root=/nowhere): /nowhere: no such folder" in output
    assert len(list(tmp_path.glob("outputs/multirun/*/2/summary.json"))) == 1


def test_a_sweep_that_cannot_be_read_has_not_succeeded(
    run: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("fpinv.run.sweep.read_jobs", lambda folder: 1 / 0)
    assert run("-m", "limit=1,2", "hydra.sweep.dir=sweep") == 1
    assert capsys.readouterr().err == (
        "error: ZeroDivisionError: division by zero (traceback in sweep/error.log)\n"
    )
    assert "in _conclude" in Path("sweep/error.log").read_text()


def jobs_in(sweep: str) -> list[tuple[str, str]]:
    """Return number and guidance of the jobs in a sweep's table."""
    with Path(sweep, "sweep.csv").open() as file:
        return [(row["job"], row["guidance"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "layout",
    [
        "hydra.output_subdir=null",
        "hydra.sweep.subdir=deep/down/${hydra.job.num}",
        "hydra.sweep.subdir=../beside/${hydra.job.override_dirname}",
    ],
)
def test_a_sweep_finds_its_jobs_in_every_layout_of_folders(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert run("-m", "guidance=1,2", "limit=1", "hydra.sweep.dir=sweep", layout) == 0
    assert jobs_in("sweep") == [("0", "1"), ("1", "2")]
    groups = {of_kind(file, "run")[0].run_group for file in offline_files(tmp_path)}
    assert groups == {"sweep"}


def test_a_sweep_in_the_folder_of_another_has_its_own_jobs_alone(run: Command):
    for guidance, jobs in (("1,2,3", 3), ("1,2", 2), ("1,2,3,4", 4)):
        assert run("-m", f"guidance={guidance}", "limit=1", "hydra.sweep.dir=sweep") == 0
        assert len(jobs_in("sweep")) == jobs
    assert len(list(Path("sweep").glob("*/summary.json"))) == 4


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["guidance=1,abc"], "job 1 (limit=1, guidance=abc): guidance=abc is not possible"),
        (["inverter.iterations=1,few"], "inverter.iterations=few has the wrong type"),
        (["precision=fp32,fp8"], "precision=fp8 has the wrong type"),
        (["hydra.sweep.subdir=same", "seed=1,2"], "${hydra.job.num}"),
        (["guidance=1,2", "seed=3"], "job 0 (limit=1, guidance=1, seed=3): "),
    ],
)
def test_no_job_begins_where_one_would_be_refused(
    run: Command, capsys: pytest.CaptureFixture[str], overrides: list[str], words: str
):
    assert run("-m", "limit=1", "guidance=1", "hydra.sweep.dir=old") == 0
    before = contents(Path("old"))
    capsys.readouterr()
    folder = "old" if "seed=3" in overrides else "new"
    assert run("-m", "limit=1", *overrides, f"hydra.sweep.dir={folder}") == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1) and words in output.err
    assert not list(Path("new").glob("*/*"))
    assert before.items() <= contents(Path("old")).items()


def test_words_of_the_user_are_no_markup(run: Command, capsys: pytest.CaptureFixture[str]):
    assert run("-m", "limit=1", "tracking.project='[/red]','[bold] :smile:'") == 0
    output = capsys.readouterr().out
    assert "'[/red]'" in output and "'[bold] :smile:'" in output


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
    assert output.err.count("\n") == 1 and "1 jobs" in output.out
    assert output.err.startswith("error: RuntimeError: no node is free (traceback in ")


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
