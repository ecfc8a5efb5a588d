"""The finished examples of a run that no longer count when it is continued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fpinv.datasets.digests import digest
from fpinv.run.folder import RunFolder
from fpinv.run.terminal import named

if TYPE_CHECKING:
    from fpinv.datasets.example import Example


@dataclass(frozen=True)
class Outdated:
    """Ids of finished examples whose records are dropped.

    Arguments:
        changed: Their image, caption or edit is another now.
        gone: The data set has them no more.
        incomplete: They have no pictures or inversion, which the run is to keep now.
    """

    changed: Sequence[str]
    gone: Sequence[str]
    incomplete: Sequence[str]

    @property
    def ids(self) -> set[str]:
        """All of them."""
        return {*self.changed, *self.gone, *self.incomplete}

    @property
    def lines(self) -> list[str]:
        """A line for people about each kind that there is."""
        kinds = (
            (self.changed, "done again, as their image, caption or edit has changed"),
            (self.gone, "left out, as the data set no longer has them"),
            (self.incomplete, "done again, for their pictures or inversions"),
        )
        return [f"finished examples {text}: {named(ids)}" for ids, text in kinds if ids]


def find_outdated(
    folder: RunFolder, examples: Mapping[str, Example], pictured: set[str], inversions: bool
) -> Outdated:
    """Return the finished examples of a run that no longer count.

    Arguments:
        folder: The records.
        examples: The examples that the run is about now, by id.
        pictured: Ids of examples whose pictures are newly to be kept.
        inversions: Whether inversions are newly to be kept.
    """
    gone, changed, incomplete = [], [], []
    for row in folder.rows:
        id = row["id"]
        if id not in examples:
            gone.append(id)
        elif _has_changed(row, examples[id]):
            changed.append(id)
        elif inversions or (id in pictured and not row["images"]):
            incomplete.append(id)
    return Outdated(changed, gone, incomplete)


def _has_changed(row: Mapping[str, Any], example: Example) -> bool:
    """Return whether a line is of another example; lines of old versions do not say so."""
    return "digest" in row and row["digest"] != digest(example)
