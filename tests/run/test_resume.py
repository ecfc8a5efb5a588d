"""Continued runs: their records equal those of uninterrupted ones, or one line refuses them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from toy_commands import Command, alone, contents, files, only_run, rows, summary


def test_a_killed_run_resumes_to_the_records_of_an_uninterrupted_one(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    overrides = ["task.stop_at=5", "guidance=2", "images=6", "seed=3"]
    process = alone(tmp_path, *overrides, f"hydra.run.dir={folder}")
    assert process.returncode == -signal.SIGKILL and len(rows(folder)) == 5
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"id": "005", "pro')
    monkeypatch.setenv("TOY_GOES_ON", "1")
    assert run(f"resume={folder}") == 0
    assert run(*overrides, f"hydra.run.dir={whole}") == 0
    assert rows(folder) == rows(whole) and summary(folder) == summary(whole)
    for ours, theirs in zip(files(folder / "images"), files(whole / "images"), strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    assert not list(tmp_path.glob("outputs/2*/*"))


def test_ctrl_c_keeps_the_records_and_says_how_to_go_on(
    run: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    # A background shell has its children ignore Ctrl-C: here it is heard in any case.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run("task.stop_at=3", f"task.signal={int(signal.SIGINT)}") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    folder = only_run(tmp_path)
    assert capsys.readouterr().err == (
        f"interrupted: 3 of 8 examples are kept; to go on: python run.py resume={folder}\n"
    )
    assert (summary(folder)["n"], summary(folder)["total"]) == (3, 8)
    monkeypatch.setenv("TOY_GOES_ON", "1")
    assert run(f"resume={folder}") == 0 and summary(folder)["n"] == 8


def test_a_resumed_run_refuses_another_configuration(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("guidance=2", "limit=2") == 0
    folder = only_run(tmp_path)
    before = contents(folder)
    capsys.readouterr()
    assert run(f"resume={folder}", "guidance=3", "inverter=ddim", "limit=2", "steps=50") == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert (
        "guidance=2 and not guidance=3" in output
        and "inverter=fpi and not inverter=ddim" in output
    )
    assert "limit" not in output and "steps" not in output
    assert contents(folder) == before
    assert run(f"resume={folder}", "guidance=2.0", "tracking.images=3") == 0


def test_a_run_of_another_version_is_refused_in_one_line(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Resume runs whose task has since moved, or has lost an argument."""
    assert run("limit=2") == 0
    folder = only_run(tmp_path)
    config = (folder / "config.yaml").read_text()
    for line in ("_target_: run_toys_before.ToyTask", "_target_: run_toys.ToyTask\n  stopping: 3"):
        (folder / "config.yaml").write_text(config.replace("_target_: run_toys.ToyTask", line))
        before = contents(folder)
        capsys.readouterr()
        assert run(f"resume={folder}") == 2
        output = capsys.readouterr()
        assert output.out == "" and output.err.count("\n") == 1
        assert f"resume={folder} is a run of another version of fpinv, or" in output.err
        assert "not on PYTHONPATH (task." in output.err
        assert contents(folder) == before
    (folder / "config.yaml").write_text(config)
    assert run(f"resume={folder}") == 0


def test_a_sweep_is_no_run_to_resume(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("-m", "seed=0,1", "limit=1") == 0
    (folder,) = tmp_path.glob("outputs/multirun/*")
    assert run(f"resume={folder}") == 2 and "is a sweep" in capsys.readouterr().err
    assert run("-m", f"resume={folder}/0") == 2 and "leave out -m" in capsys.readouterr().err
    assert run(f"resume={folder}/0") == 0


def test_a_resumed_experiment_does_not_sweep_again(run: Command, tmp_path: Path):
    assert run("experiment=figure", "limit=1") == 0
    (sweep,) = tmp_path.glob("outputs/multirun/*")
    assert run("experiment=figure", "limit=1", f"resume={sweep}/0") == 0
    assert list(tmp_path.glob("outputs/multirun/*")) == [sweep]
