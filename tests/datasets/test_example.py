"""An example opens its picture in RGB, or says in one line why it cannot."""

from pathlib import Path

import pytest
from PIL import Image

from fpinv.datasets.example import Example
from fpinv.errors import UserError


def test_picture_and_file_open_alike_in_rgb(tmp_path: Path) -> None:
    grey = Image.linear_gradient("L")
    grey.save(tmp_path / "grey.png")
    held = Example("a", "", grey).open()
    read = Example("a", "", tmp_path / "grey.png").open()
    assert held.mode == read.mode == "RGB"
    assert held.tobytes() == read.tobytes()


def test_generated_example_has_nothing_to_open() -> None:
    with pytest.raises(UserError, match="example seven has no image"):
        Example("seven", "", seed=7).open()


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jpg: no such image; check the path"):
        Example("a", "", tmp_path / "gone.jpg").open()


@pytest.mark.parametrize("keep", [0, 30, 700])
def test_corrupt_image_is_named(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "broken.jpg"
    Image.effect_noise((64, 64), 50).save(file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"broken\.jpg: cannot be read as an image") as error:
        Example("a", "", file).open()
    assert "\n" not in str(error.value)
