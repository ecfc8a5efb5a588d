"""Processes that share a run: together they leave what one would have left."""

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
from toy_conf import ROOT, environment_of_its_own, write_toy_conf
from wandb_files import offline_files

from fpinv.run.folder import RunFolder
from fpinv.run.processes import Ranks
from fpinv.tasks.record import Record

ENVIRONMENT = environment_of_its_own() | {"WANDB_MODE": "disabled"}
TIME = 600  # seconds, for busy machines: after those a process waits for ever


def command(folder: Path, *arguments: str) -> list[str]:
    """The command on toy parts."""
    return [str(ROOT / "run.py"), "-cp", str(write_toy_conf(folder / "conf")), *arguments]


def alone(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command(folder, *arguments)],
        cwd=folder,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=TIME,
    )


def together(folder: Path, *arguments: str, **environment: str) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of two processes, neither of which is stopped by a launcher."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = ENVIRONMENT | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    both = [
        subprocess.Popen(
            [sys.executable, *command(folder, *arguments)],
            cwd=folder,
            env=shared | {"RANK": rank} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        said = [one.communicate(timeout=TIME) for one in both]
    finally:
        for one in both:
            one.kill()
    return [(one.returncode, *texts) for one, texts in zip(both, said, strict=True)]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def assert_alike(ours: Any, theirs: Any, name: str = "") -> None:
    """Equal, floats to 1e-4 of their value, but for what the clock says."""
    if isinstance(ours, dict) and not name.startswith("seconds"):
        assert list(ours) == list(theirs)
        for key in ours:
            assert_alike(ours[key], theirs[key], key)
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), name
        for one, other in zip(ours, theirs, strict=True):
            assert_alike(one, other, name)
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-12) or name.startswith("seconds")
    else:
        assert ours == theirs or name.startswith("seconds"), name


