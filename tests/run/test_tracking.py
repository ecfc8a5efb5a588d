"""W&B: its offline files hold all there is to see, and its errors never stop a run."""

from __future__ import annotations

import builtins
import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import wandb
from PIL import Image
from toy_commands import LOADING, alone
from wandb_files import of_kind, offline_files, values

from fpinv.errors import UserError
from fpinv.run.folder import RunFolder
from fpinv.run.tracking import CHARTS, PICTURES, Identity, Tracker, Tracking, chart_key, track
from fpinv.tasks.record import Record

CONFIG = {"steps": 4, "guidance": 2.0, "inverter": {"iterations": 3}}
IDENTITY = Identity("a name", "a group", "reconstruction", ["toy", "scenes", "fpi"], CONFIG)
SETTINGS = Tracking(images=1, axes=["guidance", "inverter.iterations", "inverter.absent"])


def example(id: str, psnr: float) -> Record:
    image = Image.new("RGB", (4, 4), "blue")
    pictures = {"original": image, "reconstruction": image}
    metrics = {"psnr": psnr, "residual": None}
    return Record(id, f"prompt {id}", metrics, {"residual": [psnr, psnr / 2]}, pictures)


def work(folder: RunFolder, tracker: Tracker, *records: Record) -> None:
    for index, row in enumerate(folder.rows):
        tracker.example(index, row)
    for record in records:
        tracker.example(len(folder.rows), folder.append(record))
    tracker.finish(folder.summarise({"model": "toy"}, total=2), CONFIG, folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was cut off after one example and then resumed."""
    path = tmp_path_factory.mktemp("run")
    with pytest.raises(KeyboardInterrupt), track(SETTINGS, IDENTITY, path) as tracker:
        tracker.example(0, RunFolder(path).append(example("a", 10.0)))
        raise KeyboardInterrupt
    with track(SETTINGS, IDENTITY, path) as tracker:
        work(RunFolder(path), tracker, example("b", 20.0))
    return path


def test_a_run_has_its_identity_and_config(finished: Path):
    (run,) = of_kind(offline_files(finished)[-1], "run")
    assert (run.project, run.run_group, run.job_type) == ("fpinv", "a group", "reconstruction")
    assert list(run.tags) == ["toy", "scenes", "fpi"] and run.display_name == "a name"
    config = values(run.config.update)
    assert config["inverter"] == {"iterations": 3} and config["steps"] == 4


def test_a_resumed_run_is_the_same_run_and_complete(finished: Path):
    earlier, later = offline_files(finished)
    assert of_kind(earlier, "run")[0].run_id == of_kind(later, "run")[0].run_id
    assert [e.exit_code for e in of_kind(earlier, "exit") + of_kind(later, "exit")] == [1, 0]
    history = [values(h.item) for h in of_kind(later, "history")]
    assert [h["example/psnr"] for h in history if "example/psnr" in h] == [10.0, 20.0]


def test_examples_after_the_end_have_later_steps_than_what_ended_it(tmp_path: Path):
    with track(SETTINGS, IDENTITY, tmp_path) as tracker:
        work(RunFolder(tmp_path), tracker, example("a", 10.0))
    with track(SETTINGS, IDENTITY, tmp_path) as tracker:
        work(RunFolder(tmp_path), tracker, example("b", 20.0))
    ended, more = (of_kind(file, "history") for file in offline_files(tmp_path))
    rows = [(values(h.item).get("example/index"), h.step.num) for h in more]
    steps = {index: step for index, step in rows if index is not None}
    assert steps[0] < steps[1]
    assert max(h.step.num for h in ended) < steps[1]


def test_a_run_is_a_point_on_each_axis(finished: Path):
    file = offline_files(finished)[-1]
    history = [values(h.item) for h in of_kind(file, "history")]
    (point,) = [h for h in history if "by_guidance/psnr" in h]
    assert point["guidance"] == 2.0 and point["iterations"] == 3
    assert point["by_guidance/psnr"] == point["by_iterations/psnr"] == 15.0
    axes = {m.glob_name: m.step_metric for m in of_kind(file, "metric") if m.glob_name}
    assert axes["by_guidance/*"] == "guidance" and axes["by_iterations/*"] == "iterations"
    assert [h["step/residual"] for h in history if "step/index" in h] == [15.0, 7.5]


def test_the_summary_has_the_means(finished: Path):
    summary: dict = {}
    for update in of_kind(offline_files(finished)[-1], "summary"):
        summary |= values(update.update)
    assert summary["psnr"] == 15.0 and summary["n"] == 2 and summary["model"] == "toy"


def tables(file: Path) -> dict[str, dict]:
    """Return the tables that a run logged, by key."""
    contents = {}
    for artifact in of_kind(file, "artifact"):
        files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
        for name, path in files.items():
            if name.endswith(".table.json"):
                contents[name.removesuffix(".table.json")] = json.loads(path.read_text()) | {
                    "files": files
                }
    return contents


def test_a_run_has_one_table_of_pictures(finished: Path):
    contents = tables(offline_files(finished)[-1])
    (content,) = (table for name, table in contents.items() if not name.startswith("charts/"))
    files = content["files"]
    assert all(path.is_relative_to(finished) for path in files.values())
    assert content["columns"] == ["id", "prompt", "original", "reconstruction", "psnr", "residual"]
    assert len(content["data"]) == SETTINGS.images
    assert content["data"][0][2]["_type"] == "image-file"
    assert Image.open(files[content["data"][0][2]["path"]]).getpixel((0, 0)) == (0, 0, 255)


def test_a_setting_of_zero_is_a_place_on_its_axis(tmp_path: Path):
    with track(SETTINGS, IDENTITY, tmp_path) as tracker:
        folder = RunFolder(tmp_path)
        folder.append(example("a", 10.0))
        tracker.finish(folder.summarise({}, total=1), {"guidance": 0}, folder)
    history = [values(h.item) for h in of_kind(offline_files(tmp_path)[-1], "history")]
    assert [h["guidance"] for h in history if "by_guidance/psnr" in h] == [0]


def test_each_run_of_an_offline_sweep_is_complete(recorded_sweep: Path):
    """Check config, group, axes, charts and pictures of each run of a real sweep."""
    files = offline_files(recorded_sweep)
    assert len(files) == 2
    for file, iterations in zip(files, (1, 2), strict=True):
        (run,) = of_kind(file, "run")
        assert (run.run_group, run.job_type) == (recorded_sweep.name, "reconstruction")
        assert list(run.tags) == ["scenes", "fpi"]
        config = values(run.config.update)
        assert config["inverter"]["iterations"] == iterations and config["limit"] == 2
        assert config["folder"] == str(recorded_sweep / str(iterations - 1))
        history = [values(h.item) for h in of_kind(file, "history")]
        assert [h["example/index"] for h in history if "example/psnr" in h] == [0, 1]
        assert [h["step/index"] for h in history if "step/residual" in h] == [1, 2]
        (point,) = (h for h in history if "by_iterations/psnr" in h)
        assert (point["iterations"], point["steps"], point["guidance"]) == (iterations, 2, 1)
        assert point["by_seconds_per_image/psnr"] == point["by_iterations/psnr"] > 0
        axes = {m.glob_name: m.step_metric for m in of_kind(file, "metric") if m.glob_name}
        for axis in ("iterations", "guidance", "steps", "seconds_per_image"):
            assert axes[f"by_{axis}/*"] == axis
        assert axes["step/*"] == "step/index" and axes["example/*"] == "example/index"
        contents = tables(file)
        charts = {f"{chart_key(axis, metric)}_table" for _, axis, metric in CHARTS}
        assert set(contents) == {*charts, PICTURES}
        pictures = ["original", "ceiling", "reconstruction", "difference"]
        assert contents[PICTURES]["columns"][:6] == ["id", "prompt", *pictures]
        assert len(contents[PICTURES]["data"]) == 2
        chart = contents[f"{chart_key('iterations', 'psnr')}_table"]
        assert chart["columns"] == ["inverter", "iterations", "psnr"]
        assert chart["data"] == [["fpi", iterations, point["by_iterations/psnr"]]]


def test_disabled_tracking_writes_nothing(tmp_path: Path):
    with track(replace(SETTINGS, mode="disabled"), IDENTITY, tmp_path) as tracker:
        work(RunFolder(tmp_path), tracker, example("a", 1.0))
    assert not (tmp_path / "wandb").exists()


def test_a_run_goes_on_without_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    real = builtins.__import__

    def without(name: str, *arguments: object) -> object:
        if name == "wandb":
            raise ModuleNotFoundError("No module named 'wandb'")
        return real(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with track(SETTINGS, IDENTITY, tmp_path) as tracker:
        work(RunFolder(tmp_path), tracker, example("a", 1.0))
    output = capsys.readouterr().err
    assert output.count("\n") == 1 and "not tracked" in output


def test_a_run_goes_on_when_wandb_breaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise OSError("No space left on device")

    tracker = Tracker(Broken(), SETTINGS)  # type: ignore[arg-type]
    tracker.define()
    work(RunFolder(tmp_path), tracker, example("a", 1.0))
    tracker.close(0)
    output = capsys.readouterr().err
    assert output.count("\n") == 1 and "No space left" in output


def test_a_run_without_a_key_is_tracked_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    real = wandb.init

    def init(**arguments: object) -> object:
        if arguments["mode"] == "online":
            raise wandb.errors.UsageError("No API key configured.\nUse wandb login")
        return real(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(wandb, "init", init)
    with track(replace(SETTINGS, mode="online"), IDENTITY, tmp_path) as tracker:
        work(RunFolder(tmp_path), tracker, example("a", 1.0))
    output = capsys.readouterr().err
    assert output.count("\n") == 1 and "tracked offline" in output
    assert offline_files(tmp_path)


def test_the_jobs_of_a_sweep_are_runs_of_their_own_whatever_the_environment_says(tmp_path: Path):
    """Sweep and resume in the environment of a W&B agent, in processes with a W&B of their own."""
    agent = {
        "WANDB_MODE": "offline",
        "WANDB_SWEEP_ID": "theirs",
        "WANDB_RUN_ID": "one",
        "WANDB_RUN_GROUP": "all",
        "WANDB_RESUME_FROM": "another?_step=3",
    }
    sweep = ["-m", "limit=1", "seed=1,2", "hydra.sweep.dir=ours", "hydra.sweep.subdir=x/${seed}"]
    for arguments in (sweep, ["resume=ours/x/1"]):
        process = alone(tmp_path, *arguments, **agent)
        assert (process.returncode, process.stderr) == (0, LOADING)
    files = offline_files(tmp_path)
    runs = [of_kind(file, "run")[0] for file in files]
    ids = [(file.parents[2] / "wandb_id.txt").read_text() for file in files]
    assert [run.run_id for run in runs] == ids and (len(ids), len(set(ids))) == (3, 2)
    assert {(run.run_group, run.sweep_id) for run in runs} == {("ours", "")}


def test_the_run_of_an_agent_is_the_one_that_the_agent_names(tmp_path: Path):
    agent = {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "theirs", "WANDB_RUN_ID": "one"}
    assert alone(tmp_path, "limit=1", **agent).returncode == 0
    (file,) = offline_files(tmp_path)
    (run,) = of_kind(file, "run")
    assert (run.run_id, run.run_group, run.sweep_id) == ("one", "theirs", "theirs")


def test_a_run_whose_server_is_out_of_reach_is_complete_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Track two runs in one process with a key, at a port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setattr("fpinv.run.tracking.PATIENCE", 1.0)
    wandb.teardown()  # so that W&B reads the environment again
    for name in ("first", "second"):
        with track(replace(SETTINGS, mode="online"), IDENTITY, tmp_path / name) as tracker:
            work(RunFolder(tmp_path / name), tracker, example("a", 1.0), example("b", 2.0))
        (file,) = offline_files(tmp_path / name)
        assert capsys.readouterr().err.count(f"'wandb sync {file.parent}'") == 1
        history = [values(h.item) for h in of_kind(file, "history")]
        assert [h["example/psnr"] for h in history if "example/psnr" in h] == [1.0, 2.0]
    monkeypatch.undo()
    wandb.teardown()


def test_an_unknown_mode_is_refused():
    with pytest.raises(UserError, match="online, offline, disabled"):
        Tracking(mode="of")
