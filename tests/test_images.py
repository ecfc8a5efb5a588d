"""Pictures and tensors: exact round trip, central crop, orientation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fpinv.images import square, square_mask, to_pil


def every_level() -> Image.Image:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    return Image.fromarray(np.stack([levels, levels.T, 255 - levels], axis=-1))


def test_every_8_bit_level_survives_the_round_trip() -> None:
    image = every_level()
    tensor = square(image, 16)
    assert tensor.shape == (3, 16, 16) and tensor.dtype == torch.float32
    assert tensor.min() == -1 and tensor.max() == 1
    assert to_pil(tensor).tobytes() == image.tobytes()


def test_rounds_to_the_nearest_level_and_clamps() -> None:
    levels = torch.tensor([-0.6, 99.4, 99.6, 255.4, 400.0])
    image = (levels / 127.5 - 1).expand(3, 1, 5)
    assert np.asarray(to_pil(image))[0, :, 0].tolist() == [0, 99, 100, 255, 255]


@pytest.mark.parametrize(("width", "height"), [(90, 30), (30, 91), (31, 31)])
def test_takes_the_centre(width: int, height: int) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    side = min(width, height)
    y, x = (height - side) // 2, (width - side) // 2
    pixels[y : y + side, x : x + side] = 255
    for size in (side, 8, 64):
        assert (square(pixels, size) == 1).all()


def test_reduction_averages_instead_of_skipping() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert square(stripes, 8).abs().max() < 0.05


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    assert square(every_level().convert(mode), 8).shape == (3, 8, 8)


def test_photograph_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # the camera was held upside down
    every_level().save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert torch.equal(square(image, 16), square(every_level(), 16).flip(1, 2))
        assert torch.equal(square(image.convert("RGB"), 16), square(image, 16))


def test_a_mask_keeps_the_part_that_its_image_keeps() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5, 10] = mask[39, 49] = mask[:, :10] = True
    reduced = square_mask(mask, 20)
    expected = torch.zeros(20, 20, dtype=torch.bool)
    expected[2, 0] = expected[19, 19] = True
    assert torch.equal(reduced, expected)
    assert torch.equal(square_mask(mask[:, 10:50], 40), torch.tensor(mask[:, 10:50]))
    assert square_mask(mask[:, 10:50], 80).sum() == 8
