"""Plain background and objects of pictures, against the masks that scenes know."""

import numpy as np
import torch

from fpinv.datasets.scenes import Scenes
from fpinv.images import Frame
from fpinv.metrics.regions import regions

FACTOR = 4


def scenes(count=24):
    examples = list(Scenes(length=count))
    frame = Frame((64, 64))
    images = torch.stack([frame.pixels(e.open()) for e in examples])
    return images, [frame.mask(e.open_objects()) for e in examples]


def test_a_square_on_a_plain_ground():
    image, mask = torch.zeros(1, 3, 16, 16), torch.zeros(16, 16, dtype=torch.bool)
    image[:, 0, 4:8, 4:8], mask[4:8, 4:8] = 0.5, True
    known, unknown = regions(image, [mask], FACTOR), regions(image, [None], FACTOR)
    objects = torch.zeros(1, 4, 4, dtype=torch.bool)
    objects[:, 1, 1] = True
    assert torch.equal(known["objects"], objects)
    # The pixels on both sides of an edge differ from a neighbour.
    edge = objects.clone()
    edge[:, 0:3, 1], edge[:, 1, 0:3] = True, True
    assert torch.equal(known["plain"], ~edge)
    assert torch.equal(unknown["objects"], edge) and torch.equal(unknown["plain"], ~edge)


def test_a_slope_is_plain_up_to_the_level():
    slope = torch.arange(16.0).expand(1, 3, 16, 16)
    assert regions(2 * 0.024 * slope, [None], FACTOR)["plain"].all()
    assert not regions(2 * 0.026 * slope, [None], FACTOR)["plain"].any()


def test_cut_cells_count():
    image = torch.zeros(1, 3, 15, 18)
    image[..., -1, -1] = 1
    plain = regions(image, [None], FACTOR)["plain"]
    assert plain.shape == (1, 4, 5) and not plain[0, -1, -1] and plain[0, :-1, :-1].all()


def test_regions_of_scenes_are_apart_and_large():
    images, masks = scenes()
    found = regions(images, masks, FACTOR)
    assert not (found["plain"] & found["objects"]).any()
    shares = {name: mask.double().mean() for name, mask in found.items()}
    assert shares["plain"] > 0.3 and shares["objects"] > 0.15


def test_without_masks_the_background_of_scenes_is_found():
    """Without a mask, plain cells are background or lie inside a plain object, and on no edge."""
    images, masks = scenes()
    known, unknown = regions(images, masks, FACTOR), regions(images, [None] * 24, FACTOR)
    assert (unknown["plain"] | ~known["plain"]).all()
    background = ~known["objects"]
    assert (unknown["plain"] & background)[background].double().mean() > 0.5
    assert (unknown["plain"] & known["objects"])[known["objects"]].double().mean() < 0.4


def test_object_masks_are_where_a_scene_differs_from_its_background():
    example = Scenes(objects=1)[0]
    mask, picture = example.open_objects(), np.asarray(example.open()).astype(int)
    assert mask.shape == (64, 64) and 0.05 < mask.mean() < 0.5
    far = picture[~mask].mean(0)
    assert np.abs(picture[mask].mean(0) - far).max() > 10
