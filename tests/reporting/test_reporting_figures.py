"""Pictures side by side: whose, how many, and nothing where the runs are not at hand."""

from dataclasses import replace

import numpy as np
import pytest
from finished_runs import finish
from PIL import Image

from fpinv.reporting.experiment import Experiment, Results, drawn
from fpinv.reporting.figures import Shown, new_words, picture_grid, side_by_side
from fpinv.tasks.record import Record

EXPERIMENT = Experiment(lambda jobs: Results(""), examples=("images", "psnr"))


@pytest.fixture
def jobs(tmp_path):
    for number, ids in enumerate(("abc", "bcd")):
        records = [
            Record(id, id, {"psnr": 20.0}, images={"made": Image.new("RGB", (4, 4), (9, k, 200))})
            for k, id in enumerate("abcd")
            if id in ids
        ]
        finish(tmp_path / str(number), records)
    return EXPERIMENT.read(tmp_path)


def test_rows_are_the_first_examples_that_all_have(jobs):
    columns = [Shown(f"job {k}", job, "made", "psnr") for k, job in enumerate(jobs)]
    pixels = np.asarray(drawn(side_by_side(columns, 9)))
    areas = [(pixels == (9, k, 200)).all(-1).sum() for k in range(4)]
    assert areas[0] == areas[3] == 0 and areas[1] == areas[2] > 20_000
    pixels = np.asarray(drawn(side_by_side(columns, 1)))
    assert (pixels == (9, 1, 200)).all(-1).any() and not (pixels == (9, 2, 200)).all(-1).any()
    assert columns[0].cell("b")[1] == "20.00 dB"


def test_there_is_nothing_to_show_without_runs_or_pictures(jobs):
    absent = Shown("", replace(jobs[0], folder=None), "made")
    assert side_by_side([absent], 3) is None
    assert side_by_side([Shown("", jobs[0], "edit")], 3) is None


def test_a_grid_with_titles_is_wider_than_one_without(tmp_path):
    file = tmp_path / "x.png"
    Image.new("RGB", (4, 4)).save(file)
    rows = [[(file, ""), (file, "words")]]
    with_titles = picture_grid(["a", "b"], rows, ["a title that takes more than one line"])
    assert with_titles.get_figwidth() > picture_grid(["a", "b"], rows).get_figwidth()


def test_new_words_are_told_without_their_commas():
    assert new_words("a blue star, on grey", "a red heart, on grey") == "blue star"
    assert new_words("a star", "a star on grey") == ""
