"""A folder of images: captions by table or by name, names that are unique and fit for files."""

import json
import os
import re
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from fpinv.datasets.folder import Folder
from fpinv.errors import UserError

CATS = Path(__file__).parents[2] / "../shared/data/tiger_cat"


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)


def refusal(root: Path, captions: str | None = None) -> str:
    with pytest.raises(UserError) as error:
        Folder(str(root), captions)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_captions_from_file_names_sorted_by_path(tmp_path: Path) -> None:
    put(tmp_path, "b.PNG", "a_red-car.jpg", "sub/two__dogs.webp", "c.bmp", "d.jpeg", ".e.jpg")
    put(tmp_path, ".thumbnails/f.jpg")
    (tmp_path / "notes.txt").write_text("not an image")
    folder = Folder(str(tmp_path))
    assert [e.prompt for e in folder] == ["a red car", "b", "c", "d", "two dogs"]
    assert [e.id for e in folder] == ["a_red-car", "b", "c", "d", "sub_two__dogs"]
    assert folder[4].open().size == (4, 4)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.csv", 'file,caption\na.jpg,"one, two"\nsub/b.jpg,three\n'),
        ("captions.csv", '\ufeffcaption,id,file\r\n"one, two",1,./a.jpg\r\nthree,2,sub/b.jpg\r\n'),
        ("metadata.csv", 'file_name,text\na.jpg,"one, two"\nsub/b.jpg,three\n'),
        (
            "captions.jsonl",
            '{"file": "a.jpg", "caption": "one, two"}\n\n{"file":"sub/b.jpg","caption":"three"}',
        ),
        (
            "metadata.jsonl",
            '{"file_name": "sub/b.jpg", "text": "three"}\n{"file_name": "a.jpg", "text": '
            '"one, two"}\n{"file_name": "a.jpg", "text": "another"}\n',
        ),
    ],
)
def test_captions_from_a_table(tmp_path: Path, name: str, text: str) -> None:
    put(tmp_path, "a.jpg", "sub/b.jpg")
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    captions = None if name.startswith("metadata") else name
    assert [e.prompt for e in Folder(str(tmp_path), captions)] == ["one, two", "three"]


COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [
        {"id": 9, "image_id": 1, "caption": "another"},
        {"id": 5, "image_id": 2, "caption": "three"},
        {"id": 4, "image_id": 1, "caption": "one, two"},
    ],
}


@pytest.mark.parametrize(
    ("texts", "source"),
    [
        ({"a.txt": "one, two\nnot read\n", "sub/b.caption": "\nthree"}, "the text files beside"),
        ({"captions.json": json.dumps(COCO)}, "captions.json"),
        (
            {
                "metadata.csv": "file_name,text\na.jpg,'one, two'\n".replace("'", '"'),
                "sub/metadata.csv": "file_name,text\nb.jpg,three\n",
            },
            "metadata.csv and 1 more",
        ),
        ({"captions.csv": "file;caption\na.jpg;one, two\nsub/b.jpg;three\n"}, "captions.csv"),
        ({"captions.csv": "file\tcaption\na.jpg\tone, two\nb.jpg\tthree\n"}, "captions.csv"),
    ],
)
def test_captions_of_every_usual_layout(
    tmp_path: Path, texts: dict[str, str], source: str
) -> None:
    put(tmp_path, "a.jpg", "sub/b.jpg")
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    folder = Folder(str(tmp_path))
    assert [e.prompt for e in folder] == ["one, two", "three"]
    (note,) = folder.notes
    assert note.startswith("captions: ") and source in note


def test_an_image_without_the_text_file_of_the_others_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text(" \n")
    assert "no caption for 'b.jpg' (2 of 3 images have none); add a text file" in refusal(tmp_path)


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_forms_of_unicode_are_not_told_apart(tmp_path: Path, on_disk: str, in_table: str) -> None:
    put(tmp_path, unicodedata.normalize(on_disk, "caf\u00e9.png"))
    row = unicodedata.normalize(in_table, "caf\u00e9.png,a coffee house\n")
    (tmp_path / "captions.csv").write_text("file,caption\n" + row)
    assert Folder(str(tmp_path))[0].prompt == "a coffee house"
    (tmp_path / "captions.csv").unlink()
    assert Folder(str(tmp_path))[0].prompt == "caf\u00e9"


