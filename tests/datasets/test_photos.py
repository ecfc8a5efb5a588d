"""Images by their paths: files, captions and edits."""

import numpy as np
import pytest
from PIL import Image

from fpinv import UserError
from fpinv.datasets.photos import Photos


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a_cat.jpg", "b.png", "[c].jpg"):
        Image.new("RGB", (12, 12), "tan").save(tmp_path / name)
    return tmp_path


def test_file_names_are_captions_where_there_is_none(folder):
    (example,) = Photos("a_cat.jpg")
    assert (example.id, example.prompt, example.case) == ("a_cat", "a cat", None)
    assert example.open().size == (12, 12)


def test_one_prompt_is_that_of_all_images(folder):
    assert [e.prompt for e in Photos(["a_cat.jpg", "b.png"], "a cat")] == ["a cat"] * 2


def test_each_image_may_have_a_prompt_of_its_own(folder):
    assert [e.prompt for e in Photos(["a_cat.jpg", "b.png"], ["a", "b"])] == ["a", "b"]
    with pytest.raises(UserError, match="2 prompts for 1 image:"):
        Photos("b.png", ["a", "b"])


def test_pattern_stands_for_the_files_that_match(folder):
    assert [e.id for e in Photos("*.*g")] == ["_c_", "a_cat", "b"]
    assert [e.id for e in Photos("[c].jpg")] == ["_c_"]


def test_two_stars_stand_for_folders_of_any_depth(folder):
    for inner in ("x", "x/y"):
        (folder / inner).mkdir()
        Image.new("RGB", (12, 12)).save(folder / inner / f"{inner[-1]}.jpg")
    assert [e.id for e in Photos("**/?.jpg")] == ["x", "y"]


def test_files_of_one_name_have_ids_of_their_own(folder):
    (folder / "other").mkdir()
    Image.new("RGB", (12, 12)).save(folder / "other" / "b.png")
    assert len({e.id for e in Photos(["b.png", "other/b.png"])}) == 2


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("none.jpg", "no such file"),
        ("*.gif", "no such file"),
        (".", "is a folder"),
        (None, "no image"),
    ],
)
def test_what_is_no_file_is_refused(folder, image, words):
    with pytest.raises(UserError, match=words):
        Photos(image)


def test_every_image_has_all_edits(folder):
    edits = ["a dog", "a fox"]
    photos = Photos(["a_cat.jpg", "b.png"], "a cat", edits, "replace", "cat; dog", "dog: 2")
    assert [(e.case.image, e.case.edit.prompt) for e in photos] == [
        (image, edit) for image in ("a_cat", "b") for edit in edits
    ]
    edit = photos[0].case.edit
    assert (edit.kind, edit.blend, edit.reweight) == ("replace", ("cat", "dog"), {"dog": 2.0})
    assert len({e.id for e in photos}) == 4


def test_factor_that_is_no_number_is_refused(folder):
    with pytest.raises(UserError, match="reweight=dog: much"):
        Photos("b.png", "a cat", "a dog", reweight="dog: much")


@pytest.mark.parametrize("option", [{"blend": "cat"}, {"reweight": "cat: 2"}, {"mask": "no.png"}])
def test_ways_to_edit_without_an_edit_are_refused(folder, option):
    with pytest.raises(UserError, match="says how to edit: add edit=<target prompt>"):
        Photos("b.png", "a cat", **option)


def test_mask_is_that_of_the_edits(folder):
    mask = np.zeros((12, 12), np.uint8)
    mask[:6] = 255
    Image.fromarray(mask).save("mask.png")
    (example,) = Photos("b.png", "a cat", "a dog", mask="mask.png")
    assert (example.case.open_mask((12, 12)) == (mask > 0)).all()
