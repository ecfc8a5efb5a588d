"""Edits of scenes in words: what they say is what is done, and of which object."""

from itertools import product

import pytest

from fpinv.datasets.scenes import Change, edit, sample_scene
from fpinv.datasets.scenes.edit_cases import CHANGES, SceneEdits
from fpinv.datasets.scenes.edits import CHANGES as OF_SCENES
from fpinv.datasets.scenes.edits import LOOKS
from fpinv.datasets.scenes.wording import INSTRUCTIONS, instruction
from fpinv.datasets.scenes.world import BACKGROUNDS, OPPOSITE, SIZES, TEXTURES, Object, Scene


def thing(shape="star", colour="red", texture="plain", size="small"):
    return Object(shape, colour, texture, size, 0.3, 0.5, SIZES[size], 0.0)


def scene(*objects, background="white"):
    relations = ("left", "above")[: len(objects) - 1]
    return Scene(0, "test", 0, objects, relations, background, 0.0, 0)


@pytest.mark.parametrize(
    ("objects", "change", "words"),
    [
        ((thing(),), Change("colour", "green"), "make the red star green"),
        ((thing(),), Change("size", "large"), "make the small star large"),
        ((thing(),), Change("texture", "dotted"), "make the plain star dotted"),
        ((thing(),), Change("shape", "arrow"), "turn the red star into an arrow"),
        (
            (thing(),),
            Change("background", "ocean gradient"),
            "turn the background from white to an ocean gradient",
        ),
        (
            (thing(), thing("ring")),
            Change("relation", "right"),
            "move the star to the right of the ring",
        ),
        (
            (thing(), thing("ring")),
            Change("add", "blue fish"),
            "add a blue fish above the others",
        ),
        ((thing(), thing("ring")), Change("remove", object=1), "remove the red ring"),
    ],
)
def test_each_kind_of_edit_is_an_english_sentence(objects, change, words):
    assert instruction(edit(scene(*objects), change)) == words


def test_every_kind_has_a_wording():
    assert set(INSTRUCTIONS) == {*LOOKS, *OF_SCENES} and set(CHANGES) <= set(INSTRUCTIONS)


def test_objects_of_one_shape_are_told_apart():
    stars = thing(), thing(colour="blue"), thing(texture="dotted", size="large")
    for number, name in enumerate(("plain red", "blue", "dotted red")):
        words = instruction(edit(scene(*stars), Change("shape", "moon", number)))
        assert words == f"turn the {name} star into a moon"


def test_words_name_one_object_alone_and_the_new_value():
    for index, kind in product(range(40), LOOKS):
        source = sample_scene(0, index)
        number = len(source.objects) - 1
        item = source.objects[number]
        value = next(value for value in LOOKS[kind] if value != getattr(item, kind))
        words = instruction(edit(source, Change(kind, value, number))).split()
        looks = {w for w in words if w in {*SIZES, *TEXTURES, *LOOKS["colour"]}} - {value}
        fitting = [
            other
            for other in source.objects
            if other.shape in words and looks <= {other.size, other.texture, other.colour}
        ]
        assert value in words and item in fitting
        assert len(fitting) == 1 or len({(o.size, o.texture, o.colour) for o in fitting}) == 1


def test_green_says_whether_it_is_an_object_or_the_background():
    for index in range(60):
        example = SceneEdits()[index]
        words, kind = example.case.instruction, example.attributes["change"]
        assert ("background" in words) == (kind == "background")
        assert words.isascii() and words == words.strip() and "- " not in words


def test_a_pair_moves_to_where_the_words_say():
    source = scene(thing(), thing("ring"), background=next(iter(BACKGROUNDS)))
    swapped = edit(source, Change("relation", OPPOSITE["left"]))
    star = next(item for item in swapped.target.objects if item.shape == "star")
    assert "star to the right of" in instruction(swapped)
    assert star is swapped.target.objects[1], "the second of a pair is on the right"
