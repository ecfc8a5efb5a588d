"""The results of an experiment, which can be made again from the saved jobs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from finished_runs import finish
from matplotlib.figure import Figure
from PIL import Image

from fpinv.errors import UserError
from fpinv.reporting.experiment import LARGEST, Experiment, Results, encoded, read_saved, save
from fpinv.tasks.record import Record


def shown(jobs):
    lines = [
        f"{job.name} {job.overrides} {job.settings} {list(job.examples)} "
        f"{job.summary['psnr']['mean']!r}"
        for job in jobs
    ]
    at_hand = all(job.folder is not None for job in jobs)
    pictures = {"red.png": Image.new("RGB", (8, 8), "red")} if at_hand else {}
    return Results("\n\n".join([*lines, "![red](red.png)"]), pictures)


EXPERIMENT = Experiment(shown, ("task.images", "task/path"), ("psnr", "residual", "kind"))


@pytest.fixture
def sweeps(tmp_path):
    folder = tmp_path / "sweeps"
    config = {"task": {"images": 3}, "dataset": {"root": "/home/somebody/data"}}
    for name in ("b/10", "b/9", "a/x/0"):
        record = Record(
            "e0", "p", {"psnr": 20 + 1 / 3}, {"residual": [0.5, 1 / 7]}, texts={"kind": "colour"}
        )
        failed = Record("e1", "p", error="no image")
        overrides = ["dataset.root=/home/somebody/data/coco", "~task/reader", "+x=[a,/b/c]"]
        finish(folder / name, [record, failed], overrides, config, {"task/path": "nao"})
    return folder


def test_runs_and_saved_jobs_give_one_text(sweeps, tmp_path, capsys):
    assert EXPERIMENT.main([str(sweeps)]) == 0
    printed = capsys.readouterr().out
    results = sweeps / "results"
    text = (results / "results.md").read_text()
    assert printed.strip() == text.strip()
    assert sorted(f.name for f in results.iterdir()) == [
        "examples.json",
        "jobs.json",
        "red.png",
        "results.md",
    ]
    again = tmp_path / "again"
    assert EXPERIMENT.main([str(results), str(again)]) == 0
    for name in ("examples.json", "jobs.json", "results.md"):
        assert (again / name).read_bytes() == (results / name).read_bytes()
    assert not (again / "red.png").exists(), "its runs are not at hand"
    assert EXPERIMENT.main([str(results)]) == 0
    assert (results / "results.md").read_text() == text and (results / "red.png").exists()


def test_jobs_of_further_folders_count_with_the_first(sweeps, tmp_path, capsys):
    """Earlier results and later sweeps together give what one call gives of all runs."""
    every = EXPERIMENT.run(sweeps)
    earlier, later = tmp_path / "earlier", tmp_path / "later"
    earlier.mkdir(), later.mkdir()
    (sweeps / "a").rename(earlier / "a")
    (sweeps / "b").rename(later / "b")
    EXPERIMENT.run(earlier, earlier / "results")
    arguments = [str(earlier / "results"), str(tmp_path / "both"), "--with", str(later)]
    capsys.readouterr()
    assert EXPERIMENT.main(arguments) == 0
    assert capsys.readouterr().out.strip() == every.text
    for name in ("examples.json", "jobs.json"):
        both = tmp_path / "both" / name
        assert both.read_bytes() == (sweeps / "results" / name).read_bytes()


def test_jobs_of_one_name_are_refused(sweeps, capsys):
    assert EXPERIMENT.main([str(sweeps), "--with", str(sweeps)]) == 2
    assert "a job is named a/x/0 there and in another folder" in capsys.readouterr().err


def test_jobs_that_the_results_do_not_tell_apart_are_refused(sweeps):
    first, *others = EXPERIMENT.read(sweeps)
    other = replace(first, summary=dict(first.summary) | {"steps": 7})
    apart = replace(EXPERIMENT, apart=("inverter",))
    with pytest.raises(
        UserError, match="differ in steps .* which these results do not tell apart"
    ):
        apart._require_alike([other, *others], sweeps)
    replace(EXPERIMENT, apart=("steps",))._require_alike([other, *others], sweeps)
    apart._require_alike([first, *others], sweeps)


def test_runs_of_another_experiment_are_refused_in_one_line(sweeps, capsys):
    other = Experiment(lambda jobs: Results(jobs[0].settings["task.mode"]))
    assert other.main([str(sweeps)]) == 2
    error = capsys.readouterr().err
    assert "those of another experiment, or not all are finished (KeyError: 'task.mode')" in error
    assert error.count("\n") == 1


def test_settings_have_the_last_name_of_a_path_alone(sweeps):
    first = replace(EXPERIMENT, settings=("dataset", "dataset.root")).read(sweeps)[0]
    assert first.settings == {"dataset": {"root": "data"}, "dataset.root": "data"}


def test_jobs_are_in_order_and_name_no_machine(sweeps):
    jobs = EXPERIMENT.read(sweeps)
    EXPERIMENT.run(sweeps)
    assert [job.name for job in jobs] == ["a/x/0", "b/9", "b/10"]
    text = (sweeps / "results" / "jobs.json").read_text()
    assert "somebody" not in text and len(text.splitlines()) == 2 + len(jobs)
    job = read_saved(sweeps / "results")[0]
    assert job.overrides == {"dataset.root": "coco", "~task/reader": "", "x": "[a,c]"}
    assert job.settings == {"task.images": 3, "task/path": "nao"}
    assert job.examples == [
        {"id": "e0", "psnr": 20.333333, "residual": [0.5, 0.14285714], "kind": "colour"}
    ]
    assert (job.summary["n"], job.summary["failed"]) == (1, 1)
    assert job.folder is None and jobs[0].folder == sweeps / "a/x/0"


def test_unfinished_jobs_are_left_out_and_named(sweeps, tmp_path, capsys):
    (sweeps / "b" / "9" / "summary.json").unlink()
    assert [job.name for job in EXPERIMENT.read(sweeps)] == ["a/x/0", "b/10"]
    assert "left out, for nothing is finished: b/9" in capsys.readouterr().err
    assert EXPERIMENT.main([str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.endswith("nothing holds no finished runs\n")


def test_foreign_jobs_file_is_refused_in_one_line(tmp_path, capsys):
    for text in ("[", "[1]", json.dumps([{"name": "a", "colour": 1}])):
        (tmp_path / "jobs.json").write_text(text)
        assert EXPERIMENT.main([str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert "jobs.json: cannot be read" in error and error.count("\n") == 1


def test_a_file_without_jobs_is_refused(tmp_path, capsys):
    (tmp_path / "jobs.json").write_text("[]")
    assert EXPERIMENT.main([str(tmp_path)]) == 2
    assert "holds no jobs" in capsys.readouterr().err


def test_pictures_are_encoded_below_the_limit():
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    for name in ("a.png", "a.jpg"):
        assert 10_000 < len(encoded(image, name)) < LARGEST
    with pytest.raises(UserError, match="huge.jpg does not get smaller than 300 KB"):
        encoded(Image.fromarray(np.tile(noise, (5, 5, 1))), "huge.jpg")


def test_a_drawing_is_saved_in_light_and_in_dark(tmp_path):
    def draw():
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([1, 2])
        return figure

    save(Results("", {"f.png": draw, "p.png": Image.new("RGB", (8, 8))}), [], tmp_path)
    assert {file.name for file in tmp_path.glob("*.png")} == {"f.png", "f.dark.png", "p.png"}
    light, dark = (Image.open(tmp_path / name).convert("L") for name in ("f.png", "f.dark.png"))
    assert light.size == dark.size and np.median(light) == 255 and np.median(dark) < 50
