"""One run: its records, pooled measures, failed examples and crashes."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from run_toys import ToyTask
from toy_commands import PAIRS, REAL_INVERTER, Command, files, only_run, rows, summary

from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.run.folder import RunFolder
from fpinv.run.preflight import read_settings
from fpinv.run.terminal import print_once
from fpinv.tasks.record import Record


def test_a_run_leaves_its_records(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("images=2", "guidance=2") == 0
    folder, output = only_run(tmp_path), capsys.readouterr()
    assert output.err == ""
    assert output.out.splitlines()[-2:] == [str(folder), str(folder / "pictures.png")]
    assert "psnr" in output.out
    assert [row["id"] for row in rows(folder)] == [f"{k:03d}" for k in range(8)]
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["000", "001"]
    content = summary(folder)
    assert (content["n"], content["failed"], content["total"]) == (8, 0, 8)
    assert content["psnr"]["mean"] == 3.5 + 5 + 2 and content["residual"] is None
    header = {"model": "toy", "dataset": "scenes", "inverter": "fpi", "task": "reconstruction"}
    assert header.items() <= content.items()
    source = {"model_path", "model_commit", "model_digest", "scheduler", "spacing"}
    assert source <= content.keys()
    assert (content["steps"], content["guidance"], content["seed"]) == (50, 2, 0)
    assert {"python", "torch", "diffusers", "transformers", "fpinv"} == content["versions"].keys()
    assert json.loads((folder / "status.json").read_text())["exit_code"] == 0
    assert "${" not in (folder / "config.yaml").read_text()


def test_a_run_without_results_prints_no_table(run: Command, capsys: pytest.CaptureFixture[str]):
    assert run("limit=1", "dataset.corrupt=0", "images=0") == 1
    output = capsys.readouterr()
    assert "n = 0" in output.out and "meaning" not in output.out
    assert output.err.startswith("error: 1 of 1 examples failed: ")


def test_a_limit_says_how_many_examples_it_leaves_out(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("limit=3", "images=0") == 0
    assert "n = 3 of 10 (limit=3; null takes all)" in capsys.readouterr().out
    assert summary(only_run(tmp_path))["dataset_size"] == 10
    assert run("limit=null", "images=0", "seed=1") == 0
    assert "n = 10\n" in capsys.readouterr().out


def test_fp16_on_a_cpu_says_once_that_it_is_slow(run: Command, capsys: pytest.CaptureFixture[str]):
    print_once.cache_clear()
    assert run("-m", "precision=fp16,bf16", "guidance=1,2", "limit=1") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "precision" in line]
    assert len(lines) == 1 and lines[0].startswith("precision=fp16 is many times as slow")


def test_a_crash_keeps_its_traceback(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("task.crash=true") == 1
    output, log = capsys.readouterr().err, only_run(tmp_path) / "error.log"
    assert output == f"error: RuntimeError: the toy broke (traceback in {log})\n"
    assert "in __call__" in log.read_text()


def test_a_device_measures_a_batch_while_the_one_before_is_written(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Let no record be written before the example two places behind it is begun."""
    begun = [Event() for _ in range(6)]

    def measure(task: ToyTask, example: Example, *arguments: Any) -> Record:
        begun[int(example.id)].set()
        return measured(task, example, *arguments)

    def append(folder: RunFolder, record: Record, **entries: Any) -> dict[str, Any]:
        assert begun[min(int(record.id) + 2, 5)].wait(60)
        return written(folder, record, **entries)

    measured, written = ToyTask._record, RunFolder.append
    monkeypatch.setattr(ToyTask, "_record", measure)
    monkeypatch.setattr(RunFolder, "append", append)
    assert run("limit=6", "batch_size=2", "device=meta") == 0
    assert [row["id"] for row in rows(only_run(tmp_path))] == [f"00{k}" for k in range(6)]


