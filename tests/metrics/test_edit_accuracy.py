"""Edit accuracy on exact edits, on readings in another order, and on partial readings."""

import pytest

from fpinv.datasets.scenes.edit_cases import SceneEdits
from fpinv.metrics.edit_accuracy import accuracy

EDITS = SceneEdits()


def thing(shape, colour, **more):
    return {"shape": shape, "colour": colour, "texture": "plain", "size": "small"} | more


STAR, HEART = thing("star", "red"), thing("heart", "blue")
SOURCE = {"objects": [STAR, HEART], "background": "white", "relations": ["left"]}
TARGET = SOURCE | {"objects": [thing("star", "green"), HEART]}


@pytest.mark.parametrize("index", range(12))
def test_the_truth_is_a_perfect_edit_and_the_source_is_none(index):
    example = EDITS[index]
    before, after = example.attributes, example.case.attributes
    assert accuracy(after, before, after).edit == accuracy(after, before, after).preserved == 1
    assert accuracy(before, before, after).edit == 0
    assert accuracy(before, before, after).preserved == 1
    assert accuracy(after, before, after).success == 1
    assert accuracy(before, before, after).success == 0


def test_the_order_of_read_objects_does_not_matter():
    reading = TARGET | {"objects": TARGET["objects"][::-1]}
    result = accuracy(reading, SOURCE, TARGET)
    assert (result.edit, result.preserved) == (1, 1)


def test_lost_attributes_lower_the_preserved_share():
    damaged = TARGET | {"objects": [thing("star", "green"), thing("moon", "blue")]}
    result = accuracy(damaged, SOURCE, TARGET)
    # of background, relation, count, 3 looks of the star and 4 of the heart, the shape is lost
    assert (result.edit, result.preserved, result.success) == (1, pytest.approx(9 / 10), 0)


def test_a_missing_object_costs_all_its_looks():
    result = accuracy(TARGET | {"objects": [HEART]}, SOURCE, TARGET)
    assert (result.edit, result.preserved) == (0, pytest.approx(6 / 10))


def test_picture_without_objects_is_a_failure_and_not_left_out():
    ruined = {"objects": [], "count": 0, "background": "white", "relations": []}
    result = accuracy(ruined, SOURCE, TARGET)
    # of background, relation, count, 3 looks of the star and 4 of the heart, the first stayed
    assert (result.edit, result.preserved, result.success) == (0, pytest.approx(1 / 10), 0)


def test_a_relation_that_went_with_its_object_is_lost():
    lonely = {"objects": [STAR], "count": 1, "background": "white", "relations": []}
    # of background, relation, count, 3 looks of the star and 4 of the heart, 4 stayed
    assert accuracy(lonely, SOURCE, TARGET).preserved == pytest.approx(4 / 10)


def test_only_attributes_that_the_reader_reports_count():
    reading = {"objects": [{"colour": "green"}, {"colour": "blue"}]}
    result = accuracy(reading, SOURCE, TARGET)
    assert (result.edit, result.preserved) == (1, 1)
    blind = accuracy({"background": "white"}, SOURCE, TARGET)
    assert (blind.edit, blind.preserved, blind.success) == (None, 1, None)
