"""The record of one example, and its line in metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

    from fpinv.datasets.example import Example
    from fpinv.inversion import Inversion

REQUIRED = ("id", "prompt", "error", "images", "series")
ORIGIN = ("digest", "made_with")
"""The origin of a line: the digest of its example, and the number of an entry of weights and
versions."""
RESERVED = frozenset((*REQUIRED, *ORIGIN, "image", "texts", "crc32"))


@dataclass(frozen=True)
class Record:
    """The results of a task for one example.

    Arguments:
        id: Name of the example.
        prompt: Caption of the example.
        metrics: Numbers by name; None where a metric has no meaning.
        series: Numbers per step by name, clean end first.
        images: Pictures by name.
        error: Why the example failed, in one line; None if it did not.
        inversion: The inversion of the example's images, to be saved for other uses.
        arrays: Arrays for the measures over all examples, such as features for the FID.
        image: Name of the image where records share one; None for the example's id.
        sources: The examples of whose images the inversion is.
        texts: Further texts by name, such as the prompt of an edit and its kind.
    """

    id: str
    prompt: str
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    images: Mapping[str, Image.Image] = field(default_factory=dict)
    error: str | None = None
    inversion: Inversion | None = None
    arrays: Mapping[str, Tensor] = field(default_factory=dict)
    image: str | None = None
    sources: Sequence[Example] = ()
    texts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if clashes := RESERVED & set(self.metrics):
            raise ValueError(f"a metric cannot be called {', '.join(sorted(clashes))}")

    @property
    def image_id(self) -> str:
        """The name of the image: the record's own where no other record shares it."""
        return self.image or self.id

    def row(self) -> dict[str, Any]:
        """Return the record's line in metrics.jsonl: flat, pictures by name only."""
        row: dict[str, Any] = {"id": self.id, "prompt": self.prompt, "error": self.error}
        row |= self.metrics
        row |= {"image": self.image} if self.image is not None else {}
        row |= {"series": {k: list(v) for k, v in self.series.items()}}
        row |= {"texts": dict(self.texts)} if self.texts else {}
        return finite(row | {"images": list(self.images)})


def metrics_of(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the metrics of a line of metrics.jsonl."""
    return {name: value for name, value in row.items() if name not in RESERVED}


def finite(value: Any) -> Any:  # noqa: ANN401
    """Return a value with None for every number that JSON does not have (NaN, infinities)."""
    return map_floats(value, lambda number: number if math.isfinite(number) else None)


def map_floats(value: Any, change: Callable[[float], float | None]) -> Any:  # noqa: ANN401
    """Return a value of JSON with ``change`` of every floating-point number in it."""
    if isinstance(value, Mapping):
        return {key: map_floats(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [map_floats(item, change) for item in value]
    return change(value) if isinstance(value, float) else value


def inversion_file(folder: Path, id: str) -> Path:
    """Return the path of the inversion of the image ``id`` in a run folder."""
    return folder / "inversions" / f"{quote(id, safe='')}.safetensors"
