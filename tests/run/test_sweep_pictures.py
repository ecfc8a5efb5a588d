"""The sheet that ends a sweep: shared examples, each job's picture of them, once."""

from pathlib import Path

import numpy as np
from PIL import Image

from fpinv.run.folder import RunFolder
from fpinv.run.job_result import JobResult
from fpinv.run.layout import Origin
from fpinv.run.sweep_pictures import compare
from fpinv.tasks.record import Record

NAMES = ("original", "ceiling", "reconstruction")


def job(root: Path, number: int, ids, pictured=None, original=0, **overrides) -> JobResult:
    folder = RunFolder(root / str(number))
    for k, id in enumerate(ids):
        colour = (40 * number, 30 * k, 120)
        images = {name: Image.new("RGB", (16, 16), colour) for name in NAMES}
        images["original"] = Image.new("RGB", (16, 16), (original, 30 * k, 9))
        if pictured is not None and id not in pictured:
            images = {}
        folder.append(Record(id, "p", {"psnr": 20.0 + number, "ceiling_psnr": 30.0}, {}, images))
    return JobResult(Origin(number, "sweep", overrides), 0, {"n": len(ids)}, folder.path)


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


def area(drawing: np.ndarray, colour: tuple[int, int, int]) -> int:
    return (drawing == colour).all(-1).sum()


def test_sheet_has_the_examples_that_all_jobs_kept(tmp_path):
    jobs = [
        job(tmp_path, 1, ["a", "b", "c/d"], inverter="ddim"),
        job(tmp_path, 2, ["a", "b", "c/d"], ["a", "c/d"], inverter="fpi"),
    ]
    assert compare(jobs, tmp_path / "comparison.png")
    drawing = pixels(tmp_path / "comparison.png")
    for k in (0, 2):
        colours = [(0, 30 * k, 9), (40, 30 * k, 120), (80, 30 * k, 120)]
        # Two of the first job have one colour here: its ceiling and its reconstruction.
        assert [area(drawing, colour) for colour in colours] == [128**2, 2 * 128**2, 128**2]
    assert area(drawing, (40, 30, 120)) == 0


def test_sheet_of_edits_has_the_perfect_one(tmp_path):
    jobs = []
    for number in (1, 2):
        folder = RunFolder(tmp_path / str(number))
        names = ("original", "reconstruction", "edit", "truth")
        images = {n: Image.new("RGB", (16, 16), (9, 60 * k, 9)) for k, n in enumerate(names)}
        images["edit"] = Image.new("RGB", (16, 16), (200, 0, 100 * number))
        folder.append(Record("a", "p", {"background_psnr": 30.0}, {}, images))
        origin = Origin(number, "sweep", {"inverter": str(number)})
        jobs.append(JobResult(origin, 0, {"n": 1}, folder.path))
    assert compare(jobs, tmp_path / "comparison.png")
    drawing = pixels(tmp_path / "comparison.png")
    for colour in ((9, 0, 9), (9, 180, 9), (200, 0, 100), (200, 0, 200)):
        assert area(drawing, colour) == 128**2
    assert area(drawing, (9, 60, 9)) == 0


def test_strips_of_jobs_stand_below_each_other_whole(tmp_path):
    jobs = []
    for number in (1, 2):
        folder = RunFolder(tmp_path / str(number))
        for k, id in enumerate("ab"):
            strip = {"strip": Image.new("RGB", (700, 40), (90 * k, 9, 100 * number))}
            folder.append(Record(id, "p", {}, {}, strip))
        origin = Origin(number, "sweep", {"inverter": str(number)})
        jobs.append(JobResult(origin, 0, {"n": 2}, folder.path))
    assert compare(jobs, tmp_path / "comparison.png") and compare(jobs[:1], tmp_path / "one.png")
    drawing = pixels(tmp_path / "comparison.png")
    colours = [(90 * k, 9, 100 * number) for k in (0, 1) for number in (1, 2)]
    tops = [np.argwhere((drawing == colour).all(-1))[0][0] for colour in colours]
    assert tops == sorted(tops), "those of an example are together"
    assert [area(drawing, colour) for colour in colours] == [700 * 40] * 4
    assert area(pixels(tmp_path / "one.png"), colours[1]) == 0


def test_sheet_is_not_drawn_where_jobs_share_no_example(tmp_path):
    jobs = [job(tmp_path, 1, ["a"], inverter="ddim"), job(tmp_path, 2, ["b"], inverter="fpi")]
    assert not compare(jobs, tmp_path / "comparison.png")
    assert not compare([], tmp_path / "comparison.png")
    assert not (tmp_path / "comparison.png").exists()


def test_sheet_leaves_out_examples_of_different_originals(tmp_path):
    jobs = [job(tmp_path, 1, ["a"], seed=0), job(tmp_path, 2, ["a"], original=200, seed=1)]
    assert not compare(jobs, tmp_path / "comparison.png")


def test_sheet_leaves_the_lines_of_failed_examples_in_their_file(tmp_path):
    result = job(tmp_path, 1, ["a"], inverter="ddim")
    folder = RunFolder(result.folder)
    folder.append(Record("broken", "p", error="no image"))
    before = folder.lines.read_text()
    assert compare([result, job(tmp_path, 2, ["a"], inverter="fpi")], tmp_path / "c.png")
    assert folder.lines.read_text() == before
