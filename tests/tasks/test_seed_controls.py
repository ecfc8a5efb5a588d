"""Controls of seeds on a toy: crossfades, fresh noise, and the noise of images of the model."""

import dataclasses

import pytest
import torch
import toy
from judges import Brightness, Shades

from fpinv.errors import UserError
from fpinv.inverters.edict import EDICT
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.sampling import sample
from fpinv.seeds.centroids import FrechetMean, Mean
from fpinv.seeds.paths import Linear, Slerp
from fpinv.seeds.seedselect import SeedSelect
from fpinv.tasks.interpolation import Interpolation
from fpinv.tasks.rare_concept import RareConcept
from fpinv.tasks.seed_controls import DRAWS, known_seeds, random_seeds
from fpinv.tasks.task import Settings

SETTINGS = Settings(steps=5, guidance=1.0, seed=0, batch_size=2)


class NeverInverts(FixedPoint):
    def invert(self, *_):
        raise AssertionError("was called")


def path(seeds, **change):
    defaults = {"classifier": Brightness(), "features": "classifier", "path": Slerp()}
    return Interpolation(**defaults | {"seeds": seeds, "points": 3} | change)


def rare(seeds, **change):
    defaults = {"classifier": Brightness(), "features": "classifier", "centroid": Mean()}
    sizes = {"images": 2, "references": 3, "real": 2}
    return RareConcept(**defaults | sizes | {"seeds": seeds} | change)


def run(task, dataset=None, limit=2, **change):
    settings = dataclasses.replace(SETTINGS, **change)
    groups = task.group(dataset or Shades(), settings.seed)
    examples = [groups[k] for k in range(limit)]
    return list(task(toy.ToyModel(), NeverInverts(3), examples, settings))


def loaded(task, limit=2):
    pipeline = task.pipeline(toy.ToyModel(), NeverInverts(3), SETTINGS)
    groups = task.group(Shades(), 0)
    return pipeline, [pipeline.load(groups[k]) for k in range(limit)]


def test_a_crossfade_is_the_mean_of_the_pixels():
    features = Brightness().features
    task = path("crossfade", path=Linear())
    _, groups = loaded(task)
    for record, group in zip(run(task), groups, strict=True):
        assert torch.allclose(record.arrays["generated"], features(group.members.mean(0)[None]))
        assert record.metrics["norm_ratio"] is None and record.metrics["nfe_calls"] == 0
        assert record.inversion is None
    task = path("crossfade", mode="centroid", centroid=Mean(), size=4)
    _, groups = loaded(task)
    for record, group in zip(run(task), groups, strict=True):
        assert torch.allclose(record.arrays["generated"], features(group.members.mean(0)[None]))


def test_a_crossfade_of_references_is_their_mean():
    task = rare("crossfade")
    _, groups = loaded(task)
    for record, group in zip(run(task), groups, strict=True):
        sets = group.members.unflatten(0, (2, 3)).mean(1)
        assert torch.allclose(record.arrays["generated"], Brightness().features(sets))
        assert record.metrics["accuracy_sources"] in (0, 1)


@pytest.mark.parametrize("make", [path, rare])
def test_random_seeds_know_nothing_of_the_images(make):
    class Others(Shades):
        def _images(self, name):
            images = super()._images(name)
            return [
                dataclasses.replace(a, image=b.image)
                for a, b in zip(images, reversed(images), strict=True)
            ]

    for a, b in zip(run(make("random")), run(make("random"), Others()), strict=True):
        assert torch.equal(a.arrays["generated"], b.arrays["generated"])
        assert a.metrics["accuracy_sources"] is None and a.inversion is None
    fresh = run(make("random"), seed=1)[0].arrays["generated"]
    assert not torch.allclose(run(make("random"))[0].arrays["generated"], fresh)


def test_known_seeds_are_those_of_their_images():
    pipeline, groups = loaded(path("known"))
    for group in known_seeds(pipeline, groups, lambda *_: True):
        condition = pipeline.condition([group.loaded.group.category.prompts] * 2)
        made = pipeline.model.decode(sample(pipeline.model.denoiser(5), group.noise, condition))
        assert torch.allclose(group.loaded.members, made, atol=1e-6)
    drawn = random_seeds(pipeline, groups)
    assert all(
        torch.equal(a.noise, b.noise)
        for a, b in zip(known_seeds(pipeline, groups, lambda *_: True), drawn, strict=True)
    )


def test_known_seeds_are_drawn_until_their_images_show_the_class():
    pipeline, groups = loaded(path("known", mode="centroid", size=4), limit=1)
    (first,) = known_seeds(pipeline, groups, lambda *_: True)
    bright = first.loaded.members.mean((1, 2, 3))
    middle = bright.median()
    (drawn,) = known_seeds(pipeline, groups, lambda images, _: bool(images.mean() > middle))
    assert (drawn.loaded.members.mean((1, 2, 3)) > middle).all()
    same = [torch.equal(a, b) for a, b in zip(first.noise, drawn.noise, strict=True)]
    assert same == (bright > middle).tolist()


def test_an_image_that_never_shows_the_class_ends_the_draws_and_is_counted():
    class Nothing(Brightness):
        seen = 0

        def classify(self, images):
            type(self).seen += 1
            return torch.full((len(images),), -1)

    (record,) = run(path("known", classifier=Nothing()), limit=1)
    assert record.metrics["accuracy_sources"] == 0 and record.error is None
    assert Nothing.seen == 2 * DRAWS + 2, "an image at a time; then the images and the results"


def test_known_seeds_that_overflow_are_errors_of_their_group():
    task = path("known")
    groups = task.group(Shades(), 0)
    records = task(toy.NothingBright(), NeverInverts(3), [groups[k] for k in range(3)], SETTINGS)
    errors = []
    for a, b in zip(records, run(task, limit=3), strict=True):
        assert a.error or torch.equal(a.arrays["generated"], b.arrays["generated"])
        errors.append(a.error)
    assert None in errors and any(error and "not finite" in error for error in errors)


@pytest.mark.parametrize("make", [path, rare])
@pytest.mark.parametrize("seeds", ["random", "known"])
def test_controls_do_not_depend_on_the_batch_and_take_any_inverter(make, seeds):
    task = make(seeds)
    task.check_inverter(EDICT())
    alone, together = (run(task, limit=3, batch_size=size) for size in (1, 9))
    for a, b in zip(alone, together, strict=True):
        assert torch.allclose(a.arrays["generated"], b.arrays["generated"], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "change", "remedy"),
    [
        (path, {"seeds": "none"}, "task.seeds=none is unknown"),
        (path, {"seeds": "crossfade"}, "use task/path=linear"),
        (path, {"seeds": "crossfade", "mode": "centroid"}, "task/centroid=mean"),
        (
            path,
            {"seeds": "random", "inversions": "x"},
            " has no part where no image is inverted",
        ),
        (rare, {"seeds": "crossfade", "centroid": FrechetMean()}, "use task/centroid=mean"),
        (rare, {"seeds": "crossfade", "seedselect": SeedSelect(None)}, "task.seedselect=null"),
        (rare, {"seeds": "known", "centroid": None}, "use task/centroid=nao"),
    ],
)
def test_controls_that_mean_nothing_are_refused(make, change, remedy, tmp_path):
    if "inversions" in change:
        (tmp_path / "inversions").mkdir()
        change = change | {"inversions": str(tmp_path)}
    with pytest.raises(UserError, match=remedy):
        make(**change)
