"""Groups of images of one class, for the tasks that work on several at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        further: Further images of the class, to compare results with; as many as it has.
    """

    category: Category
    members: tuple[Example, ...]
    further: tuple[Example, ...] = ()


class Groups(Dataset):
    """Groups of a data set's images by class, the classes taking turns.

    The first group of every class comes before the second of any, so that a limit cuts all
    classes alike. A class's images are shuffled; its groups do not overlap. Groups take their
    members from the front, and their further images from the back, so that none of these is a
    member of another group, or serves two groups, as long as the class has images enough.

    Arguments:
        dataset: The data set.
        size: Images of a group.
        further: Further images of the class that go with each group, as far as it has them.
        seed: Seed of the shuffling, which depends on this and on the class alone.
        most: Groups of a class, at most; None for as many as there are.
        whole: A class of fewer images than ``size`` makes one group of all its images.

    Raises:
        UserError: the data set has no classes, or none with enough images.
    """

    def __init__(
        self,
        dataset: Dataset,
        size: int,
        further: int = 0,
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
        self._size, self._further, self._seed = size, further, seed
        least = 1 if whole else size
        images = [len(category.images) for category in self._categories]
        self._places = _turns([max(n // size, int(n >= least)) for n in images], most)
        if not self._places:
            raise UserError(f"no class has {least} images: ask for fewer, or add images")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Group:
        number, k = self._places[index]
        category, size = self._categories[k], self._size
        order = shuffled(len(category.images), self._seed, category.id)
        begin, end = number * size, (number + 1) * size
        others = (order[:begin] + order[end:])[::-1]
        places = range(number * self._further, (number + 1) * self._further)
        further = list(dict.fromkeys(others[j % len(others)] for j in places if others))
        return Group(
            f"{category.id}-{number:04d}",
            category.prompt,
            category=category,
            members=tuple(category.images[j] for j in order[begin:end]),
            further=tuple(category.images[j] for j in further),
        )


def _turns(counts: Sequence[int], most: int | None) -> list[tuple[int, int]]:
    """Return (number, class) of all groups in order, from the count of groups in each class."""
    return sorted((number, k) for k, n in enumerate(counts) for number in range(min(n, most or n)))


def shuffled(length: int, seed: int, *purpose: str) -> list[int]:
    """Return the numbers 0, ..., length - 1 in an order set by the seed and the purpose."""
    return torch.randperm(length, generator=generator(seed, *purpose)).tolist()


def subsets(items: int, size: int, seed: int, purpose: str) -> Iterator[tuple[int, ...]]:
    """Yield endless sets of ``size`` different numbers below ``items``, or of all if fewer.

    The sets are disjoint and in order until all numbers are used; then the numbers are shuffled.
    """
    size, order = min(size, items), list(range(items))
    for turn in count(1):
        for begin in range(0, items - size + 1, size):
            yield tuple(order[begin : begin + size])
        order = shuffled(items, seed, purpose, str(turn))
