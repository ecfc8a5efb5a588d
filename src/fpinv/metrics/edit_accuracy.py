"""Accuracy of edits by attributes: the requested change happened, everything else stayed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor

LOOKS = ("shape", "colour", "texture", "size")

Attributes = Mapping[str, Any]
"""Attributes of a scene, as :meth:`fpinv.datasets.scenes.Scene.attributes` returns them:
``objects``, a list of mappings with :data:`LOOKS`, and their ``count``; ``background``;
``relations``, a list."""

Fact = tuple[str | int, ...]


class AttributeReader(Protocol):
    """A network that reads the attributes of scenes off their pictures."""

    def __call__(self, images: Tensor) -> Sequence[Attributes]:
        """Return the attributes of each picture of (B, 3, H, W) in [-1, 1].

        The objects come in any order; keys that the reader does not know are absent.
        """


@dataclass(frozen=True)
class Accuracy:
    """Success of an edit.

    Arguments:
        edit: 1 if every attribute that should change did, else 0; None if none should.
        preserved: Share that stayed of the attributes that should stay; None if none should.
    """

    edit: float | None
    preserved: float | None

    @property
    def success(self) -> float | None:
        """1 if all that should change did and all else stayed, else 0; None if nothing should."""
        return None if self.edit is None else float(self.edit == 1 and self.preserved in (None, 1))


def accuracy(read: Attributes, source: Attributes, target: Attributes) -> Accuracy:
    """Compare the attributes read off an edited picture with those of its source and target.

    Each object is compared with the target's object that it has most in common with. Only kinds
    of attributes that the reader reports count; where it sees no object, it reports all looks,
    and where it sees fewer than two, it reports relations.
    """
    seen, before, after = (set(_facts(a)) for a in (_arranged(read, target), source, target))
    kinds = {_kind(fact) for fact in _facts(read)}
    if "objects" in read and not read["objects"]:
        kinds |= {("object", look) for look in LOOKS}
    if "relations" in read:
        kinds.add(("relation",))
    changes = {fact for fact in after - before if _kind(fact) in kinds}
    constants = {fact for fact in after & before if _kind(fact) in kinds}
    return Accuracy(
        float(changes <= seen) if changes else None,
        len(constants & seen) / len(constants) if constants else None,
    )


def _facts(attributes: Attributes) -> Iterator[Fact]:
    """Yield each attribute as a tuple of its kind, its place and its value."""
    if "background" in attributes:
        yield "background", attributes["background"]
    for k, relation in enumerate(attributes.get("relations", ())):
        yield "relation", k, relation
    if "objects" in attributes:
        yield "count", attributes.get("count", len(attributes["objects"]))
    for k, item in enumerate(attributes.get("objects", ())):
        yield from (("object", k, look, item[look]) for look in LOOKS if look in item)


def _kind(fact: Fact) -> Fact:
    """Return the kind of a fact without the object that it belongs to."""
    return ("object", fact[2]) if fact[0] == "object" else fact[:1]


def _arranged(read: Attributes, target: Attributes) -> Attributes:
    """Return the reading with its objects in the places of the target's they resemble most."""
    seen, expected = read.get("objects", ()), target.get("objects", ())
    if not seen or not expected:
        return read
    common = np.array(
        [[sum(a.get(look) == b.get(look) for look in LOOKS) for b in expected] for a in seen]
    )
    rows, places = linear_sum_assignment(common, maximize=True)
    row_at = dict(zip(places.tolist(), rows.tolist(), strict=True))
    matched = [seen[row_at[k]] if k in row_at else {} for k in range(len(expected))]
    surplus = [item for k, item in enumerate(seen) if k not in row_at.values()]
    return {**read, "objects": [*matched, *surplus], "count": len(seen)}
