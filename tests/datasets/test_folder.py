"""A folder of images: captions by table or by name, names that are unique and fit for files."""

import re
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


def test_table_outside_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "images", "a.jpg")
    table = tmp_path / "captions.csv"
    table.write_text("file,caption\na.jpg,one\n")
    assert Folder(str(tmp_path / "images"), str(table))[0].prompt == "one"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("c.csv", "file,caption\na.jpg,one\n", "no caption for 'b.jpg' (1 of 2 images"),
        ("c.csv", "file,caption\nx.jpg,one\n", "line 2: no image 'x.jpg' in the folder"),
        ("c.csv", "name,caption\na.jpg,one\n", "line 2: no file or file_name in this row"),
        ("c.csv", "file,caption\na.jpg\n", "line 2: no caption or text in this row"),
        ("c.csv", "file,caption\na.jpg, \n", "line 2: no caption or text in this row"),
        ("c.csv", "file,caption\na.jpg,one, two\n", "line 2: more cells than columns"),
        ("c.csv", 'file,caption\na.jpg,"one\n', "line 2: malformed row"),
        ("c.csv", "", "no caption for 'a.jpg' (2 of 2 images"),
        ("c.jsonl", '{"file": "a.jpg", "caption": "one"}\nnonsense', "line 2: not JSON"),
        ("c.jsonl", '["a.jpg", "one"]', "line 1: not a JSON object"),
        ("c.jsonl", '{"file": "a.jpg", "caption": 5}', "line 1: no caption or text"),
        ("c.txt", "a red car", "a table is a file ending in .csv, .jsonl"),
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
