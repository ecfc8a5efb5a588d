"""Groups of images by class: disjoint, shuffled by seed, the classes taking turns."""

from itertools import islice

import pytest
from judges import Shades

from fpinv.datasets.classes import Classes
from fpinv.datasets.folder import Folder
from fpinv.datasets.groups import Groups, subsets
from fpinv.datasets.scenes import Scenes, caption, sample_scene
from fpinv.datasets.scenes.world import SHAPES
from fpinv.errors import UserError


def ids(examples):
    return [example.id for example in examples]


def test_classes_take_turns_and_groups_do_not_overlap():
    groups = Groups(Shades(8), size=3, further=1)
    assert ids(groups)[:4] == ["dark-0000", "bright-0000", "checked-0000", "dark-0001"]
    assert len(groups) == 6
    for name in Shades.bins:
        members = [m for group in groups for m in group.members if group.category.id == name]
        assert len(set(ids(members))) == 6
    for group in groups:
        assert group.prompt == f"a {group.category.id} picture" and len(group.members) == 3
        assert len(group.further) == 1 and not set(ids(group.further)) & set(ids(group.members))


def test_the_seed_shuffles_and_nothing_else_does():
    members = [ids(group.members) for group in Groups(Shades(), 3, seed=1)]
    assert members == [ids(group.members) for group in Groups(Shades(), 3, further=2, seed=1)]
    assert members != [ids(group.members) for group in Groups(Shades(), 3, seed=2)]


def test_further_images_are_of_no_group_and_serve_one():
    groups = list(Groups(Shades(30), size=2, further=3))[:9]  # three of each class
    members = {m for group in groups for m in ids(group.members)}
    further = [m for group in groups for m in ids(group.further)]
    assert len(further) == len(set(further)) == 27 and not members & set(further)


def test_further_images_are_as_many_as_the_class_has():
    assert [len(group.further) for group in Groups(Shades(8), size=6, further=9)] == [2, 2, 2]
    assert [len(group.further) for group in Groups(Shades(8), size=8, further=9)] == [0, 0, 0]


def test_one_group_a_class_even_where_it_is_small():
    groups = Groups(Shades(4), size=10, most=1, whole=True)
    assert [len(group.members) for group in groups] == [4, 4, 4]
    assert len(Groups(Shades(100), size=10, most=1, whole=True)) == 3


def test_data_without_classes_or_images_is_refused(tmp_path):
    Shades(1)[0].image.save(tmp_path / "a.png")
    with pytest.raises(UserError, match="has no classes"):
        Groups(Folder(str(tmp_path)), 2)
    with pytest.raises(UserError, match="no class has 9 images"):
        Groups(Shades(8), 9)


def test_subsets_are_disjoint_at_first_and_endless():
    sets = list(islice(subsets(7, 3, 0, "x"), 5))
    assert sets[:2] == [(0, 1, 2), (3, 4, 5)]
    assert all(len(set(subset)) == 3 for subset in sets)
    assert list(islice(subsets(7, 3, 0, "x"), 5)) == sets
    assert [len(subset) for subset in islice(subsets(2, 5, 0, "x"), 3)] == [2, 2, 2]


def test_scenes_have_their_shapes_as_classes():
    scenes = Scenes(length=20)
    assert isinstance(scenes, Classes)
    categories = {category.id: category for category in scenes.categories}
    assert list(categories) == [shape for shapes in SHAPES.values() for shape in shapes]
    arrow = categories["arrow"]
    assert (arrow.bin, arrow.prompt) == ("med", "a photo of an arrow")
    for example in arrow.images:
        assert [item["shape"] for item in example.attributes["objects"]] == ["arrow"]
    assert [c.id for c in Scenes(shapes=["gear", "star"]).categories] == ["gear", "star"]
    with pytest.raises(UserError, match=r"use dataset\.objects=1 with this task"):
        Groups(Scenes(objects=2), size=2)
    assert len(set(arrow.prompts)) > 90 and all("arrow" in text for text in arrow.prompts)
    trained = {caption(sample_scene(0, k, "train", 1, ["arrow"])) for k in range(96)}
    assert set(arrow.prompts) == trained
    assert Scenes(class_captions=0).categories[0].prompts == (Scenes().categories[0].prompt,)
    with pytest.raises(UserError, match="dataset.class_captions=-1"):
        Scenes(class_captions=-1)
    assert categories["gear"].prevalence < arrow.prevalence < categories["star"].prevalence


def test_groups_of_scenes_are_made_without_drawing_any():
    groups = Groups(Scenes(), size=5)
    assert len(groups) == 18 * 2000
    assert {item["shape"] for m in groups[17].members for item in m.attributes["objects"]} == {
        "gear"
    }
