from pathlib import Path

import numpy as np
from PIL import Image

from fpinv.run.folder import RunFolder
from fpinv.run.sweep import JobResult
from fpinv.run.sweep_pictures import compare
from fpinv.tasks.record import Record

NAMES = ("original", "ceiling", "reconstruction")


def job(root: Path, number: int, ids, pictured=None, original=0, **overrides) -> JobResult:
    folder = RunFolder(root / str(number))
    for k, id in enumerate(ids):
        colour = (40 * number, 30 * k, 120)
        images = {name: Image.new("RGB", (16, 16), colour) for name in NAMES}
        images["original"] = Image.new("RGB", (16, 16), (original, 30 * k, 9))
        kept = images if pictured is None or id in pictured else {}
        folder.append(Record(id, "p", {"psnr": 20.0 + number, "ceiling_psnr": 30.0}, {}, kept))
    return JobResult(number, overrides, 0, {"n": len(ids)}, folder.path)


def test_draws_what_all_jobs_share(tmp_path):
    jobs = [
        job(tmp_path, 1, ["a", "b", "c/d"], inverter="ddim"),
        job(tmp_path, 2, ["a", "b", "c/d"], ["a", "c/d"], inverter="fpi"),
    ]
    assert compare(jobs, tmp_path / "comparison.png")
    drawn = np.asarray(Image.open(tmp_path / "comparison.png").convert("RGB"))
    for k in (0, 2):
        colours = [(0, 30 * k, 9), (40, 30 * k, 120), (80, 30 * k, 120)]
        areas = [(drawn == colour).all(-1).sum() for colour in colours]
        # The first job shows its ceiling and its reconstruction, which have one colour here.
        assert areas[1] == 2 * areas[0] == 2 * areas[2] > 1000
    assert not (drawn == (40, 30, 120)).all(-1).any()


def test_edits_are_set_beside_the_perfect_one(tmp_path):
    jobs = []
    for number in (1, 2):
        folder = RunFolder(tmp_path / str(number))
        names = ("original", "reconstruction", "edit", "truth")
        images = {n: Image.new("RGB", (16, 16), (9, 60 * k, 9)) for k, n in enumerate(names)}
        images["edit"] = Image.new("RGB", (16, 16), (200, 0, 100 * number))
        folder.append(Record("a", "p", {"background_psnr": 30.0}, {}, images))
        jobs.append(JobResult(number, {"inverter": str(number)}, 0, {"n": 1}, folder.path))
    assert compare(jobs, tmp_path / "comparison.png")
    drawn = np.asarray(Image.open(tmp_path / "comparison.png").convert("RGB"))
    for colour in ((9, 0, 9), (9, 180, 9), (200, 0, 100), (200, 0, 200)):
        assert (drawn == colour).all(-1).sum() > 1000
    assert not (drawn == (9, 60, 9)).all(-1).any()


def test_draws_nothing_where_nothing_is_shared(tmp_path):
    jobs = [job(tmp_path, 1, ["a"], inverter="ddim"), job(tmp_path, 2, ["b"], inverter="fpi")]
    assert not compare(jobs, tmp_path / "comparison.png")
    assert not compare([], tmp_path / "comparison.png")
    assert not (tmp_path / "comparison.png").exists()


def test_different_pictures_of_one_name_are_not_set_side_by_side(tmp_path):
    jobs = [job(tmp_path, 1, ["a"], seed=0), job(tmp_path, 2, ["a"], original=200, seed=1)]
    assert not compare(jobs, tmp_path / "comparison.png")


def test_failed_lines_of_a_run_are_left_alone(tmp_path):
    result = job(tmp_path, 1, ["a"], inverter="ddim")
    folder = RunFolder(result.folder)
    folder.append(Record("broken", "p", error="no image"))
    before = folder.lines.read_text()
    assert compare([result, job(tmp_path, 2, ["a"], inverter="fpi")], tmp_path / "c.png")
    assert folder.lines.read_text() == before
