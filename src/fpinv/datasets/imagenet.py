"""Folders of images by class: ImageNet by WordNet id, or any classes by name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Literal

from fpinv.datasets.classes import Bin, Category
from fpinv.datasets.example import Example, ListedDataset
from fpinv.datasets.image_files import ImageFiles
from fpinv.datasets.tables.files import existing_folder, read_json
from fpinv.errors import UserError, nearest

WORDNET_ID = re.compile(r"n\d{8}(?=_)")
MANY, FEW = 1_000_000, 10_000
REMEDY = "point dataset.root=<folder> at one that has a folder of images for each class"


class ImageNet(ListedDataset):
    """Images in a folder for each class, with names and, on request, prevalence bins.

    The layout is that of ImageNet's splits and of CIFAR-10 exports alike::

        root/n02123159/n02123159_10057.JPEG     a WordNet id of ImageNet-1k
        root/airplane/0001.png                  any other folder's name is the class's name
        root/n02123159_10057.JPEG               ImageNet's own file names say the class, too

    Captions are made from ``prompt`` and the class's name.

    The bins are those of the rare-concept protocol, by how often LAION-2B names a class: many
    above a million times, few below ten thousand, med between. The counts come from a JSON file
    ``{"<class number>": {"name": ..., "<count>": ...}}`` with ImageNet-1k's class numbers, in
    which classes of other names are looked up by name.

    References:
        | ImageNet: A Large-Scale Hierarchical Image Database (Deng et al., 2009)
        | https://doi.org/10.1109/CVPR.2009.5206848
        | Generating images of rare concepts using pre-trained diffusion models
        | (Samuel et al., 2024), https://arxiv.org/abs/2304.14530

    Arguments:
        root: The folder; None raises an error that says so.
        prompt: The caption, with ``{name}`` for the class's name.
        templates: ``clip`` asks the model for a class by the mean of CLIP's 80 prompts for
            ImageNet in place of the caption.
        counts: The JSON file; None for no bins.
        count: The count to use, e.g. ``actual_freq`` (captions that name the class) or
            ``relevant_total`` (those of them that were judged to mean it).

    Attributes:
        categories: The classes, ordered by id.

    Raises:
        UserError: no such folder or file, an image of no class, a count that the file does not
            have, or a prompt without a place for the name.
    """

    def __init__(
        self,
        root: str | None,
        prompt: str = "a photo of a {name}",
        templates: Literal["clip"] | None = None,
        counts: str | None = None,
        count: str = "relevant_total",
    ) -> None:
        _check_template(prompt)
        if templates not in (None, "clip"):
            raise UserError(f"dataset.templates={templates}: choose clip, or null for the caption")
        folder = existing_folder(root, REMEDY)
        frequencies = {} if counts is None else _counts(Path(counts).expanduser(), count)
        grouped: dict[str, list[Example]] = defaultdict(list)
        for example in ImageFiles(folder).examples.values():
            grouped[_class_of(example, folder)].append(example)
        _check_depth(grouped, folder)
        self.categories = [
            _category(id, prompt, images, frequencies, templates)
            for id, images in sorted(grouped.items())
        ]
        super().__init__(image for category in self.categories for image in category.images)


def _check_template(prompt: str) -> None:
    """Refuse a prompt of several lines, or with anything but ``{name}`` in braces.

    Raises:
        UserError: it is such a prompt.
    """
    try:
        pieces = list(Formatter().parse(prompt))
    except ValueError:  # a brace alone
        pieces = []
    places = [piece[1:] for piece in pieces if piece[1] is not None]
    if not places or any(place != ("name", "", None) for place in places):
        raise UserError(
            f"dataset.prompt={prompt!r} must have {{name}} for the class's name, and nothing else "
            "in braces"
        )
    if len(prompt.splitlines()) > 1:
        raise UserError(f"dataset.prompt={prompt!r} has several lines: write it in one")


def _check_depth(grouped: Mapping[str, list[Example]], folder: Path) -> None:
    """Refuse a folder of splits, where each split would be taken for a class.

    Raises:
        UserError: the images of a class lie in several folders of its own.
    """
    for name, images in grouped.items():
        inner = sorted({path[1] for image in images if len(path := _parts(image, folder)) > 2})
        if len(inner) > 1:
            raise UserError(
                f"{folder / name} has folders such as {inner[0]} and {inner[1]}, so it is no "
                f"class: use dataset.root={folder / name} if it is a split"
            )


def _parts(example: Example, folder: Path) -> tuple[str, ...]:
    """Return the folders of an image below ``folder``, and its file's name."""
    assert isinstance(example.image, Path)
    return example.image.relative_to(folder).parts


def _class_of(example: Example, folder: Path) -> str:
    *folders, file = _parts(example, folder)
    if folders:
        return folders[0]
    if id := WORDNET_ID.match(file):
        return id[0]
    raise UserError(f"{example.image}: lies outside of all class folders; {REMEDY}")


def _category(
    id: str,
    prompt: str,
    images: list[Example],
    counts: Mapping[str, float],
    templates: Literal["clip"] | None,
) -> Category:
    plain = id.replace("_", " ")
    name = wordnet_names().get(id, plain) if WORDNET_ID.match(f"{id}_") else plain
    caption = prompt.format(name=name)
    captioned = [
        replace(image, prompt=caption, attributes={"class": id, "name": name}) for image in images
    ]
    prevalence = counts.get(id, counts.get(name))
    ensemble = _clip_prompts(name) if templates else ()
    return Category(id, name, caption, captioned, prevalence, bin_of(prevalence), ensemble)


def _clip_prompts(name: str) -> tuple[str, ...]:
    """Return the prompts of CLIP's authors for a class of ImageNet."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES  # here, because it takes seconds to import

    return tuple(template(name) for template in OPENAI_IMAGENET_TEMPLATES)


def bin_of(prevalence: float | None) -> Bin | None:
    """Return many above a million, few below ten thousand, med between; None for None."""
    if prevalence is None:
        return None
    if prevalence > MANY:
        return "many"
    return "few" if prevalence < FEW else "med"


@cache
def wordnet_names() -> Mapping[str, str]:
    """Return the first name of each WordNet id of ImageNet-1k, in the order of class numbers."""
    from timm.data.imagenet_info import ImageNetInfo  # here, because it takes seconds to import

    info = ImageNetInfo("imagenet-1k")
    ids = info.label_names()
    return {id: info.index_to_description(k).split(",")[0] for k, id in enumerate(ids)}


def _counts(file: Path, count: str) -> dict[str, float]:
    """Return counts by WordNet id and by name."""
    entries = read_json(file, "choose another with dataset.counts=<file>")
    if not isinstance(entries, dict):
        raise UserError(f"{file}: not a JSON object with an entry for each class")
    ids, counts = list(wordnet_names()), {}
    for number, entry in entries.items():
        value = _count(entry, count, f"{file}: class {number}")
        counts[entry.get("name", number)] = value
        if number.isdecimal() and int(number) < len(ids):
            counts[ids[int(number)]] = value
    return counts


def _count(entry: object, count: str, place: str) -> float:
    """Return a class's count of this name."""
    values = entry if isinstance(entry, dict) else {}
    numbers = {key: value for key, value in values.items() if isinstance(value, (int, float))}
    if count not in numbers:
        raise UserError(f"{place} has no count '{count}'{nearest(count, list(numbers))}")
    return numbers[count]
