"""Folders and COCO images with tables of edits."""

import json

import numpy as np
import pytest
from PIL import Image

from fpinv.datasets.coco_edits import CocoEdits
from fpinv.datasets.folder_edits import FolderEdits
from fpinv.datasets.tables.edit_table import read_mask
from fpinv.editing.request import Edit
from fpinv.errors import UserError

TABLE = """file,source,target,kind,blend,reweight,mask
a.png,a red star,a blue star,,red; blue,blue: 2,
b/b.png,two cats,two dogs,refine,,,b/mask.png
a.png,a red star,a big star,,,"big: 2; star: .5",
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b").mkdir()
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    Image.new("RGB", (20, 10)).save(tmp_path / "b" / "b.png")
    mask = np.zeros((10, 20), np.uint8)
    mask[2:5, 3:9] = 255
    Image.fromarray(mask).save(tmp_path / "b" / "mask.png")
    (tmp_path / "edits.csv").write_text(TABLE)
    return tmp_path


def test_rows_of_one_image_stand_together(folder):
    edits = FolderEdits(str(folder))
    assert [e.id for e in edits] == ["a--0", "a--1", "b_b"]
    assert [e.case.image for e in edits] == ["a", "a", "b_b"]
    assert edits[0].prompt == "a red star"
    assert edits[0].case.edit == Edit("a blue star", None, ("red", "blue"), {"blue": 2.0})
    assert edits[1].case.edit.reweight == {"big": 2.0, "star": 0.5}
    assert edits[2].case.edit.kind == "refine"
    assert edits[2].case.open_mask(edits[2].open().size).sum() == 18


def test_numbered_ids_are_no_other_image_s(folder):
    (folder / "a.png").rename(folder / "a--0.png")
    Image.new("RGB", (20, 10)).save(folder / "a.png")
    rows = ["file,source,target", "a.png,x,y", "a--0.png,x,y", "a.png,x,z"]
    (folder / "edits.csv").write_text("\n".join(rows))
    assert [edit.id for edit in FolderEdits(str(folder))] == ["a--1", "a--2", "a--0"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"target": 1}, None),
        ({"source": "", "caption": "a red star"}, None),
        ({"mask": 1}, "1: no such image"),
        ({"blend": [1]}, "blend must be words"),
        ({"target": [1]}, "target=[1] is no text"),
    ],
)
def test_json_rows_may_have_numbers_and_are_refused_in_one_line(folder, change, message):
    row = {"file": "a.png", "source": "a red star", "target": "a blue star"}
    (folder / "edits.jsonl").write_text(json.dumps(row | change))
    if message is None:
        (edit,) = FolderEdits(str(folder), "edits.jsonl")
        assert edit.prompt == "a red star"
        return
    with pytest.raises(UserError, match=message.replace("[", "\\[")):
        FolderEdits(str(folder), "edits.jsonl")[0].case.open_mask((20, 10))


def test_json_lines_equal_csv_rows(folder):
    row = {"file": "a.png", "source": "a red star", "target": "a blue star"}
    row |= {"blend": ["red", "blue"], "reweight": {"blue": 2}}
    (folder / "edits.jsonl").write_text(json.dumps(row))
    assert (
        FolderEdits(str(folder), "edits.jsonl")[0].case.edit
        == FolderEdits(str(folder))[0].case.edit
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("", "no edit in this table"),
        ("c.png,x,y", "line 2: no image 'c.png' in the folder"),
        ("a.png,,y", "line 2: no source prompt in this row"),
        ("a.png,x,", "line 2: no target in this row"),
        ("a.png,x,y,swap", "line 2: edit kind 'swap' is unknown"),
        ("a.png,x,y,,,y 2", "line 2: blend must be words and reweight word: factor"),
        ("a.png,x,y,,,y: much", "line 2: blend must be words and reweight word: factor"),
    ],
)
def test_malformed_rows_are_named(folder, row, message):
    (folder / "edits.csv").write_text("file,source,target,kind,blend,reweight,mask\n" + row)
    with pytest.raises(UserError) as error:
        FolderEdits(str(folder))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("Blend", "there is no column 'Blend' of edits; did you mean blend?"),
        ("weights", "there is no column 'weights' of edits; did you mean reweight?"),
        ("note", "there is no column 'note' of edits"),
    ],
)
def test_unknown_columns_are_refused(folder, column, message):
    (folder / "edits.csv").write_text(f"file,source,target,{column}\na.png,x,y,z\n")
    with pytest.raises(UserError) as error:
        FolderEdits(str(folder))
    assert f"line 2: {message}" in str(error.value)


def test_masks_that_are_not_black_and_white_are_refused(tmp_path):
    regions = np.zeros((8, 8), np.uint8)
    regions[2:5, 2:6] = 1
    file = tmp_path / "mask.png"

    def saved(picture):
        picture.save(file)
        return file

    indexed = Image.fromarray(regions, "P")
    indexed.putpalette([0, 0, 0, 192, 128, 128])  # as VOC draws people
    for picture in (Image.fromarray(regions), Image.fromarray(regions * 128), indexed):
        with pytest.raises(UserError, match="few or none of the pixels"):
            read_mask(saved(picture))
    assert (read_mask(saved(Image.fromarray(regions * 255))) == (regions > 0)).all()
    assert (read_mask(saved(Image.fromarray(regions > 0))) == (regions > 0)).all()
    large = Image.fromarray(regions * 255).resize((80, 80), Image.Resampling.BICUBIC)
    assert read_mask(saved(large)).mean() == pytest.approx(12 / 64, abs=0.02)


@pytest.fixture
def coco(tmp_path):
    (tmp_path / "annotations").mkdir()
    content = {
        "images": [{"id": k, "file_name": f"{k:012d}.jpg"} for k in (7, 42)],
        "annotations": [{"id": k, "image_id": k, "caption": f"caption {k}"} for k in (7, 42)],
    }
    (tmp_path / "annotations" / "captions_val2017.json").write_text(json.dumps(content))
    (tmp_path / "edits.csv").write_text("image_id,target,source\n42,x,\n7,y,mine\n42,z,\n")
    return tmp_path


def test_the_source_of_a_coco_edit_is_its_caption_unless_the_row_has_one(coco):
    edits = CocoEdits(str(coco), "edits.csv")
    assert [e.id for e in edits] == ["000000000042--0", "000000000042--1", "000000000007"]
    assert [e.prompt for e in edits] == ["caption 42", "caption 42", "mine"]
    assert [e.case.edit.prompt for e in edits] == ["x", "z", "y"]
    assert edits[0].image == coco / "val2017" / "000000000042.jpg"


def test_coco_without_a_table_or_an_image_is_refused(coco):
    with pytest.raises(UserError, match="dataset.edits is not set; point dataset.edits=<file>"):
        CocoEdits(str(coco))
    (coco / "edits.csv").write_text("image_id,target\n8,x\n")
    with pytest.raises(UserError, match="COCO has no captioned image '8' in this split"):
        CocoEdits(str(coco), "edits.csv")
