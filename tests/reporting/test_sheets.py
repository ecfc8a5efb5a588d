"""Pictures of runs side by side: their examples, and nothing where runs are not at hand."""

from dataclasses import replace

import numpy as np
import pytest
from finished_runs import finish
from PIL import Image

from fpinv.reporting.experiment import Experiment, Results
from fpinv.reporting.sheets import job_pictures, new_words, prompts, side_by_side
from fpinv.tasks.record import Record

EXPERIMENT = Experiment(lambda jobs: Results(""), examples=("images", "psnr"))


@pytest.fixture
def jobs(tmp_path):
    for number, ids in enumerate(("abc", "bcd")):
        records = [
            Record(id, id, {"psnr": 20.0}, images={"edit": Image.new("RGB", (4, 4), (9, k, 200))})
            for k, id in enumerate("abcd")
            if id in ids
        ]
        finish(tmp_path / str(number), records)
    return EXPERIMENT.read(tmp_path)


def areas(picture):
    """Return the number of pixels in each example's colour."""
    return [(np.asarray(picture) == (9, k, 200)).all(-1).sum() for k in range(4)]


def test_rows_are_the_first_examples_that_all_columns_have(jobs):
    columns = [job_pictures(f"job {k}", job, "edit", "psnr") for k, job in enumerate(jobs)]
    picture = 128**2
    assert areas(side_by_side(columns, 9)) == [0, 2 * picture, 2 * picture, 0]
    assert areas(side_by_side(columns, 1)) == [0, 2 * picture, 0, 0]
    assert columns[0].caption("b") == "20.00 dB"
    labelled = side_by_side(columns, 9, lambda example: f"example {example['id']}")
    assert labelled.width > side_by_side(columns, 9).width


def test_there_is_nothing_to_show_without_runs_or_pictures(jobs):
    assert side_by_side([job_pictures("", replace(jobs[0], folder=None), "edit")], 3) is None
    assert side_by_side([job_pictures("", jobs[0], "original")], 3) is None
    assert side_by_side([], 3) is None


def test_new_words_leave_out_the_words_of_the_reference_and_commas():
    assert new_words("a blue star, on grey", "a red heart, on grey") == "blue star"
    assert new_words("a star", "a star on grey") == ""


def test_prompts_of_an_edit_are_those_before_and_after():
    assert prompts({"prompt": "a star"}) == prompts({"prompt": "a star", "texts": {}}) == "a star"
    assert prompts({"prompt": "a", "texts": {"target": "b"}}) == "a → b"
