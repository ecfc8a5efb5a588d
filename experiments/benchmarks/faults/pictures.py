"""Picture files of every kind, whole and damaged."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from forked import Outcome, Trial, command, records
from numpy.typing import NDArray
from PIL import Image

SIDE = 64
TOLERANCE = 0.02  # mean distance of pixels in [0, 1] that palettes and lossy formats may cost
RUN = ("model=scenes", "dataset=folder", "inverter=ddim", "steps=1", "limit=null", "images=null")

Bytes = NDArray[np.uint8]


def _scene() -> Image.Image:
    """Return an opaque picture of flat areas, which every format keeps."""
    pixels = np.full((SIDE, SIDE, 3), 96, np.uint8)
    pixels[8:40, 8:32], pixels[24:56, 36:60] = (200, 40, 40), (40, 40, 200)
    return Image.fromarray(pixels)


def _ramp() -> Bytes:
    return np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))


def _grey(ramp: Bytes) -> Image.Image:
    return Image.fromarray(np.repeat(ramp[..., None], 3, 2))


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _deep_colour(image: Image.Image) -> bytes:
    """Return a PNG of 16 bits a channel, which Pillow cannot write."""
    wide = (np.asarray(image).astype(">u2") * 257).reshape(SIDE, -1)
    lines = b"".join(b"\0" + line.tobytes() for line in wide)

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def _turned(image: Image.Image, orientation: int) -> bytes:
    """Return a file whose EXIF orientation turns it back to the picture."""
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _saved(image.transpose(back), "PNG", exif=exif)


def readable() -> Iterator[tuple[str, bytes, Image.Image]]:
    """Yield names of files that viewers open, their bytes and the picture that is seen."""
    scene, ramp = _scene(), _ramp()
    for kind in ("png", "bmp", "gif", "tiff", "webp"):
        options = {"lossless": True} if kind == "webp" else {}
        yield f"rgb.{kind}", _saved(scene, kind, **options), scene
    yield "photo.jpg", _saved(scene, "jpeg", quality=98, subsampling=0), scene
    yield "print.tif", _saved(scene.convert("CMYK"), "tiff"), scene
    yield "video.tif", _saved(scene.convert("YCbCr"), "tiff"), scene
    yield "palette.png", _saved(scene.convert("P", palette=Image.Palette.ADAPTIVE), "png"), scene
    yield "grey8.png", _saved(Image.fromarray(ramp), "png"), _grey(ramp)
    yield "grey16.png", _saved(Image.fromarray(ramp.astype(np.uint16) * 257), "png"), _grey(ramp)
    yield "grey16.tif", _saved(Image.fromarray(ramp.astype(np.uint16) * 257), "tiff"), _grey(ramp)
    yield "float.tif", _saved(Image.fromarray(ramp.astype(np.float32) / 255), "tiff"), _grey(ramp)
    bits = np.where(ramp > 127, 255, 0).astype(np.uint8)
    yield "bits.png", _saved(Image.fromarray(bits).convert("1"), "png"), _grey(bits)
    yield "deep.png", _deep_colour(scene), scene
    clear = scene.convert("RGBA")
    clear.putalpha(Image.fromarray(bits))
    seen = Image.composite(scene, Image.new("RGB", scene.size, "white"), clear.getchannel("A"))
    yield "clear.png", _saved(clear, "png"), seen
    for orientation in (3, 6):
        yield f"turned{orientation}.png", _turned(scene, orientation), scene


def unreadable() -> Iterator[tuple[str, bytes]]:
    """Yield names of files that no viewer opens, with their bytes."""
    whole = _saved(_scene(), "png")
    yield "empty.png", b""
    yield "text.png", b"not a picture\n"
    yield "half.png", whole[: len(whole) // 2]
    yield "damaged.png", whole[:60] + bytes(len(whole) - 60)
    yield "half.jpg", _saved(_scene(), "jpeg")[:300]
    yield "huge.png", _saved(Image.new("1", (13_000, 13_000)), "png")


def picture_files(scratch: Path) -> Iterator[Trial]:
    """Yield trials of one run over all the files: each is seen as viewers show it, or named."""
    root, folder = scratch / "pictures", scratch / "run"
    root.mkdir()
    expected: dict[str, Image.Image | None] = {}
    for name, content, image in readable():
        (root / name).write_bytes(content)
        expected[name] = image
    for name, content in unreadable():
        (root / name).write_bytes(content)
        expected[name] = None
    lines = [json.dumps({"file_name": name, "text": f"picture {name}"}) for name in expected]
    (root / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    output = command(*RUN, f"dataset.root={root}", f"hydra.run.dir={folder}")
    by_caption = {row["prompt"]: row for row in records(folder)}
    for name, image in expected.items():
        yield _judge(name, image, by_caption.get(f"picture {name}"), folder, output.last_line)


def _judge(
    name: str, image: Image.Image | None, row: dict[str, Any] | None, folder: Path, end: str
) -> Trial:
    if row is None:
        return Trial("pictures", name, "lost", f"no record; {end}")
    if row["error"] is not None:
        return Trial("pictures", name, "refused" if image is None else "lost", row["error"])
    if image is None:
        return Trial("pictures", name, "lost", "read without a word")
    from fpinv.run.folder import picture

    pixels = np.asarray(Image.open(picture(folder, row["id"], "original")).convert("RGB"))
    distance = float(np.abs(pixels / 255.0 - np.asarray(image) / 255.0).mean())
    outcome: Outcome = "right" if distance < TOLERANCE else "lost"
    return Trial("pictures", name, outcome, f"distance {distance:.4f}")
