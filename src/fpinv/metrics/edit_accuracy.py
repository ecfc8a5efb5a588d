"""Did the attribute that was asked for change, and did the others stay?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor

LOOKS = ("shape", "colour", "texture", "size")

Attributes = Mapping[str, Any]
"""What a scene shows, as :meth:`fpinv.datasets.scenes.Scene.attributes` says it: ``objects``, a
list of mappings with :data:`LOOKS`, and their ``count``; ``background``; ``relations``, a list."""

Fact = tuple[str | int, ...]


class SceneReader(Protocol):
    """Reads the attributes off pictures; keys that it does not know it leaves out."""

    def __call__(self, images: Tensor) -> Sequence[Attributes]:
        """The attributes of pictures (B, 3, H, W) in [-1, 1], in order; objects in any order."""


@dataclass(frozen=True)
class Accuracy:
    """How an edit did.

    Arguments:
        edit: 1 if all that should have changed did, else 0; None if nothing should have.
        kept: Share of what should have stayed that did; None if nothing should have.
    """

    edit: float | None
    kept: float | None


def accuracy(read: Attributes, source: Attributes, target: Attributes) -> Accuracy:
    """Compares what was read off an edited picture with what its source and its target show.

    Objects are compared with the target's objects that they have most in common with. Only what
    the reader knows counts.
    """
    seen, before, after = (set(_facts(a)) for a in (_arranged(read, target), source, target))
    known = {_kind(fact) for fact in _facts(read)}
    asked = {fact for fact in after - before if _kind(fact) in known}
    stays = {fact for fact in after & before if _kind(fact) in known}
    return Accuracy(
        float(asked <= seen) if asked else None,
        len(stays & seen) / len(stays) if stays else None,
    )


def _facts(attributes: Attributes) -> Iterator[Fact]:
    """Everything that is so, one by one."""
    if "background" in attributes:
        yield "background", attributes["background"]
    for k, relation in enumerate(attributes.get("relations", ())):
        yield "relation", k, relation
    if "objects" in attributes:
        yield "count", attributes.get("count", len(attributes["objects"]))
    for k, item in enumerate(attributes.get("objects", ())):
        yield from (("object", k, look, item[look]) for look in LOOKS if look in item)


def _kind(fact: Fact) -> Fact:
    """What a fact is about, whichever object."""
    return ("object", fact[2]) if fact[0] == "object" else fact[:1]


def _arranged(read: Attributes, target: Attributes) -> Attributes:
    """The reading with its objects in the places of the target's that they resemble most."""
    seen, wanted = read.get("objects", ()), target.get("objects", ())
    if not seen or not wanted:
        return read
    common = np.array(
        [[sum(a.get(look) == b.get(look) for look in LOOKS) for b in wanted] for a in seen]
    )
    rows, places = linear_sum_assignment(common, maximize=True)
    placed = dict(zip(places.tolist(), rows.tolist(), strict=True))
    first = [seen[placed[k]] if k in placed else {} for k in range(len(wanted))]
    rest = [item for k, item in enumerate(seen) if k not in placed.values()]
    return {**read, "objects": [*first, *rest], "count": len(seen)}
