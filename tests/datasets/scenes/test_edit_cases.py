"""Edits of scenes as a data set: exact outcomes, exact masks, words that are in the prompts."""

import numpy as np
import pytest

from fpinv.datasets.scenes.edit_cases import CHANGES, SceneEdits
from fpinv.errors import UserError

EDITS = SceneEdits(size=32, length=60)


def test_every_example_has_one_change_in_turn():
    assert len(EDITS) == 60
    assert [EDITS[k].attributes["change"] for k in range(6)] == list(CHANGES)
    assert len({EDITS[k].id for k in range(60)}) == 60
    for k in range(60):
        example = EDITS[k]
        assert example.case.image == example.id
        assert example.case.edit.prompt != example.prompt


@pytest.mark.parametrize("index", range(12))
def test_the_true_outcome_differs_inside_the_mask_only(index):
    example = EDITS[index]
    case = example.case
    source, truth = np.asarray(example.open(), int), np.asarray(case.truth(), int)
    mask = case.open_mask((32, 32))
    different = (source != truth).any(-1)
    assert different.any() and not (different & ~mask).any()


def test_words_to_blend_are_in_one_of_the_prompts():
    for k in range(60):
        example = EDITS[k]
        edit, words = example.case.edit, f"{example.prompt} {example.case.edit.prompt}"
        assert all(word in words for word in edit.blend)
        assert bool(edit.blend) != (example.attributes["change"] == "background")


def test_attributes_differ_by_the_change():
    for k in range(12):
        example = EDITS[k]
        before, after = example.attributes, example.case.attributes
        change = before["change"]
        if change in ("add", "remove"):
            assert after["count"] - before["count"] == (1 if change == "add" else -1)
        elif change == "background":
            assert after["background"] != before["background"]
        else:
            pairs = zip(before["objects"], after["objects"], strict=True)
            assert [a[change] != b[change] for a, b in pairs].count(True) == 1


def test_adding_undoes_removing():
    added, removed = (SceneEdits(size=32, changes=[kind])[5] for kind in ("add", "remove"))
    assert (added.prompt, added.case.edit.prompt) == (removed.case.edit.prompt, removed.prompt)
    assert np.array_equal(added.open(), removed.case.truth())
    assert np.array_equal(added.case.truth(), removed.open())
    assert added.case.edit.blend == removed.case.edit.blend
    assert added.case.attributes | {"change": "remove"} == removed.attributes


def test_edits_do_not_depend_on_the_other_kinds():
    alone = SceneEdits(size=32, changes=["colour"])
    assert alone[6].case.edit == EDITS[6].case.edit and alone[6].id == EDITS[6].id
    assert SceneEdits(seed=1)[0].prompt != EDITS[0].prompt


@pytest.mark.parametrize("changes", [["mood"], [], "colour", ["colour", "relation"]])
def test_unknown_changes_are_named(changes):
    with pytest.raises(UserError, match="give a list from colour, shape"):
        SceneEdits(changes=changes)


def test_several_edits_of_a_scene_share_its_image():
    kinds = ["colour", "background"]
    many = SceneEdits(size=32, length=9, changes=kinds, edits_per_scene=3)
    examples = [many[k] for k in range(6)]
    assert len({example.id for example in examples}) == 6
    assert [e.case.image for e in examples] == [examples[0].id] * 3 + [examples[3].id] * 3
    assert len({example.prompt for example in examples[:3]}) == 1
    assert len({example.case.edit.prompt for example in examples[:3]}) == 3
    assert np.array_equal(examples[0].open(), examples[2].open())
    single = SceneEdits(size=32, changes=kinds)
    assert [many[k].prompt for k in (0, 3, 6)] == [single[k].prompt for k in range(3)]
    assert len(list(many)) == len(many) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edits_per_scene": 0, "changes": ["colour"]}, "at least 1"),
        ({"edits_per_scene": 2}, "without add and remove"),
    ],
)
def test_impossible_edits_of_a_scene_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        SceneEdits(**options)
