"""Processes that share a run: together they leave the records of a single one."""

from __future__ import annotations

import csv
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_commands import ENVIRONMENT, LOADING, PAIRS, TIMEOUT, alone, command, rows, summary
from toy_conf import ROOT
from wandb_files import offline_files

from fpinv.run.folder import RunFolder
from fpinv.run.processes import Ranks
from fpinv.tasks.record import Record


def together(folder: Path, *arguments: str, **environment: str) -> list[tuple[int, str, str]]:
    """Return exit code, output and errors of two processes, which no launcher stops.

    The line that says that the first one has begun is left out.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = ENVIRONMENT | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            command(folder, *arguments),
            cwd=folder,
            env=shared | {"RANK": rank} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        outputs = [process.communicate(timeout=TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (process.returncode, output, errors.removeprefix(LOADING))
        for process, (output, errors) in zip(processes, outputs, strict=True)
    ]


def assert_alike(ours: Any, theirs: Any, name: str = "") -> None:
    """Assert equality, of floats to 1e-4 of their value; seconds may differ."""
    if isinstance(ours, dict) and not name.startswith("seconds"):
        assert list(ours) == list(theirs)
        for key in ours:
            assert_alike(ours[key], theirs[key], key)
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), name
        for our_item, their_item in zip(ours, theirs, strict=True):
            assert_alike(our_item, their_item, name)
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-12) or name.startswith("seconds")
    else:
        assert ours == theirs or name.startswith("seconds"), name


@pytest.mark.parametrize("total", [0, 1, 2, 10, 11])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_cover_all_examples_evenly(total: int, size: int):
    shares = [Ranks(rank, size).share(total) for rank in range(size)]
    assert [k for share in shares for k in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_merging_takes_over_the_lines_of_other_processes(tmp_path: Path):
    leader, follower = RunFolder(tmp_path), RunFolder(tmp_path)
    follower.rank = 1
    follower.append(Record("c", ""))
    leader.append(Record("a", ""))
    follower.append(Record("d", "", error="broken"))
    assert [row["id"] for row in rows(tmp_path)] == ["a"]
    assert [row["id"] for row in leader.merge()] == ["c", "d"]
    assert [row["id"] for row in rows(tmp_path)] == ["a", "c", "d"]
    assert len(list(tmp_path.glob("metrics*"))) == 1 and not leader.merge()
    leader.append(Record("b", ""))
    leader.arrange(list("abcd"))
    assert rows(tmp_path) == list(leader.rows) and [row["id"] for row in leader.rows] == list(
        "abcd"
    )


def test_opening_a_run_takes_over_the_lines_of_killed_processes(tmp_path: Path):
    follower = RunFolder(tmp_path)
    follower.rank = 1
    follower.append(Record("c", ""))
    follower.append(Record("d", "", error="broken"))
    assert [row["id"] for row in RunFolder(tmp_path).finished] == ["c"]
    assert [row["id"] for row in rows(tmp_path)] == ["c"]


def test_torchrun_equals_one_process_on_ten_examples(tmp_path: Path):
    """Compare runs of the bundled model, whose results depend slightly on the batches."""
    overrides = [str(ROOT / "run.py"), "limit=10", "steps=2", "inverter.iterations=2", "images=7"]
    launch = {"one": [], "two": ["-m", "torch.distributed.run", "--standalone"]}
    launch["two"] += ["--nproc-per-node=2"]
    for name, launcher in launch.items():
        process = subprocess.run(
            [sys.executable, *launcher, *overrides, f"hydra.run.dir={name}"],
            cwd=tmp_path,
            env=ENVIRONMENT | {"WANDB_MODE": "offline"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert (process.returncode, process.stderr) == (0, LOADING)
        assert str(tmp_path / name) in process.stdout.splitlines()[-2:]
        assert process.stdout.count("ceiling_psnr") == 1
    single, double = tmp_path / "one", tmp_path / "two"
    assert_alike(rows(single), rows(double))
    assert_alike(summary(single), summary(double))
    assert {path.name for path in single.iterdir()} == {path.name for path in double.iterdir()}
    pictures = [path.relative_to(single) for path in sorted(single.glob("images/*/*"))]
    assert pictures == [path.relative_to(double) for path in sorted(double.glob("images/*/*"))]
    assert len(offline_files(double)) == 1


def test_pooled_measures_cover_the_examples_of_all_processes(tmp_path: Path):
    overrides = [*PAIRS, "limit=6"]
    assert alone(tmp_path, *overrides, "hydra.run.dir=one").returncode == 0
    assert [code for code, *_ in together(tmp_path, *overrides, "hydra.run.dir=two")] == [0, 0]
    content = summary(tmp_path / "two")
    assert content["fid"]["mean"] > 0
    assert_alike(content, summary(tmp_path / "one"))
    assert_alike(rows(tmp_path / "one"), rows(tmp_path / "two"))


@pytest.mark.parametrize(("killed", "resume"), [(0, together), (1, alone)])
def test_a_run_with_a_killed_process_resumes_with_any_number_of_processes(
    tmp_path: Path, killed: int, resume: Callable[..., Any]
):
    overrides = ["limit=10", f"task.stop_at={2 + 5 * killed}", "images=null"]
    results = together(tmp_path, *overrides, "hydra.run.dir=two")
    assert results[killed][0] == -signal.SIGKILL
    code, _, error = results[1 - killed]
    assert (
        code == 1 and error.count("\n") == 1 and "another process" in error and "resume=" in error
    )
    resume(tmp_path, "resume=two", TOY_GOES_ON="1")
    alone(tmp_path, *overrides, "hydra.run.dir=one", TOY_GOES_ON="1")
    single, double = tmp_path / "one", tmp_path / "two"
    assert rows(double) == rows(single) and summary(double) == summary(single)
    assert json.loads((double / "status.json").read_text())["exit_code"] == 0
    assert len(list(double.glob("metrics*"))) == 1
    assert len(list(double.glob("images/*/original.png"))) == 10


def test_an_error_of_one_process_is_printed_once_and_ends_all(tmp_path: Path):
    leader, follower = together(tmp_path, "limit=10", "task.crash_at=7", "hydra.run.dir=two")
    assert leader[0] == follower[0] == 1 and follower[2] == ""
    log = tmp_path / "two" / "error.log"
    assert leader[2] == (f"error: process 1: RuntimeError: the toy broke (traceback in {log})\n")
    assert "in __call__" in log.read_text()
    assert [row["id"] for row in rows(tmp_path / "two")] == [f"{k:03d}" for k in range(7)]
    assert json.loads((tmp_path / "two" / "status.json").read_text())["exit_code"] == 1


def test_failed_examples_of_any_process_count(tmp_path: Path):
    leader, follower = together(tmp_path, "limit=10", "dataset.corrupt=7", "hydra.run.dir=two")
    assert leader[0] == follower[0] == 1 and follower[1:] == ("", "")
    assert leader[2].startswith("error: 1 of 10 examples failed: 007 (broken.png: no such image")


def test_a_sweep_of_shared_runs_goes_on_after_a_user_error(tmp_path: Path):
    sweep = ["-m", "limit=4", "dataset.root=null,/nowhere,.", "hydra.sweep.dir=sweep"]
    leader, follower = together(tmp_path, *sweep, WANDB_MODE="offline")
    assert leader[0] == follower[0] == 2 and follower[1:] == ("", "")
    errors = [line for line in leader[2].splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "job 1 (limit=4, dataset.root=/nowhere)" in errors[0]
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        assert [row["n"] for row in csv.DictReader(file)] == ["4", "", "4"]
    assert len(offline_files(tmp_path)) == 2
