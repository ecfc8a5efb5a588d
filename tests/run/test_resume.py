"""Continued runs: their records equal those of uninterrupted ones, or one line refuses them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from omegaconf import OmegaConf
from PIL import Image
from toy_commands import (
    LOADING,
    REAL_INVERTER,
    Command,
    alone,
    contents,
    files,
    only_run,
    rows,
    summary,
)

from fpinv.errors import UserError
from fpinv.run import measuring
from fpinv.run.lock import locked
from fpinv.run.processes import Ranks
from fpinv.run.stored_config import SIGNATURE, differing_keys, save_config

T = TypeVar("T")


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
    config = (folder / "config.yaml").read_text().partition(SIGNATURE)[0]
    for line in ("_target_: fpinv.tasks.toy.ToyTask", "_target_: run_toys.ToyTask\n  stopping: 3"):
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


@pytest.mark.parametrize(
    "content",
    [b"- a list\n", b"\x00\xff\xfe", b"model: {a", b"steps: 3\n", b"", b"[" * 20_000],
    ids=["list", "binary", "torn", "short", "empty", "nested"],
)
def test_a_configuration_that_cannot_be_read_is_refused_in_one_line(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_bytes(content)
    assert run(f"resume={folder}") == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert f"{folder}/config.yaml" in output.err
    assert contents(folder)["config.yaml"] == content and not (folder / "status.json").exists()


PAYLOADS = {
    "a component": "_target_: os.mkdir\n  path: gone",
    "in a list": "_target_: run_toys.ToyDataset\n  extra:\n  - {_target_: os.mkdir, path: gone}",
    "through fpinv": "_target_: fpinv.run.versions.subprocess.check_call\n  args: [mkdir, gone]",
    "of runs": "_target_: fpinv.run.folder.write\n  path: gone\n  text: x",
    "a function": "_target_: fpinv.reporting.experiment.load\n  folder: gone",
}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_folder_of_somebody_else_runs_no_code_of_its_own(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], payload: str
):
    assert run("limit=1") == 0
    folder = only_run(tmp_path)
    config = (folder / "config.yaml").read_text().partition(SIGNATURE)[0]
    assert "_target_: run_toys.ToyDataset" in config
    capsys.readouterr()
    (folder / "config.yaml").write_text(
        config.replace("_target_: run_toys.ToyDataset", PAYLOADS[payload])
    )
    assert run(f"resume={folder}") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is no part of fpinv" in error and "dataset" in error
    assert not (tmp_path / "gone").exists()


def test_the_sweep_of_somebody_else_runs_no_code_of_its_own(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("-m", "limit=1", "seed=1,2", "hydra.sweep.dir=sweep") == 0
    capsys.readouterr()
    file = tmp_path / "sweep" / "multirun.yaml"
    genuine = file.read_text()
    hidden = "+dataset.extra={_target_:${tracking.project},path:gone}"
    for line, named in (
        ("+dataset.extra={_target_: os.mkdir, path: gone}", "os.mkdir"),
        ("dataset._target_=os.mkdir", "os.mkdir"),
        (hidden, "${tracking.project"),
        ("hydra.searchpath=[file:///theirs]", "hydra.searchpath"),
    ):
        stored = OmegaConf.create(genuine)
        stored.hydra.overrides.task = [*stored.hydra.overrides.task, line]
        file.write_text(OmegaConf.to_yaml(stored))
        assert run("resume=sweep") == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and named in error and "multirun.yaml" in error
    assert not (tmp_path / "gone").exists()


def test_code_that_the_search_path_names_is_trusted(
    run: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    option = tmp_path / "mine" / "dataset" / "theirs.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("_target_: code_of_theirs.Theirs\n")
    module = tmp_path / "mine" / "code_of_theirs.py"
    module.write_text("from run_toys import ToyDataset as Theirs\n")
    monkeypatch.syspath_prepend(module.parent)
    path = f"hydra.searchpath=[file://{module.parent}]"
    assert run("dataset=theirs", path, "limit=1") == 0
    folder = only_run(tmp_path)
    assert run(f"resume={folder}", path) == 0
    capsys.readouterr()
    assert run(f"resume={folder}") == 2
    assert "dataset._target_=code_of_theirs.Theirs" in capsys.readouterr().err


def test_a_sweep_goes_on_with_the_jobs_that_are_not_done(
    run: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """Resume a sweep whose first job is done, whose second was killed and whose third is new."""
    overrides = ["task.stop_at=null,2,3", "limit=4", "hydra.sweep.subdir='job${hydra.job.num}'"]
    sweep, whole = tmp_path / "sweep", tmp_path / "whole"
    process = alone(tmp_path, "-m", *overrides, f"hydra.sweep.dir={sweep}")
    assert process.returncode == -signal.SIGKILL and not (sweep / "job2").exists()
    monkeypatch.setenv("TOY_GOES_ON", "1")
    done = (sweep / "job0" / "summary.json").stat().st_mtime_ns
    assert run(f"resume={sweep}") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(sweep)
    assert run("-m", *overrides, f"hydra.sweep.dir={whole}") == 0
    for name in ("job0", "job1", "job2"):
        ours, theirs = rows(sweep / name), rows(whole / name)
        assert without_origin(ours) == without_origin(theirs)
    assert (sweep / "sweep.csv").read_text() == (whole / "sweep.csv").read_text()
    assert (sweep / "job0" / "summary.json").stat().st_mtime_ns == done


def test_a_resumed_sweep_keeps_its_settings(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("-m", "seed=0,1", "limit=1") == 0
    (folder,) = tmp_path.glob("outputs/multirun/*")
    before = (folder / "1" / "metrics.jsonl").read_text()
    assert run(f"resume={folder}", "guidance=4") == 2
    assert "leave out guidance=4" in capsys.readouterr().err
    assert run("-m", f"resume={folder}/0") == 2 and "leave out -m" in capsys.readouterr().err
    assert run(f"resume={folder}", "limit=3") == 0
    assert [summary(folder / job)["n"] for job in "01"] == [3, 3]
    assert (folder / "1" / "metrics.jsonl").read_text().startswith(before)


def test_jobs_of_before_a_key_was_added_go_on_with_its_default(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sweep = ["-m", "inverter=ddim,fpi", "limit=1", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    assert run(*sweep) == 0
    job0 = tmp_path / "sweep" / "0"
    config = OmegaConf.load(job0 / "config.yaml")
    del config.max_pixels
    OmegaConf.save(config, job0 / "config.yaml")
    done = (job0 / "summary.json").stat().st_mtime_ns
    assert run(*sweep) == 0 and (job0 / "summary.json").stat().st_mtime_ns == done
    capsys.readouterr()
    assert run(*sweep, "max_pixels=10000") == 2
    error = capsys.readouterr().err
    assert "holds a run already, with another value of max_pixels: continue" in error


def test_a_resumed_experiment_does_not_sweep_again(run: Command, tmp_path: Path):
    assert run("experiment=figure", "limit=1") == 0
    (sweep,) = tmp_path.glob("outputs/multirun/*")
    assert run("experiment=figure", "limit=1", f"resume={sweep}/0") == 0
    assert list(tmp_path.glob("outputs/multirun/*")) == [sweep]


def test_a_continued_run_takes_more_examples_pictures_and_what_leaves_results_as_they_are(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert run("limit=9", "images=5", f"hydra.run.dir={whole}") == 0
    assert run("limit=4", "images=2", f"hydra.run.dir={folder}") == 0
    capsys.readouterr()
    more = ["limit=9", "images=5", "batch_size=3", "device=cpu", "tracking.images=3"]
    assert run(f"resume={folder}", *more) == 0
    notice = "finished examples done again, for their pictures or inversions: 002; 003\n"
    assert capsys.readouterr().err == notice
    assert without_origin(rows(folder)) == without_origin(rows(whole))
    assert [f.name for f in files(folder / "images")] == [f.name for f in files(whole / "images")]
    content = summary(folder)
    assert (content["n"], content["total"], content["batch_size"]) == (9, 9, 3)
    assert [part["batch_size"] for part in content["also_made_with"]] == [8]
    config = OmegaConf.load(folder / "config.yaml")
    assert (config.limit, config.batch_size, config.device, config.model.device) == (
        9,
        3,
        "cpu",
        "cpu",
    )
    assert run(f"resume={folder}", "limit=4") == 2
    assert "limit=9 and not limit=4" in capsys.readouterr().err
    assert run(f"resume={folder}", "limit=null", "images=0") == 0 and len(rows(folder)) == 10


def test_examples_that_changed_or_are_gone_are_dropped_and_named(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    photographs, folder = tmp_path / "photographs", tmp_path / "run"
    overrides = ["task=round_trip", "model=toy", "inversions=true", *REAL_INVERTER, "steps=2"]
    overrides += ["dataset=photographs", f"dataset.root={photographs}"]
    for grey, name in enumerate("abcdefg"):
        save_grey(photographs / f"{name}.png", 40 * grey)
    assert run(*overrides, f"hydra.run.dir={folder}") == 0
    before = {row["id"]: row for row in rows(folder)}
    inversions = contents(folder / "inversions")
    (photographs / "b.png").unlink()
    save_grey(photographs / "d.png", 7)
    capsys.readouterr()
    assert run(f"resume={folder}") == 0
    assert capsys.readouterr().err.splitlines() == [
        "finished examples done again, as their image, caption or edit has changed: d",
        "finished examples left out, as the data set no longer has them: b",
    ]
    after = {row["id"]: row for row in rows(folder)}
    assert list(after) == list("acdefg") and after["d"]["psnr"] != before["d"]["psnr"]
    assert all(after[id] == before[id] for id in "acefg")
    assert (summary(folder)["n"], summary(folder)["total"]) == (6, 6)
    assert not (folder / "images" / "b").exists()
    now = contents(folder / "inversions")
    assert "b.safetensors" not in now and now["d.safetensors"] != inversions["d.safetensors"]


def test_other_weights_are_refused(
    run: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    def load(digest: str) -> None:
        header = {"model": "toy", "model_digest": digest, "versions": {}}
        monkeypatch.setattr(measuring.Run, "make_header", lambda self: header)

    load("old weights")
    assert run("limit=2") == 0
    folder = only_run(tmp_path)
    records = (folder / "metrics.jsonl").read_text()
    load("new weights")
    capsys.readouterr()
    assert run(f"resume={folder}", "limit=3") == 2
    error = capsys.readouterr().err
    assert "the weights of model toy have changed" in error and error.count("\n") == 1
    assert (folder / "metrics.jsonl").read_text() == records
    load("old weights")
    assert run(f"resume={folder}", "limit=3") == 0 and len(rows(folder)) == 3


def test_a_configuration_edited_by_hand_is_refused(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("limit=2") == 0
    folder = only_run(tmp_path)
    config = folder / "config.yaml"
    whole = config.read_text()
    config.write_text(whole.replace("guidance: 1", "guidance: 3"))
    before = contents(folder)
    capsys.readouterr()
    assert run(f"resume={folder}", "limit=3") == 2
    error = capsys.readouterr().err
    assert f"{config} was changed since the run wrote it" in error and error.count("\n") == 1
    assert contents(folder) == before
    config.write_text(whole)
    assert run(f"resume={folder}") == 0


def test_each_line_keeps_the_versions_that_made_it(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert run("limit=2") == 0
    folder = only_run(tmp_path)
    before = summary(folder)
    monkeypatch.setattr(measuring, "versions", lambda: before["versions"] | {"fpinv": "next"})
    assert run(f"resume={folder}", "limit=3") == 0
    parts = [json.loads(line) for line in (folder / "made_with.jsonl").read_text().splitlines()]
    made_with = [parts[row["made_with"]]["versions"] for row in rows(folder)]
    assert made_with == [before["versions"], before["versions"], summary(folder)["versions"]]
    assert summary(folder)["versions"]["fpinv"] == "next"
    assert [p["versions"] for p in summary(folder)["also_made_with"]] == [before["versions"]]
    monkeypatch.setattr(measuring, "versions", lambda: {"fpinv": "one that makes no line"})
    assert run(f"resume={folder}") == 0 and summary(folder)["versions"]["fpinv"] == "next"
    monkeypatch.setattr(measuring, "versions", lambda: before["versions"])
    assert run(f"resume={folder}", "limit=4") == 0
    assert summary(folder)["versions"] == before["versions"]
    (also,) = summary(folder)["also_made_with"]
    assert also["versions"]["fpinv"] == "next"


def test_a_torn_line_of_the_provenance_leaves_the_others_their_numbers(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert run("limit=1") == 0
    folder = only_run(tmp_path)
    before = summary(folder)["versions"]
    monkeypatch.setattr(measuring, "versions", lambda: before | {"fpinv": "next"})
    assert run(f"resume={folder}", "limit=2") == 0
    file = folder / "made_with.jsonl"
    first, second = file.read_text().splitlines()
    file.write_text(f"{first[:20]}\n{second}\n")
    assert run(f"resume={folder}", "limit=3") == 0
    assert [row["made_with"] for row in rows(folder)] == [0, 1, 1]
    monkeypatch.setattr(measuring, "versions", lambda: before)
    assert run(f"resume={folder}", "limit=4") == 0
    assert rows(folder)[-1]["made_with"] == 2 and summary(folder)["versions"] == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_cluster_s_signals_end_a_run_like_ctrl_c(tmp_path: Path, number: signal.Signals):
    folder = tmp_path / "run"
    before = signal.signal(number, signal.SIG_DFL)  # of these tests, nohup may ignore it
    try:
        process = alone(
            tmp_path, "task.stop_at=3", f"task.signal={int(number)}", f"hydra.run.dir={folder}"
        )
    finally:
        signal.signal(number, before)
    assert process.returncode == 130 and summary(folder)["n"] == 3
    assert process.stderr == LOADING + (
        f"interrupted: 3 of 8 examples are kept; to go on: python run.py resume={folder}\n"
    )


def test_an_ignored_signal_stays_ignored(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr("run_toys.time.sleep", lambda seconds: None)
    try:
        assert run("task.stop_at=3", f"task.signal={int(signal.SIGHUP)}") == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_one_folder_has_one_run_at_a_time(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("limit=2", "hydra.run.dir=run") == 0
    before = contents(tmp_path / "run")
    with locked(tmp_path / "run", Ranks()):
        capsys.readouterr()
        assert run("resume=run", "limit=3") == 2
        error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'run'} is in use by process {os.getpid()} on ")
    assert error.count("\n") == 1 and contents(tmp_path / "run") == before
    assert run("resume=run", "limit=3") == 0 and len(rows(tmp_path / "run")) == 3


@dataclass(frozen=True)
class Meeting(Ranks):
    """One of several processes, which the test calls by turns instead of having them meet."""

    def first(self, stage: Callable[[], T]) -> T | None:
        return stage() if self.leads else None

    def each(self, stage: Callable[[], T]) -> T:
        return stage()


def test_the_processes_of_a_run_hold_its_folder_as_long_as_any_of_them_lives(tmp_path: Path):
    with ExitStack() as follower:
        with locked(tmp_path, Meeting(0, 2)):
            follower.enter_context(locked(tmp_path, Meeting(1, 2)))
        with pytest.raises(UserError, match="is in use by"), locked(tmp_path, Ranks()):
            pass
    with locked(tmp_path, Ranks()):
        pass


def test_the_lock_of_a_killed_run_is_free_and_its_partial_files_go(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert alone(tmp_path, "task.stop_at=1", "hydra.run.dir=run").returncode == -signal.SIGKILL
    partial = tmp_path / "run" / "images" / "001" / ".original.png.0123abcd.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"half a picture")
    monkeypatch.setenv("TOY_GOES_ON", "1")
    assert run("resume=run") == 0 and len(rows(tmp_path / "run")) == 8
    assert not list((tmp_path / "run").rglob("*.partial"))


def without_origin(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return lines without the number of what they were made with."""
    return [{key: value for key, value in row.items() if key != "made_with"} for row in rows]


def save_grey(file: Path, grey: int) -> None:
    """Save a grey square with a dark half."""
    picture = Image.new("RGB", (16, 16), (grey, grey, grey))
    picture.paste((0, 0, 0), (0, 0, 8, 16))
    file.parent.mkdir(exist_ok=True)
    picture.save(file)


def test_inversions_may_have_moved_since_a_job_was_begun(tmp_path):
    before, now = (
        OmegaConf.create({"limit": 1, "task": {"inversions": folder, "images": 4}})
        for folder in ("/old/path/0", "/new/path/0")
    )
    save_config(before, {}, tmp_path)
    assert differing_keys(now, tmp_path) == []
    now.task.images = 5
    assert differing_keys(now, tmp_path) == ["task.images"]
