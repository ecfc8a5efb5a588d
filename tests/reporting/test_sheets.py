"""Pictures of runs side by side: their examples, and nothing where runs are not at hand."""

from dataclasses import replace

import numpy as np
import pytest
from finished_runs import finish
from PIL import Image

from fpinv.reporting.experiment import Experiment, Results
from fpinv.reporting.sheets import change, job_pictures, prompts, side_by_side
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
    assert columns[0].caption("b") == "PSNR 20.00 dB"
    labelled = side_by_side(columns, 9, lambda example: f"example {example['id']}")
    assert labelled.width > side_by_side(columns, 9).width


def test_there_is_nothing_to_show_without_runs_or_pictures(jobs):
    assert side_by_side([job_pictures("", replace(jobs[0], folder=None), "edit")], 3) is None
    assert side_by_side([job_pictures("", jobs[0], "original")], 3) is None
    assert side_by_side([], 3) is None


def test_a_label_of_an_edit_says_what_changes():
    assert prompts({"prompt": "a star"}) == prompts({"prompt": "a star", "texts": {}}) == "a star"
    for before, after, label in (
        ("a red cat, on grey", "a black dog, on grey", "“red cat” becomes “black dog”"),
        ("a cat", "a cat in the snow", "“in the snow” is added"),
        ("a cat, on grey", "a cat", "“cat, on grey” becomes “cat”"),
        ("a cat on grey", "a cat", "“on grey” is dropped"),
        ("a cat on a sofa", "a dog on a beach", "a cat on a sofa → a dog on a beach"),
        ("cat", "dog", "cat → dog"),
        ("a cat", "a cat", "a cat → a cat"),
    ):
        assert prompts({"prompt": before, "texts": {"target": after}}) == label
    texts = {"target": "a dog", "instruction": "make it a dog"}
    assert prompts({"prompt": "a cat", "texts": texts}) == "make it a dog"
    assert change({"prompt": "a cat", **texts}) == "make it a dog", "as experiments keep it"
