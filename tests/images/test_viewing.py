"""Pictures are read as viewers show them: every depth, transparency, turn, profile and frame."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fpinv.errors import UserError
from fpinv.images.viewing import as_seen, limit_pixels, open_picture

LEVELS = np.arange(256, dtype=np.uint8)
RAMP = np.tile(LEVELS, (3, 1))
RAMP_16 = RAMP.astype(np.uint16) * 257


def levels(picture: Image.Image) -> list[int]:
    """Return the red of the first row."""
    return np.asarray(picture)[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("grey.png", RAMP_16),
        ("grey.tif", RAMP_16),
        ("grey.pgm", RAMP_16),
        ("grey.tif", RAMP_16.astype(np.int32)),
        ("grey.tif", (RAMP_16 / 65535).astype(np.float32)),
        ("grey.pfm", (RAMP_16 / 65535).astype(np.float32)),
    ],
)
def test_deep_grey_equals_its_8_bit_twin(tmp_path: Path, name: str, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / name)
    assert open_picture(tmp_path / name).tobytes() == as_seen(Image.fromarray(RAMP)).tobytes()


def test_big_endian_and_inverted_depths_are_followed(tmp_path: Path) -> None:
    big = Image.frombytes("I;16B", (256, 3), RAMP_16.astype(">u2").tobytes())
    assert levels(as_seen(big)) == LEVELS.tolist()
    white_is_zero = {262: 0}
    Image.fromarray(RAMP_16).save(tmp_path / "negative.tif", tiffinfo=white_is_zero)
    assert levels(open_picture(tmp_path / "negative.tif")) == LEVELS[::-1].tolist()


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (RAMP.astype(np.float32), "values from 0 to 255, where white is 1: save it with 8 or 16"),
        (np.array([[np.nan, 0]], np.float32), "values from nan to nan, where white is 1"),
        (np.array([[-1, 0]], np.int32), "values from -1 to 0, where white is 65535"),
    ],
)
def test_depths_without_an_agreed_white_are_refused(
    tmp_path: Path, pixels: np.ndarray, reason: str
) -> None:
    Image.fromarray(pixels).save(tmp_path / "odd.tif")
    with pytest.raises(UserError, match=f"odd.tif: cannot be read as an image .{reason}"):
        open_picture(tmp_path / "odd.tif")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "RGBX", "LAB"])
def test_every_opaque_mode_shows_its_colour(mode: str) -> None:
    red = Image.new("RGB", (4, 4), (250, 20, 10))
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(red, *profiles, outputMode="LAB")
    else:
        picture = red.convert(mode)
    expected = red if mode == "LAB" else picture.convert("RGB")
    difference = np.asarray(as_seen(picture), int) - np.asarray(expected, int)
    assert abs(difference).max() <= 6  # CIELAB of 8 bits is coarse


def test_what_is_transparent_lies_on_white() -> None:
    layer = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 51, 255)):
        layer.putpixel((x, 0), (255, 0, 0, alpha))
    seen = [(255, 255, 255), (255, 204, 204), (255, 0, 0)]
    assert [as_seen(layer).getpixel((x, 0)) for x in range(3)] == seen
    assert as_seen(layer, "black").getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBA", "RGBa"])
def test_every_mode_with_alpha_is_laid_on_white(mode: str) -> None:
    assert as_seen(Image.new(mode, (2, 2))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("pixels", [RAMP, RAMP_16])
def test_a_transparent_level_lies_on_white(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png", transparency=0)
    assert levels(open_picture(tmp_path / "a.png")) == [255, *LEVELS[1:].tolist()]


@pytest.mark.parametrize("kind", ["png", "tif", "webp"])
@pytest.mark.parametrize("pixels", [RAMP, RAMP_16])
def test_a_turned_camera_turns_the_picture(tmp_path: Path, kind: str, pixels: np.ndarray) -> None:
    if kind == "webp":
        pixels = np.stack([RAMP] * 3, -1)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path / f"turned.{kind}"
    Image.fromarray(pixels).save(file, exif=exif, lossless=True)
    seen = open_picture(file)
    assert seen.size == (3, 256)
    assert np.asarray(seen)[:, 0, 0].tolist() == LEVELS.tolist()
    assert as_seen(seen).tobytes() == seen.tobytes()


@pytest.mark.parametrize(("on_disk", "meant"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_another_form_of_unicode_is_found(
    tmp_path: Path, on_disk: str, meant: str
) -> None:
    name = "caf\u00e9.png"
    Image.new("RGB", (5, 4)).save(tmp_path / unicodedata.normalize(on_disk, name))
    assert open_picture(tmp_path / unicodedata.normalize(meant, name)).size == (5, 4)


@pytest.mark.parametrize("kind", ["gif", "webp", "tif", "png"])
def test_of_several_frames_the_first_counts(tmp_path: Path, kind: str) -> None:
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    red.save(tmp_path / f"a.{kind}", save_all=True, append_images=[blue])
    assert abs(np.array(open_picture(tmp_path / f"a.{kind}"), int) - np.array(red)).max() <= 1


def srgb(**names: bytes) -> bytes:
    """Return the profile sRGB with tags renamed, so that colours stand for others."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for tag, name in names.items():
        profile = profile.replace(tag.encode(), name)
    return profile


def test_a_colour_profile_is_followed_and_one_that_does_not_fit_ignored(tmp_path: Path) -> None:
    swapped = srgb(rXYZ=b"?XYZ", bXYZ=b"rXYZ").replace(b"?XYZ", b"bXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    red, blue = (254, 0, 0), (0, 0, 254)
    for mode, profile, expected in [
        ("RGB", swapped, blue),
        ("P", swapped, blue),
        ("RGBA", swapped, blue),
        ("RGB", srgb(), red),
        ("RGB", b"no profile", red),
    ]:
        picture = Image.new("RGB", (2, 2), red).convert(mode)
        picture.save(tmp_path / "a.png", icc_profile=profile)
        assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == pytest.approx(expected, abs=1)


def test_a_picture_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    Image.new("1", (300, 100)).save(tmp_path / "large.png")
    try:
        for most in (29_999, 1_000):  # Pillow itself warns of the first and refuses the second
            limit_pixels(most)
            with pytest.raises(UserError, match=f"large.png: has more than {most} pixels"):
                open_picture(tmp_path / "large.png")
        for allowed in (30_000, None):
            limit_pixels(allowed)
            assert open_picture(tmp_path / "large.png").size == (300, 100)
    finally:
        limit_pixels(before)
