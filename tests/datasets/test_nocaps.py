"""NOCAPS: COCO's schema in its own layout."""

import json
from pathlib import Path

import pytest
from PIL import Image

from fpinv.datasets.nocaps import Nocaps
from fpinv.errors import UserError

REAL = Path(__file__).parents[2] / "../shared/data/nocaps_first60_captions.json"


def write(root: Path) -> None:
    content = {
        "info": {"description": "made for a test"},
        "licenses": [],
        "images": [
            {"id": 1, "file_name": "00b.jpg", "open_images_id": "00b", "domain": "near-domain"},
            {"id": 0, "file_name": "00a.jpg", "open_images_id": "00a", "domain": "out-domain"},
        ],
        "annotations": [
            {"id": 11, "image_id": 1, "caption": "two"},
            {"id": 10, "image_id": 1, "caption": "one "},
            {"id": 0, "image_id": 0, "caption": "zero"},
        ],
    }
    (root / "nocaps_val_4500_captions.json").write_text(json.dumps(content))


def test_published_layout(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "val").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "val" / "00a.jpg")
    nocaps = Nocaps(str(tmp_path))
    assert [(e.id, e.prompt) for e in nocaps] == [("0000", "zero"), ("0001", "one")]
    assert nocaps[0].attributes["domain"] == "out-domain"
    assert nocaps[0].open().size == (8, 6)
    with pytest.raises(UserError, match=r"val/00b\.jpg: no such image"):
        nocaps[1].open()


def test_no_root_says_how_to_get_one() -> None:
    with pytest.raises(UserError, match=r"dataset\.root=<folder>.*https://nocaps\.org"):
        Nocaps(None)


def test_missing_caption_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nocaps_val_4500_captions\.json: no such file; point"):
        Nocaps(str(tmp_path))


@pytest.mark.skipif(not REAL.is_file(), reason=f"no NOCAPS sample at {REAL}")
def test_real_sample() -> None:
    nocaps = Nocaps(str(REAL.parent), captions=REAL.name)
    assert len(nocaps) == 60
    assert nocaps[0].prompt == "A baby is standing in front of a house."
    assert nocaps[59].id == "0059"
    with pytest.raises(UserError, match=r"0013ea2087020901\.jpg: no such image"):
        nocaps[0].open()
