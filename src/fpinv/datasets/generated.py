"""Prompts with seeds, from which the model generates images whose noise is known."""

from __future__ import annotations

import torch

from fpinv.datasets.example import Dataset, Example
from fpinv.seeding import generator


class Generated(Dataset):
    """The captions of another data set, each with a seed instead of an image.

    Sampling from the seed gives the image together with its z_0 and z_N, so that the recovery of
    the seed by an inversion can be measured.

    Arguments:
        dataset: The source of captions and names; its images are not used.
        seed: Number of the draw. An example's seed depends on this and on its name, not on its
            place, so that a shorter or reordered run generates the same images.
    """

    def __init__(self, dataset: Dataset, seed: int = 0) -> None:
        self._dataset = dataset
        self.domain: str | None = getattr(dataset, "domain", None)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Example:
        source = self._dataset[index]
        return Example(source.id, source.prompt, seed=_seed(self._seed, source.id))


def _seed(seed: int, id: str) -> int:
    """Return a number in [0, 2^31) for this draw of this example."""
    return int(torch.randint(2**31, (), generator=generator(seed, id, "generated")))
