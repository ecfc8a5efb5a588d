"""PIE-Bench's mapping file: its schema, its masks, and one line for every way to get it wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpinv.datasets.pie_bench import PieBench, decode_mask
from fpinv.errors import UserError

REAL = Path(__file__).parents[2] / "../shared/data/pie_bench"

ENTRY = {
    "image_path": "0_random/1.jpg",
    "original_prompt": "a [red] bird",
    "editing_prompt": "a [blue] bird, [flying]",
    "editing_instruction": "",
    "editing_type_id": "6",
    "blended_word": "red blue",
    "mask": [512 * 100 + 50, 20, 512 * 101, 512],
}


def bench(folder, entries, **options):
    (folder / "mapping_file.json").write_text(
        entries if isinstance(entries, str) else json.dumps(entries)
    )
    return PieBench(str(folder), **options)


def test_an_entry_becomes_an_edit(tmp_path):
    example = bench(tmp_path, {"000": ENTRY})[0]
    assert (example.id, example.prompt) == ("000", "a red bird")
    assert example.image == tmp_path / "annotation_images" / "0_random" / "1.jpg"
    assert example.case.edit.prompt == "a blue bird, flying"
    assert example.case.edit.blend == ("red", "blue")
    assert example.attributes["change"] == "change colour"


def test_masks_are_decoded_row_by_row(tmp_path):
    mask = bench(tmp_path, {"000": ENTRY})[0].case.open_mask((512, 512))
    expected = np.zeros((512, 512), bool)
    expected[100, 50:70] = expected[101] = True
    expected[[0, -1]] = expected[:, [0, -1]] = True
    assert np.array_equal(mask, expected)
    assert decode_mask([10**6, 5]).sum() == 4 * 511


def test_a_mask_of_another_size_than_its_image_is_one_line(tmp_path):
    case = bench(tmp_path, {"000": ENTRY})[0].case
    with pytest.raises(UserError, match="its mask has 512x512 pixels and the image 300x200"):
        case.open_mask((300, 200))


def test_entries_without_mask_or_words_and_of_chosen_types(tmp_path):
    bare = ENTRY | {"mask": None, "blended_word": "", "editing_type_id": "9"}
    missing = {k: v for k, v in bare.items() if k != "mask"}
    examples = bench(tmp_path, {"a": ENTRY, "b": bare, "c": missing}, types=[9])
    assert [example.id for example in examples] == ["b", "c"]
    assert all(e.case.mask is None and e.case.edit.blend == () for e in examples)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ("no json", "not JSON"),
        ([], "no entries by id"),
        ({"a": 3}, "entry a has no usable image_path"),
        ({"a": ENTRY | {"mask": [1]}}, "entry a has no usable mask"),
        ({"a": ENTRY | {"mask": "x"}}, "entry a has no usable mask"),
        ({"a": ENTRY | {"editing_type_id": "nine"}}, "entry a has no usable editing_type_id"),
        ({"a": ENTRY | {"editing_prompt": None}}, "entry a has no usable editing_prompt"),
    ],
)
def test_malformed_files_are_named(tmp_path, entries, reason):
    with pytest.raises(UserError) as error:
        bench(tmp_path, entries)
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_no_root_and_unknown_types(tmp_path):
    with pytest.raises(UserError, match="dataset.root is not set; point dataset.root"):
        PieBench(None)
    with pytest.raises(UserError, match="dataset.types has 12: choose from 0 to 9"):
        bench(tmp_path, {"a": ENTRY}, types=[12])


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no PIE-Bench sample at {REAL}")
def test_a_real_sample_opens():
    examples = PieBench(str(REAL))
    assert len(examples) > 0
    assert isinstance(examples[0].open(), Image.Image)
    assert all(example.prompt and example.case.edit.prompt for example in examples)
