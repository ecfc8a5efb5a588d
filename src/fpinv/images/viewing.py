"""Pictures as viewers show them: upright, on a ground, in RGB with 8 bits.

Whatever Pillow opens is read. Of several frames or pages the first counts.

- EXIF (or XMP) says how the camera was held: the picture is turned upright.
- What is transparent lies on white.
- More than 8 bits are reduced: white is 65535, or the largest number of the file's bits. Floating
  point runs from 0 to 1. Other values have no agreed white, and are refused.
- A colour profile is followed to sRGB; one that does not fit the picture is ignored.
"""

from __future__ import annotations

import unicodedata
import warnings
from io import BytesIO
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin

from fpinv.errors import UserError

Ground = Literal["white", "black"]
Crop = Literal["center", "none"]
CROPS: tuple[Crop, ...] = get_args(Crop)

BITS, PHOTOMETRIC = 258, 262  # tags of TIFF
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


MOST_PIXELS = 100_000_000
"""Pixels of a picture at most, unless a run says otherwise."""


def limit_pixels(most: int | None) -> None:
    """Refuse pictures of more pixels, in the whole process; None allows any.

    The limit is Pillow's own, which is there from the start.
    """
    Image.MAX_IMAGE_PIXELS = most


def open_picture(file: Path, ground: Ground = "white") -> Image.Image:
    """Return the picture in a file as a viewer shows it, in RGB.

    Raises:
        UserError: the file is missing, is not a picture, or has more pixels than the limit.
    """
    try:
        with warnings.catch_warnings():
            # Pillow only warns of up to twice the limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # A TIFF that Pillow maps into memory, as it does by path, stays unturned.
            with _spelt(file).open("rb") as stream, Image.open(stream) as image:
                return as_seen(image, ground)
    except FileNotFoundError:
        raise UserError(f"{file}: no such image; check the path") from None
    except BOMBS:
        raise UserError(
            f"{file}: has more than {Image.MAX_IMAGE_PIXELS} pixels: reduce it, or raise the "
            "limit with max_pixels=<number>"
        ) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as an image ({error})") from error


def _spelt(file: Path) -> Path:
    """Return the file, or the one beside it whose name is the same in another form of Unicode."""
    if file.exists() or not file.parent.is_dir():
        return file
    return next((path for path in file.parent.iterdir() if nfc(path.name) == nfc(file.name)), file)


def nfc(name: str) -> str:
    """Return a name in the composed form of Unicode, since systems list names in several."""
    return unicodedata.normalize("NFC", name)


def as_seen(image: Image.Image, ground: Ground = "white") -> Image.Image:
    """Return a picture of any mode as a viewer shows it, in RGB.

    Arguments:
        image: The picture.
        ground: The colour behind what is transparent.

    Raises:
        ValueError: its numbers have no agreed white.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        upright = _reduced(upright, *_levels(image))
    elif upright.mode == "LAB":
        upright = _converted(upright, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    seen = _on_ground(_in_srgb(upright), ground)
    seen.info = {}  # it was followed, and is not to be followed again
    return seen


def _levels(image: Image.Image) -> tuple[float, float]:
    """Return the values of black and of white in a picture of more than 8 bits."""
    white = 1.0 if image.mode == "F" else 65535.0
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0.0, white
    if image.mode.startswith("I;16"):
        white = 2.0 ** image.tag_v2.get(BITS, (16,))[0] - 1
    return (0.0, white) if image.tag_v2.get(PHOTOMETRIC) else (white, 0.0)


def _reduced(image: Image.Image, black: float, white: float) -> Image.Image:
    """Return a picture of more than 8 bits with 8, its transparent level with an alpha of 0."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not min(black, white) <= low <= high <= max(black, white):
        raise ValueError(
            f"values from {low:.6g} to {high:.6g}, where white is {max(black, white):g}: "
            "save it with 8 or 16 bits"
        )
    levels = (values.astype(np.float32) - black) * (255 / (white - black))
    grey = Image.fromarray(levels.round().astype(np.uint8))
    if (transparent := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(values != transparent).convert("L"))
    return grey


def _in_srgb(image: Image.Image) -> Image.Image:
    """Return a picture without its colour profile, which was followed if it fits."""
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
        if "srgb" in ImageCms.getProfileDescription(profile).lower():
            return image
        return _converted(image, profile)
    except (KeyError, OSError, ImageCms.PyCMSError):
        return image


def _converted(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Return a picture with this colour profile in sRGB."""
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    converted = ImageCms.profileToProfile(
        image, profile, ImageCms.createProfile("sRGB"), outputMode=mode
    )
    assert converted is not None
    return converted


def _on_ground(image: Image.Image, ground: Ground) -> Image.Image:
    """Return a picture in RGB, with a ground behind what is transparent."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), layer).convert("RGB")
