"""Agreement of readings: the truth agrees with itself, and every change disagrees."""

from dataclasses import replace

import pytest

from fpinv.datasets.scenes import Change, Scene, edit, sample_scene
from fpinv.metrics.classifiers.scene_attributes import (
    OBJECT_FIELDS,
    SCENE_FIELDS,
    SLOTS,
    Reading,
    Thing,
    agreement,
)


def truth(scene: Scene) -> Reading:
    return Reading.of(scene.attributes())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_scene_agrees_with_itself(count):
    reading = truth(sample_scene(0, 5, "test", objects=count))
    assert len(reading.objects) == count and len(reading.relations) == count - 1
    assert all(agreement(reading, reading).values())


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("shape", "gear"), ("colour", "pink"), ("texture", "dotted"), ("background", "black")],
)
def test_only_the_changed_attribute_disagrees(attribute, value):
    scene = next(
        scene
        for scene in (sample_scene(0, k, "test", objects=2) for k in range(99))
        if value not in (scene.background, *scene.objects[0].__dict__.values())
    )
    agreed = agreement(truth(edit(scene, Change(attribute, value)).target), truth(scene))
    wrong = {name for name, right in agreed.items() if not right}
    bound = {"bound"} if attribute in ("shape", "colour") else set()
    assert wrong == {attribute, "all"} | bound


def test_a_missing_object_is_wrong_in_every_attribute_of_objects():
    reading = truth(sample_scene(0, 0, "test", objects=2))
    agreed = agreement(replace(reading, objects=reading.objects[:1], relations=()), reading)
    assert agreed["background"] and not any(v for k, v in agreed.items() if k != "background")


def test_binding_compares_pairs_and_ignores_places():
    a, b = Thing("star", "red", "plain", "small"), Thing("ring", "blue", "plain", "small")
    c, d = a._replace(colour="blue"), b._replace(colour="red")
    reading = Reading((a, b), ("left",), "white")
    swapped, crossed = replace(reading, objects=(b, a)), replace(reading, objects=(c, d))
    assert agreement(swapped, reading)["bound"] and not agreement(swapped, reading)["shape"]
    assert agreement(crossed, reading)["shape"] and not agreement(crossed, reading)["bound"]


def test_attributes_of_a_reading_are_those_of_its_scene():
    scene = sample_scene(0, 5, "test", objects=3)
    words = truth(scene).attributes()
    for name, value in words.items():
        if name != "objects":
            assert scene.attributes()[name] == value
    for item, attributes in zip(words["objects"], scene.attributes()["objects"], strict=True):
        assert item == {name: attributes[name] for name in Thing._fields}


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_decoding_ends_at_the_first_absent_object(count):
    present, absent = [1, 2, 1, 0], [0, 3, 2, 1]
    numbers = present * count + absent * (SLOTS - count) + [4, 1, 2]
    reading = Reading.decode(numbers)
    names = [values[k] for values, k in zip(OBJECT_FIELDS.values(), present, strict=True)]
    assert reading.objects == (Thing(*names),) * count
    assert reading.background == SCENE_FIELDS["background"][4]
    relations = (SCENE_FIELDS["pair"][1], SCENE_FIELDS["third"][2])
    assert reading.relations == relations[: max(0, count - 1)]
