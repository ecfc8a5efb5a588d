"""The picture grid: whole pictures, whole words, nothing over anything else."""

import numpy as np
import pytest
from PIL import Image

from fpinv.reporting.grid import (
    SIDE,
    Tile,
    _font,
    _length,
    _wrapped,
    enlarged,
    grid,
    read_picture,
    strip,
)

RED, GREEN, BLUE = (255, 0, 0), (0, 160, 0), (0, 0, 255)


def tile(colour, caption="", size=(64, 64)):
    return Tile(Image.new("RGB", size, colour), caption)


def box(picture, colour):
    """Return left, top, right and bottom of the pixels in a colour."""
    ys, xs = np.nonzero((np.asarray(picture) == colour).all(-1))
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


def ink(pixels):
    """Return the mask of written pixels, which are dark and grey."""
    return (pixels.max(-1) < 200) & (np.ptp(pixels, axis=-1) == 0)


def test_small_pictures_are_enlarged_by_whole_factors_and_large_ones_are_kept():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    small = Image.fromarray(np.stack([levels] * 3, axis=-1))
    assert enlarged(small).size == (SIDE, SIDE)
    assert (np.asarray(enlarged(small))[::8, ::8, 0] == levels).all()
    assert enlarged(Image.new("RGB", (100, 300))).size == (200, 600)
    for size in ((128, 128), (512, 512), (700, 150)):
        assert enlarged(Image.new("RGB", size)).size == size


def test_a_picture_that_is_read_is_reduced_but_never_enlarged(tmp_path):
    for size, expected in (((512, 256), (256, 128)), ((64, 64), (64, 64))):
        Image.new("L", size, 90).save(tmp_path / "p.png")
        picture = read_picture(tmp_path / "p.png")
        assert picture.size == expected and picture.getpixel((3, 3)) == (90, 90, 90)


@pytest.mark.parametrize("titles", [(), ("original", "a title of several words\nand two lines")])
@pytest.mark.parametrize("labels", [(), ("a label", "another, " * 60)])
@pytest.mark.parametrize("caption", ["", "29.13 dB, and more words than one line can hold"])
def test_every_picture_is_whole_and_no_word_is_cut_or_covers_one(titles, labels, caption):
    rows = [[tile(RED, caption), tile(GREEN)], [tile(BLUE, caption)]]
    picture = grid(rows, titles, labels)
    pixels = np.asarray(picture)
    for colour in (RED, GREEN, BLUE):
        x0, y0, x1, y1 = box(picture, colour)
        assert (x1 - x0, y1 - y0) == (SIDE, SIDE)
        assert (pixels[y0:y1, x0:x1] == colour).all()
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    assert all((edge == 255).all() for edge in edges)
    words = ink(pixels)
    x0, y0, x1, y1 = box(picture, RED)
    assert words[:y0, x0:].any() == bool(titles)
    assert words[:, :x0].any() == bool(labels)
    assert words[y1 : box(picture, BLUE)[1], x0:].any() == bool(caption)


def test_columns_line_up_and_take_the_widest_picture():
    wide, narrow = tile(RED, size=(300, 128)), tile(BLUE, size=(128, 128))
    picture = grid([[wide, tile(GREEN)], [narrow]])
    x0, _, x1, _ = box(picture, RED)
    assert box(picture, GREEN)[0] > x1
    blue = box(picture, BLUE)
    assert blue[0] + blue[2] == x0 + x1, "a narrow picture stands in the middle"


def test_a_strip_bears_the_names_of_its_pictures():
    shades = {"original": Image.new("RGB", (8, 8), RED), "mask": Image.new("RGB", (8, 8), BLUE)}
    picture = strip(shades)
    assert box(picture, RED)[2] < box(picture, BLUE)[0]
    above = ink(np.asarray(picture)[: box(picture, RED)[1]])
    for colour in (RED, BLUE):
        x0, _, x1, _ = box(picture, colour)
        assert above[:, x0:x1].any()


def test_wrapped_words_are_all_there_and_fit():
    text = "inverter.inversion_guidance 0.25\na_name_that_no_column_is_wide_enough_for WWWWWWWWW"
    lines = _wrapped(text, SIDE)
    assert "".join(lines).replace(" ", "") == text.replace("\n", "").replace(" ", "")
    assert all(_length(line) <= SIDE for line in lines)


def test_the_letters_of_prompts_and_units_have_shapes_of_their_own():
    absent = bytes(_font().getmask("\uffff"))
    assert all(bytes(_font().getmask(letter)) != absent for letter in "→–×∞±ẑéüßñłЖλ")
