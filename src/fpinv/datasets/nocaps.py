"""NOCAPS: captions of images with objects that COCO's captions do not mention."""

from __future__ import annotations

from fpinv.datasets.coco import first_captions
from fpinv.datasets.example import Example, ListedDataset
from fpinv.datasets.tables.files import existing_folder

REMEDY = (
    "point dataset.root=<folder> at the one that holds the caption file of https://nocaps.org "
    "and the images in {split}/ (named by file_name; each record has their address)"
)


class Nocaps(ListedDataset):
    """Images of NOCAPS with their first caption, ordered by image id.

    Captions and images are published apart: the captions by NOCAPS, the images by Open Images.
    This is the layout::

        root/nocaps_val_4500_captions.json      as published; COCO's caption schema
        root/<split>/<file_name>                the images of the Open Images validation set

    The first caption is that of the lowest annotation id, and an example is named after its image
    id, "0042". An image without a caption is left out. A missing image file is noticed when it is
    opened. Captions are public for the validation split only.

    References:
        nocaps: novel object captioning at scale (Agrawal et al., 2019),
        https://arxiv.org/abs/1812.08658.

    Arguments:
        root: The folder; None raises an error that says how to get one.
        split: The folder of the images in ``root``.
        captions: The caption file, in ``root`` unless it is an absolute path.

    Raises:
        UserError: the folder or the caption file is missing, or the file is not in the schema.
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
        super().__init__(
            Example(f"{image['id']:04d}", caption, images / image["file_name"], attributes=image)
            for image, caption in first_captions(folder / captions, remedy)
        )
