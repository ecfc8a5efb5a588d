"""Classes of images and their prevalence."""

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
        id: Its id among the classes of a classifier: a WordNet id, or a plain name.
        name: Its name in words.
        prompt: The plain prompt for it.
        images: Its images.
        prevalence: Its frequency in the model's training: a count or a share; None if unknown.
        bin: many, med or few, by the prevalence; None if unknown.
        ensemble: Prompts whose mean token states ask a model for it; empty for the plain prompt.
    """

    id: str
    name: str
    prompt: str
    images: Dataset
    prevalence: float | None = None
    bin: Bin | None = None
    ensemble: tuple[str, ...] = ()

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts that ask a model for it, all together."""
        return self.ensemble or (self.prompt,)


@runtime_checkable
class Classes(Protocol):
    """A data set whose images have classes."""

    @property
    def categories(self) -> Sequence[Category]:
        """All classes, in the data set's order."""
