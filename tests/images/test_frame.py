"""Pictures and tensors: exact round trip, and the part of a picture that a model sees."""

import numpy as np
import pytest
import torch
from PIL import Image

from fpinv.errors import UserError
from fpinv.images import Frame, square, to_pil


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


@pytest.mark.parametrize(
    ("size", "crop", "part"),
    [
        ((30, 60), "center", (0, 10, 120, 70)),  # the largest 1:2 part of 120 x 80
        ((40, 40), "center", (20, 0, 100, 80)),
        ((20, 60), "center", (0, 20, 120, 60)),
        ((40, 40), "none", (0, 0, 120, 80)),
        ((160, 900), "none", (0, 0, 120, 80)),
    ],
)
def test_a_frame_resamples_one_part_of_picture_and_mask(size, crop, part) -> None:
    noise = Image.effect_noise((120, 80), 60).convert("RGB")
    frame = Frame(size, crop)
    pixels = frame.pixels(noise)
    shape = {(40, 40): (27, 40), (160, 900): (160, 240)}[size] if crop == "none" else size
    assert pixels.shape == (3, *shape)
    expected = noise.crop(part).resize(shape[::-1], Image.Resampling.LANCZOS)
    assert to_pil(pixels).tobytes() == expected.tobytes()
    mask = np.zeros((80, 120), bool)
    mask[part[1] : part[3], part[0] : part[2]] = True
    assert frame.mask(mask).shape == shape and frame.mask(mask).all()


@pytest.mark.parametrize("crop", [None, "None", "centre"])
def test_a_crop_that_does_not_exist_is_refused(crop) -> None:
    with pytest.raises(UserError, match=f"crop={crop!r} is unknown: choose center or none"):
        Frame((40, 40), crop)


def test_a_size_of_two_numbers_is_a_frame_of_the_centre() -> None:
    noise = Image.effect_noise((50, 40), 60)
    assert torch.equal(square(noise, (8, 16)), Frame((8, 16)).pixels(noise))
    assert torch.equal(square(noise, (8, 8)), square(noise, 8))


def test_a_mask_keeps_the_part_that_its_image_keeps() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5, 10] = mask[39, 49] = mask[:, :10] = True
    reduced = Frame((20, 20)).mask(mask)
    expected = torch.zeros(20, 20, dtype=torch.bool)
    expected[2, 0] = expected[19, 19] = True
    assert torch.equal(reduced, expected)
    assert torch.equal(Frame((40, 40)).mask(mask[:, 10:50]), torch.tensor(mask[:, 10:50]))
    assert Frame((80, 80)).mask(mask[:, 10:50]).sum() == 8
