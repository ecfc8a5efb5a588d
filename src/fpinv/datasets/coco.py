"""COCO captions, and every data set that is published in COCO's caption schema."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from fpinv.datasets.example import Example, ListedDataset
from fpinv.datasets.tables.files import existing_folder, read_json, require
from fpinv.errors import UserError

REMEDY = (
    "point dataset.root=<folder> at the one that holds annotations/ and {split}/, "
    "or fetch it: python -m fpinv.datasets.download coco --root data/coco --split {split}"
)


class Coco(ListedDataset):
    """Images of COCO with their first caption, ordered by image id.

    The layout is the one that the published archives unpack to::

        root/annotations/captions_<split>.json
        root/<split>/<file_name>

    The first caption is that of the lowest annotation id, and an example is named after its image
    id, "000000217285". An image without a caption is left out. A missing image file is noticed
    when it is opened.

    References:
        Microsoft COCO: Common Objects in Context (Lin et al., 2014),
        https://arxiv.org/abs/1405.0312.
        Microsoft COCO Captions: Data Collection and Evaluation Server (Chen et al., 2015),
        https://arxiv.org/abs/1504.00325.

    Arguments:
        root: The folder; None raises an error that says how to get one.
        split: val2017 or train2017.

    Raises:
        UserError: the folder or the caption file is missing, or the file is not in the schema.
    """

    def __init__(self, root: str | None, split: str = "val2017") -> None:
        remedy = REMEDY.format(split=split)
        folder = existing_folder(root, remedy)
        file = folder / "annotations" / f"captions_{split}.json"
        images = folder / split
        super().__init__(
            Example(f"{image['id']:012d}", caption, images / image["file_name"], attributes=image)
            for image, caption in first_captions(file, remedy)
        )


def first_captions(file: Path, remedy: str) -> list[tuple[Mapping[str, Any], str]]:
    """Return the image records of a caption file with their first captions, by image id.

    Arguments:
        file: A file in COCO's caption schema: {"images": [{"id", "file_name", ...}],
            "annotations": [{"id", "image_id", "caption"}]}.
        remedy: Advice for the user if there is no such file.

    Raises:
        UserError: the file is missing, is not JSON, is not in the schema or has no caption.
    """
    index = _index(_parse(file, remedy), file)
    pairs = [(index.imgs[id], _first_caption(index.imgToAnns[id])) for id in sorted(index.imgs)]
    captioned = [(image, caption) for image, caption in pairs if caption]
    if not captioned:
        raise UserError(f"{file}: none of its {len(pairs)} images has a caption")
    return captioned


def _parse(file: Path, remedy: str) -> dict[str, Any]:
    content: dict[str, Any] = read_json(file, remedy)
    place = f"{file}: not a COCO caption file:"
    require(content, {"images": list, "annotations": list}, f"{place} the file")
    for image in content["images"]:
        require(image, {"id": int, "file_name": str}, f"{place} an image")
    for annotation in content["annotations"]:
        keys = {"id": int, "image_id": int, "caption": str}
        require(annotation, keys, f"{place} an annotation")
    return content


def _index(content: dict[str, Any], file: Path) -> COCO:
    coco = COCO()
    coco.dataset = content
    with redirect_stdout(io.StringIO()):  # pycocotools reports its progress by print
        coco.createIndex()
    if len(coco.imgs) < len(content["images"]):
        raise UserError(f"{file}: two images have the same id")
    return coco


def _first_caption(annotations: list[dict[str, Any]]) -> str:
    """Return the caption of lowest annotation id that is not blank, or an empty string."""
    ordered = sorted(annotations, key=lambda annotation: annotation["id"])
    return next((text for annotation in ordered if (text := annotation["caption"].strip())), "")
