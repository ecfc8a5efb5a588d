"""NOCAPS: captions of images with objects that COCO's captions do not mention."""

from __future__ import annotations

from fpinv.datasets.coco import first_captions
from fpinv.datasets.example import Example
from fpinv.datasets.tables.files import existing_folder

REMEDY = (
    "point dataset.root=<folder> at the one that holds the caption file of https://nocaps.org "
    "and the images in {split}/ (named by file_name; each record has their address)"
)


class Nocaps:
    """Images of NOCAPS with their first caption, ordered by image id.

    Captions and images are published apart: the captions by NOCAPS, the images by Open Images.
    This is the layout::

        root/nocaps_val_4500_captions.json      as published; COCO's caption schema
        root/<split>/<file_name>                the images of the Open Images validation set

    The first caption is the one of lowest annotation id, and an example is named after its image
    id, "0042". An image without a caption is left out. Whether an image is on disk is found out
    when it is opened. Captions are public for the validation split only.

    References:
        nocaps: novel object captioning at scale (Agrawal et al., 2019),
        https://arxiv.org/abs/1812.08658.

    Arguments:
        root: The folder; None raises an error that says how to get one.
        split: The folder of the images in ``root``.
        captions: The caption file, in ``root`` unless it is an absolute path.

    Raises:
        UserError: the folder or the caption file is missing, or is not what it should be.
    """

    def __init__(
        self,
        root: str | None,
        split: str = "val",
        captions: str = "nocaps_val_4500_captions.json",
    ) -> None:
        remedy = REMEDY.format(split=split)
        folder = existing_folder(root, remedy)
        images = folder / split
        self._examples = [
            Example(f"{image['id']:04d}", caption, images / image["file_name"], attributes=image)
            for image, caption in first_captions(folder / captions, remedy)
        ]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]
