"""Groups of images of one class, for the tasks that work on several at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch

from fpinv.datasets.classes import Category, Classes
from fpinv.datasets.example import Dataset, Example
from fpinv.errors import UserError
from fpinv.seeding import generator


@dataclass(frozen=True, kw_only=True)
class Group(Example):
    """Some images of one class: the example of tasks that need several.

    Arguments:
        category: The class.
        members: The images that the task works on.
        others: Further images of the class, to compare results with; none where it has no more.
    """

    category: Category
    members: tuple[Example, ...]
    others: tuple[Example, ...] = ()


class Groups:
    """Groups of a data set's images by class, the classes taking turns.

    The first group of every class comes before the second of any, so that a limit cuts all
    classes alike. A class's images are shuffled; its groups do not overlap.

    Arguments:
        dataset: The data set.
        size: Images of a group.
        others: Further images of the class that go with each group, as far as it has them.
        seed: Of the shuffling, which depends on this and on the class alone.
        most: Groups of a class, at most; None for as many as there are.
        whole: Whether a class of fewer images than ``size`` makes one group of what it has.

    Raises:
        UserError: the data set has no classes, or none with enough images.
    """

    def __init__(
        self,
        dataset: Dataset,
        size: int,
        others: int = 0,
        seed: int = 0,
        most: int | None = None,
        whole: bool = False,
    ) -> None:
        if not isinstance(dataset, Classes):
            raise UserError(
                "this task works on images of one class and the data set has no classes: use "
                "dataset=scenes, or dataset=imagenet for any folder with a folder for each class"
            )
        self._categories = list(dataset.categories)
        self._size, self._others, self._seed = size, others, seed
        least = 1 if whole else size
        found = [len(category.images) for category in self._categories]
        counts = [max(n // size, int(n >= least)) for n in found]
        self._places = sorted(
            (number, k) for k, n in enumerate(counts) for number in range(min(n, most or n))
        )
        if not self._places:
            raise UserError(f"no class has {least} images: ask for fewer, or add images")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Group:
        number, k = self._places[index]
        category, size = self._categories[k], self._size
        order = shuffled(len(category.images), self._seed, category.id)
        begin, end = number * size, (number + 1) * size
        # those after this group, then those before it
        rest = (order[end:] + order[:begin])[: self._others]
        return Group(
            f"{category.id}-{number:04d}",
            category.prompt,
            category=category,
            members=tuple(category.images[j] for j in order[begin:end]),
            others=tuple(category.images[j] for j in rest),
        )


def shuffled(length: int, seed: int, *purpose: str) -> list[int]:
    """The numbers 0, ..., length - 1 in an order of their own for (seed, purpose, ...)."""
    return torch.randperm(length, generator=generator(seed, *purpose)).tolist()


def subsets(items: int, size: int, seed: int, purpose: str) -> Iterator[tuple[int, ...]]:
    """Endless sets of ``size`` different numbers below ``items`` (of all, where that is fewer).

    The first ones are disjoint and in order; when all are used up they are shuffled anew.
    """
    size, order = min(size, items), list(range(items))
    for turn in count(1):
        for begin in range(0, items - size + 1, size):
            yield tuple(order[begin : begin + size])
        order = shuffled(items, seed, purpose, str(turn))
