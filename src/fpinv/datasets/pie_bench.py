"""PIE-Bench: edits of photographs and paintings with masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fpinv.datasets.example import EditCase, Example, ListedDataset, Mask
from fpinv.datasets.tables.files import existing_folder, read_json, require
from fpinv.editing.request import Edit
from fpinv.errors import UserError

REMEDY = (
    "point dataset.root=<folder> at the one that holds mapping_file.json and annotation_images/ "
    "of PIE-Bench"
)
SIDE = 512
TEXTS = ("image_path", "original_prompt", "editing_prompt", "editing_type_id", "blended_word")
TYPES = (
    "random",
    "change object",
    "add object",
    "delete object",
    "change content",
    "change pose",
    "change colour",
    "change material",
    "change background",
    "change style",
)


class PieBench(ListedDataset):
    """Edits of PIE-Bench, in the order of its mapping file.

    The layout is the published one::

        root/mapping_file.json
        root/annotation_images/<image_path>

    Prompts are taken without the square brackets that mark the change. The words to blend are
    those of ``blended_word``; an entry without any is edited without a blend. Masks are those of
    the mapping file, if it has them: runs as (start, length, start, length, ...) over the
    512x512 pixels row by row, and the outermost pixels, which the annotation misses.

    References:
        Direct Inversion: Boosting Diffusion-based Editing with 3 Lines of Code (Ju et al., 2023),
        https://arxiv.org/abs/2310.01506.

    Arguments:
        root: The folder; None raises an error that says so.
        types: Only edits of these types, 0 to 9 (random, change object, add object, delete
            object, change content, pose, colour, material, background, style); None for all.

    Raises:
        UserError: the folder or the mapping file is missing, or the file is not PIE-Bench's.
    """

    def __init__(self, root: str | None, types: Sequence[int] | None = None) -> None:
        folder = existing_folder(root, REMEDY)
        file = folder / "mapping_file.json"
        entries = _parse(file)
        if unknown := [kind for kind in types or () if kind not in range(len(TYPES))]:
            raise UserError(f"dataset.types has {unknown[0]}: choose from 0 to {len(TYPES) - 1}")
        super().__init__(
            _example(folder, id, entry)
            for id, entry in entries.items()
            if types is None or int(entry["editing_type_id"]) in types
        )


def _parse(file: Path) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = read_json(file, REMEDY)
    if not isinstance(entries, dict) or not entries:
        raise UserError(f"{file}: not PIE-Bench's mapping file: no entries by id")
    for id, entry in entries.items():
        place = f"{file}: not PIE-Bench's mapping file: entry {id}"
        require(entry, dict.fromkeys(TEXTS, str), place)
        if not _is_runs(entry.get("mask")):
            raise UserError(f"{place} has no usable mask")
        if not entry["editing_type_id"].isdecimal():
            raise UserError(f"{place} has no usable editing_type_id")
    return entries


def _is_runs(mask: object) -> bool:
    """Return True for an absent mask and for run lengths in pairs."""
    if mask is None:
        return True
    if not isinstance(mask, list) or len(mask) % 2:
        return False
    return all(isinstance(n, int) and n >= 0 for n in mask)


def _example(folder: Path, id: str, entry: Mapping[str, Any]) -> Example:
    kind = int(entry["editing_type_id"])
    edit = Edit(_plain(entry["editing_prompt"]), blend=tuple(entry["blended_word"].split()))
    mask = partial(decode_mask, entry["mask"]) if entry.get("mask") else None
    return Example(
        id,
        _plain(entry["original_prompt"]),
        folder / "annotation_images" / entry["image_path"],
        attributes={"change": TYPES[kind] if kind < len(TYPES) else str(kind)},
        case=EditCase(edit, id, mask, instruction=entry.get("editing_instruction") or ""),
    )


def _plain(prompt: str) -> str:
    return prompt.replace("[", "").replace("]", "")


def decode_mask(runs: Sequence[int], side: int = SIDE) -> Mask:
    """Return the mask (side, side) that run lengths encode, True where the edit may show."""
    flat = np.zeros(side * side, dtype=bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        flat[start : start + length] = True
    mask = flat.reshape(side, side)
    mask[[0, -1]] = mask[:, [0, -1]] = True
    return mask