def test_a_corrupt_image_fails_alone_and_is_done_again(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("limit=null", "dataset.corrupt=4") == 1
    output, folder = capsys.readouterr().err, only_run(tmp_path)
    assert output.startswith("error: 1 of 10 examples failed: 004 (broken.png: no such image")
    assert (summary(folder)["n"], summary(folder)["failed"]) == (9, 1)
    assert [row["id"] for row in rows(folder) if row["error"]] == ["004"]
    assert run(f"resume={folder}") == 1 and len(rows(folder)) == 10


def test_a_folder_holds_one_run(run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("hydra.run.dir=here", "limit=2") == 0
    before = files(tmp_path / "here" / "images")
    assert run("hydra.run.dir=here", "limit=4", "guidance=3") == 2
    assert "resume=" in capsys.readouterr().err and files(tmp_path / "here/images") == before
    assert run("resume=here") == 0 and summary(tmp_path / "here")["guidance"] == 1


def test_a_grouping_task_has_pooled_measures(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(*PAIRS, "limit=6", "images=1") == 0
    folder, output = only_run(tmp_path), capsys.readouterr().out
    content = summary(folder)
    assert (content["n"], content["total"], content["features"]) == (6, 6, "brightness")
    assert content["fid"]["mean"] > 0 and content["diversity"]["mean"] > 0
    assert "fid" in output and "diversity" in output and "accuracy_few" in output
    assert [path.name for path in (folder / "images").iterdir()] == ["dark-0000"]
    assert len(list((folder / "arrays").iterdir())) == 6


def test_pooled_measures_survive_a_kill(run: Command, tmp_path: Path):
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
    run: Command, capsys: pytest.CaptureFixture[str]
):
    assert run("task=interpolation", "model=toy", *REAL_INVERTER) == 2
    output = capsys.readouterr().err
    assert "has no classes" in output and len(output.splitlines()) == 1


def test_an_inverter_that_a_task_does_not_take_is_refused_before_the_model_is_loaded(
    run: Command, capsys: pytest.CaptureFixture[str]
):
    bdia = ["inverter=ddim", "inverter._target_=fpinv.inverters.bdia.BDIA", "~inverter.iterations"]
    task = ["task=interpolation", "dataset=shades", "model.path=/nowhere"]
    assert run(*task, *bdia) == 2
    output = capsys.readouterr().err
    assert "BDIA needs more than z_N" in output and len(output.splitlines()) == 1


@pytest.mark.parametrize("key", ["inversions", "negative_guidance"])
def test_a_switch_takes_true_or_false_alone(key: str):
    """Hydra reads ``no`` and ``off`` as texts, which would count as true."""
    with initialize_config_dir(str(Path("conf").resolve()), version_base=None):
        config = compose("config", [f"{key}=no"])
    with pytest.raises(UserError, match=f"{key}=no is not possible: give true or false"):
        read_settings(config)


@pytest.mark.parametrize("key", ["noised_steps=1", "inversions=true", "adjustment=grain"])
@pytest.mark.parametrize(
    "task",
    [
        *(["watermark"], ["edit_control"], ["flow_editing"]),
        *(["rare_concept", "task.centroid=null"], ["interpolation", "task.seeds=known"]),
    ],
)
def test_keys_without_a_part_in_a_task_are_refused(key: str, task: list[str]):
    overrides = [f"task={task[0]}", *task[1:], "dataset=scene_edits", key]
    with initialize_config_dir(str(Path("conf").resolve()), version_base=None):
        config = compose("config", overrides)
    name = key.partition("=")[0]
    with pytest.raises(UserError, match=f"{name}=... has no part where no image of the data set"):
        read_settings(config)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("noised_steps=1", "noised_steps=1 is not possible with ToyInverter"),
        ("noised_steps=-1", "noised_steps=-1 is not possible: give a whole number"),
    ],
)
@pytest.mark.parametrize("sweep", [(), ("-m", "seed=0,1")])
def test_noised_steps_that_are_not_possible_are_refused_before_the_model_is_loaded(
    key: str,
    message: str,
    sweep: tuple[str, ...],
    run: Command,
    capsys: pytest.CaptureFixture[str],
):
    assert run(*sweep, key, "task=round_trip", "model.path=/nowhere") == 2
    output = capsys.readouterr().err
    assert message in output and len(output.splitlines()) == 1


def test_what_the_data_set_notes_and_the_model_ignores_is_said_and_recorded(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    # the prompts are "grey 0", "grey 1", ...
    assert run(f"dataset.root={tmp_path}", "+model.reads=5", "limit=null") == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "captions" in line]
    assert notes[0] == f"captions: grey levels of {tmp_path}"
    assert notes[1].startswith("captions longer than the model reads: 10 of 10: 000; 001; ")
    folder = only_run(tmp_path)
    assert [row["texts"] for row in rows(folder)] == [{"ignored": str(k)} for k in range(10)]
