"""Classes of images, and how often each is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from fpinv.datasets.example import Dataset

Bin = Literal["many", "med", "few"]
BINS: tuple[Bin, ...] = ("many", "med", "few")


@dataclass(frozen=True)
class Category:
    """One class of a data set.

    Arguments:
        id: What classifiers know it by: a WordNet id, or a plain name.
        name: What people call it.
        prompt: What a model is asked for.
        images: Its images.
        prevalence: How often the model met it in training: a count or a share; None if unknown.
        bin: many, med or few, by that; None if unknown.
    """

    id: str
    name: str
    prompt: str
    images: Dataset
    prevalence: float | None = None
    bin: Bin | None = None


@runtime_checkable
class Classes(Protocol):
    """A data set whose images have classes."""

    @property
    def categories(self) -> Sequence[Category]:
        """All classes, in the data set's order."""
        ...