def test_a_file_name_that_is_no_utf_8_has_an_id_of_its_own(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for name in (b"caf\xe9.png", b"caf\xe8.png"):
        (tmp_path / "a.png").rename(tmp_path / os.fsdecode(name))
        Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert len({e.id for e in Folder(str(tmp_path))}) == 3


def test_table_outside_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "images", "a.jpg")
    table = tmp_path / "captions.csv"
    table.write_text("file , caption\na.jpg,one\n")
    assert Folder(str(tmp_path / "images"), str(table))[0].prompt == "one"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("c.csv", "file,caption\na.jpg,one\n", "no caption for 'b.jpg' (1 of 2 images"),
        ("c.csv", "file,caption\nx.jpg,one\n", "line 2: no image 'x.jpg' in the folder"),
        ("c.csv", "file,caption\nx.heic,one\n", "line 2: 'x.heic' does not end in any of .bmp"),
        ("c.json", '{"a.jpg": "one"}', "not in COCO's schema of images and annotations (no 'im"),
        ("c.json", "nonsense", "not JSON"),
        ("c.csv", "name,caption\na.jpg,one\n", "line 2: no column file or file_name, but name,"),
        ("c.csv", "file,caption,caption\na.jpg,one,two\n", "two columns are named 'caption'"),
        ("c.csv", "file,caption\na.jpg\n", "line 2: no caption or text in this row"),
        ("c.csv", "file,caption\na.jpg, \n", "line 2: no caption or text in this row"),
        ("c.csv", "file,caption\na.jpg,one, two\n", "line 2: more cells than columns"),
        ("c.csv", 'file,caption\na.jpg,"one\n', "line 2: malformed row"),
        ("c.csv", "", "no caption for 'a.jpg' (2 of 2 images"),
        ("c.jsonl", '{"file": "a.jpg", "caption": "one"}\nnonsense', "line 2: not JSON"),
        ("c.jsonl", '["a.jpg", "one"]', "line 1: not a JSON object"),
        ("c.jsonl", '{"file": "a.jpg", "caption": [5]}', "line 1: caption=[5] is no text"),
        ("c.txt", "a red car", "a table is a file ending in .csv, .json, .jsonl, .tsv"),
    ],
)
def test_malformed_table_is_named(tmp_path: Path, name: str, text: str, reason: str) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / name).write_text(text)
    message = refusal(tmp_path, name)
    assert message.startswith(str(tmp_path / name))
    assert reason in message


def test_missing_things_are_named(tmp_path: Path) -> None:
    assert "no image in this folder" in refusal(tmp_path)
    assert "nowhere: no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert "file: a file and no folder; point dataset.root" in refusal(tmp_path / "file")
    put(tmp_path, "a.jpg")
    assert "gone.csv: no such file; check dataset.captions" in refusal(tmp_path, "gone.csv")
    put(tmp_path, "__.jpg")
    assert "__.jpg: its name says nothing" in refusal(tmp_path)
    with pytest.raises(UserError, match=r"dataset\.root is not set"):
        Folder(None)


def test_ids_are_unique_and_fit_for_file_names(tmp_path: Path) -> None:
    put(tmp_path, "a/b.jpg", "a_b.jpg", "c.jpg", "c.png", "C.bmp", "d e?.jpg", f"{'x' * 90}.jpg")
    ids = [e.id for e in Folder(str(tmp_path))]
    assert len({id.lower() for id in ids}) == len(ids) == 7
    assert all(re.fullmatch(r"[\w.-]{1,69}", id) for id in ids)
    assert "d_e_" in ids


@pytest.mark.skipif(not CATS.is_dir(), reason=f"no photographs at {CATS}")
def test_real_photographs_open_in_rgb() -> None:
    cats = Folder(str(CATS))
    assert [cat.id for cat in cats][:2] == ["n02123159_10057", "n02123159_1008"]
    assert cats[1].prompt == "n02123159 1008"
    assert all(cat.open().mode == "RGB" for cat in cats)
