"""COCO: the first caption of every image, and one line for every way to get the folder wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fpinv.datasets.coco import Coco
from fpinv.errors import UserError

REAL = Path(__file__).parents[2] / "../shared/data/coco"


def image(id: int) -> dict[str, Any]:
    name = f"{id:012d}.jpg"
    return {
        "license": 1,
        "file_name": name,
        "coco_url": f"http://images.cocodataset.org/val2017/{name}",
        "height": 30,
        "width": 40,
        "date_captured": "2013-11-14 17:02:52",
        "id": id,
    }


def caption(id: int, image_id: int, text: str) -> dict[str, Any]:
    return {"image_id": image_id, "id": id, "caption": text}


CONTENT: dict[str, Any] = {
    "info": {"description": "made for a test", "version": "1.0", "year": 2017},
    "licenses": [{"id": 1, "name": "CC0", "url": "https://creativecommons.org"}],
    "images": [image(900), image(42), image(7)],
    "annotations": [
        caption(31, 900, "later"),
        caption(12, 42, "A café by the sea. \n"),
        caption(30, 900, "earlier"),
        caption(50, 42, "second"),
    ],
}


def write(root: Path, content: object) -> Path:
    file = root / "annotations" / "captions_val2017.json"
    file.parent.mkdir()
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    file.write_text(text, encoding="utf-8")
    return file


def refusal(root: str | Path | None, split: str = "val2017") -> str:
    with pytest.raises(UserError) as error:
        Coco(None if root is None else str(root), split)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_first_captions_ordered_by_image_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, CONTENT)
    coco = Coco(str(tmp_path))
    assert [example.id for example in coco] == ["000000000042", "000000000900"]
    assert [example.prompt for example in coco] == ["A café by the sea.", "earlier"]
    assert coco[0].image == tmp_path / "val2017" / "000000000042.jpg"
    assert coco[0].attributes["width"] == 40
    assert capsys.readouterr() == ("", "")


def test_blank_caption_gives_way_to_the_next(tmp_path: Path) -> None:
    content = {"images": [image(1)], "annotations": [caption(1, 1, " "), caption(2, 1, "seen")]}
    write(tmp_path, content)
    assert Coco(str(tmp_path))[0].prompt == "seen"


def test_image_is_looked_for_when_it_is_opened(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    (tmp_path / "val2017").mkdir()
    Image.new("L", (40, 30)).save(tmp_path / "val2017" / "000000000042.jpg")
    coco = Coco(str(tmp_path))
    assert coco[0].open().mode == "RGB"
    with pytest.raises(UserError, match=r"000000000900\.jpg: no such image"):
        coco[1].open()


def test_no_root_says_how_to_get_one() -> None:
    message = refusal(None)
    assert "dataset.root=<folder>" in message
    assert "python -m fpinv.datasets.download coco" in message


def test_wrong_root_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'}: no such folder")


def test_wrong_split_names_the_missing_file(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    assert "captions_val2099.json: no such file" in refusal(tmp_path, "val2099")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<html>504</html>", "not JSON"),
        ("", "not JSON"),
        ([], "the file has no usable images and no annotations"),
        ({"images": []}, "the file has no usable annotations"),
        (CONTENT | {"images": [{"id": 1}]}, "an image has no usable file_name"),
        (CONTENT | {"images": [image(3) | {"id": "3"}]}, "an image has no usable id"),
        (CONTENT | {"images": [image(3), image(3)]}, "two images have the same id"),
        (CONTENT | {"annotations": [{"id": 1, "image_id": 7}]}, "an annotation has no usable cap"),
        (CONTENT | {"annotations": [7]}, "an annotation has no usable id and no image_id"),
        (CONTENT | {"annotations": []}, "none of its 3 images has a caption"),
    ],
)
def test_malformed_file_is_named(tmp_path: Path, content: object, reason: str) -> None:
    file = write(tmp_path, content)
    message = refusal(tmp_path)
    assert message.startswith(f"{file}: ")
    assert reason in message


def test_binary_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, "").write_bytes(b"\xff\xfe\x00")
    assert "captions_val2017.json: not a UTF-8 text file" in refusal(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no COCO sample at {REAL}")
def test_a_real_sample_has_the_first_captions() -> None:
    coco = Coco(str(REAL))
    assert len(coco) == 96
    ids = [example.id for example in coco]
    assert ids == sorted(set(ids)) and ids[0] == "000000001532"
    rows = json.loads((REAL / "annotations/captions_val2017.json").read_text())["annotations"]
    for example in (coco[0], coco[-1]):
        captions = [row for row in rows if row["image_id"] == int(example.id)]
        assert example.prompt == min(captions, key=lambda a: a["id"])["caption"].strip()
        assert example.open().size == (example.attributes["width"], example.attributes["height"])