@pytest.mark.parametrize("total", [0, 1, 2, 10, 11])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_the_shares_are_the_whole_and_even(total: int, size: int):
    shares = [Ranks(rank, size).share(total) for rank in range(size)]
    assert [k for share in shares for k in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_lines_of_other_processes_are_taken_over(tmp_path: Path):
    first, other = RunFolder(tmp_path), RunFolder(tmp_path)
    other.rank = 1
    other.append(Record("c", ""))
    first.append(Record("a", ""))
    other.append(Record("d", "", error="broken"))
    assert [row["id"] for row in rows(tmp_path)] == ["a"]
    assert [row["id"] for row in first.merge()] == ["c", "d"]
    assert [row["id"] for row in rows(tmp_path)] == ["a", "c", "d"]
    assert len(list(tmp_path.glob("metrics*"))) == 1 and first.merge() == []
    first.append(Record("b", ""))
    first.arrange(list("abcd"))
    assert rows(tmp_path) == first.rows and [row["id"] for row in first.rows] == list("abcd")


def test_lines_of_processes_that_were_killed_are_found_when_the_run_is_opened(tmp_path: Path):
    other = RunFolder(tmp_path)
    other.rank = 1
    other.append(Record("c", ""))
    other.append(Record("d", "", error="broken"))
    assert RunFolder(tmp_path).finished == {"c"}
    assert [row["id"] for row in rows(tmp_path)] == ["c"]


def test_torchrun_on_ten_examples_is_one_process_on_ten_examples(tmp_path: Path):
    """With the bundled model, so that batches differ as they would."""
    asked = [str(ROOT / "run.py"), "limit=10", "steps=2", "inverter.iterations=2", "images=7"]
    launch = {"one": [], "two": ["-m", "torch.distributed.run", "--standalone"]}
    launch["two"] += ["--nproc-per-node=2"]
    for name, launcher in launch.items():
        done = subprocess.run(
            [sys.executable, *launcher, *asked, f"hydra.run.dir={name}"],
            cwd=tmp_path,
            env=ENVIRONMENT | {"WANDB_MODE": "offline"},
            capture_output=True,
            text=True,
            timeout=TIME,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == str(tmp_path / name)
        assert done.stdout.count("ceiling_psnr") == 1
    one, two = tmp_path / "one", tmp_path / "two"
    assert_alike(rows(one), rows(two))
    assert_alike(summary(one), summary(two))
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    kept = [path.relative_to(one) for path in sorted(one.glob("images/*/*"))]
    assert kept == [path.relative_to(two) for path in sorted(two.glob("images/*/*"))]
    assert len(offline_files(two)) == 1


REAL_INVERTER = ["inverter=ddim", "inverter._target_=fpinv.inverters.ddim.DDIM"]
PAIRS = ["task=interpolation", "model=toy", "dataset=shades", *REAL_INVERTER, "steps=3"]


def test_measures_over_all_examples_are_of_all_processes(tmp_path: Path):
    asked = [*PAIRS, "~inverter.iterations", "limit=6"]
    assert alone(tmp_path, *asked, "hydra.run.dir=one").returncode == 0
    assert [code for code, *_ in together(tmp_path, *asked, "hydra.run.dir=two")] == [0, 0]
    found = summary(tmp_path / "two")
    assert found["fid"]["mean"] > 0
    assert_alike(found, summary(tmp_path / "one"))
    assert_alike(rows(tmp_path / "one"), rows(tmp_path / "two"))


@pytest.mark.parametrize(("killed", "resume"), [(0, together), (1, alone)])
def test_a_process_is_killed_and_the_run_resumes_with_any_number_of_them(
    tmp_path: Path, killed: int, resume: Callable[..., Any]
):
    asked = ["limit=10", f"task.stop_at={2 + 5 * killed}", "images=null"]
    done = together(tmp_path, *asked, "hydra.run.dir=two")
    assert done[killed][0] == -signal.SIGKILL
    code, _, said = done[1 - killed]
    assert code == 1 and said.count("\n") == 1 and "another process" in said and "resume=" in said
    resume(tmp_path, "resume=two", TOY_GOES_ON="1")
    alone(tmp_path, *asked, "hydra.run.dir=one", TOY_GOES_ON="1")
    one, two = tmp_path / "one", tmp_path / "two"
    assert rows(two) == rows(one) and summary(two) == summary(one)
    assert json.loads((two / "status.json").read_text())["exit_code"] == 0
    assert len(list(two.glob("metrics*"))) == 1
    assert len(list(two.glob("images/*/original.png"))) == 10


def test_an_error_of_one_process_is_said_once_and_ends_all(tmp_path: Path):
    first, second = together(tmp_path, "limit=10", "task.crash_at=7", "hydra.run.dir=two")
    assert first[0] == second[0] == 1 and second[2] == ""
    log = tmp_path / "two" / "error.log"
    assert first[2] == (f"error: process 1: RuntimeError: the toy broke (traceback in {log})\n")
    assert "in __call__" in log.read_text()
    assert [row["id"] for row in rows(tmp_path / "two")] == [f"{k:03d}" for k in range(7)]
    assert json.loads((tmp_path / "two" / "status.json").read_text())["exit_code"] == 1


def test_failed_examples_of_any_process_count(tmp_path: Path):
    first, second = together(tmp_path, "limit=10", "dataset.corrupt=7", "hydra.run.dir=two")
    assert first[0] == second[0] == 1 and second[1:] == ("", "")
    assert first[2].startswith("error: 1 of 10 examples failed: 007 (broken.png: no such image")


def test_a_sweep_of_shared_runs_goes_on_after_a_user_error(tmp_path: Path):
    sweep = ["-m", "limit=4", "dataset.root=null,/nowhere,.", "hydra.sweep.dir=sweep"]
    first, second = together(tmp_path, *sweep, WANDB_MODE="offline")
    assert first[0] == second[0] == 2 and second[1:] == ("", "")
    assert first[2].count("\n") == 1 and "job 1 (limit=4, dataset.root=/nowhere)" in first[2]
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        assert [row["n"] for row in csv.DictReader(file)] == ["4", "", "4"]
    assert len(offline_files(tmp_path)) == 2
