"""The splits of the world as data sets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fpinv.datasets.classes import Category
from fpinv.datasets.example import Dataset, Example
from fpinv.datasets.scenes.captions import article, caption
from fpinv.datasets.scenes.render import object_mask, render
from fpinv.datasets.scenes.sampling import sample_scene
from fpinv.datasets.scenes.world import COUNTS, PREVALENCE, SHAPE_NAMES, SPLITS, Scene, bin_of
from fpinv.errors import UserError


class Scenes(Dataset):
    """A split of the world as examples.

    Arguments:
        split: train, val or test; no scene is in two of them.
        seed: Seed of the world.
        size: Side of the pictures in pixels.
        objects: Number of objects in every scene; None for any number.
        shapes: Shapes to draw from evenly; None for the long tail.
        length: Number of scenes; the generator itself has no end.
        class_captions: Number of full captions of single objects whose mean asks the model for a
            shape; 0 for the caption "a photo of a <shape>".

    Raises:
        UserError: an unknown split or shape, or a number of objects that scenes do not have.
    """

    domain = "scenes"

    def __init__(
        self,
        split: str = "test",
        seed: int = 0,
        size: int = 64,
        objects: int | None = None,
        shapes: Sequence[str] | None = None,
        length: int = 10_000,
        class_captions: int = 96,
    ) -> None:
        if split not in SPLITS:
            raise UserError(f"no split {split!r}; known: {', '.join(SPLITS)}")
        if objects not in (None, *COUNTS):
            raise UserError(f"scenes have 1, 2 or 3 objects, not {objects}")
        if unknown := [shape for shape in shapes or () if shape not in SHAPE_NAMES]:
            raise UserError(f"no shape {unknown[0]!r}; known: {', '.join(SHAPE_NAMES)}")
        if not isinstance(class_captions, int) or class_captions < 0:
            raise UserError(f"dataset.class_captions={class_captions} is no number: give e.g. 96")
        self.split, self.seed, self.size, self.length = split, seed, size, length
        self.class_captions = class_captions
        self.objects, self.shapes = objects, tuple(shapes) if shapes else None

    def __len__(self) -> int:
        return self.length

    def scene(self, index: int) -> Scene:
        """Return the scene behind an example."""
        return sample_scene(self.seed, index, self.split, self.objects, self.shapes)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.length:
            raise IndexError(f"scene {index} of {self.length}")
        scene = self.scene(index)
        return Example(
            id=f"scenes-{self.seed}-{self.split}-{index:06d}",
            prompt=caption(scene),
            image=partial(render, scene, self.size),
            attributes=scene.attributes(),
            objects=partial(object_mask, scene, self.size),
        )

    @property
    def categories(self) -> list[Category]:
        """A category per shape: the split's scenes with one object, of that shape.

        Raises:
            UserError: the scenes are to have several objects, and so have no class.
        """
        if self.objects not in (None, 1):
            raise UserError(
                f"dataset.objects={self.objects}: a scene has a class where it has one object: "
                "use dataset.objects=1 with this task"
            )
        return [self._category(shape) for shape in self.shapes or SHAPE_NAMES]

    def _category(self, shape: str) -> Category:
        images = Scenes(self.split, self.seed, self.size, 1, [shape], self.length)
        prompt, group = f"a photo of {article(shape)}", bin_of(shape)
        known = (
            sample_scene(self.seed, k, "train", 1, [shape]) for k in range(self.class_captions)
        )
        texts = tuple(caption(scene) for scene in known)
        return Category(shape, shape, prompt, images, PREVALENCE[group], group, texts)
