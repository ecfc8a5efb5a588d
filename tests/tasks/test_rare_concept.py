"""The rare-concept task on a toy: the four rows, times, losses, small classes and failures."""

import dataclasses
import math
import time

import pytest
import torch
import toy
from judges import Brightness, Shades, Thumbnails, broken
from tiny_models import tiny_model

from fpinv.errors import UserError
from fpinv.inverters.edict import EDICT
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.run.folder import RunFolder
from fpinv.seeds.centroids import FrechetMean, NAOCentroid
from fpinv.seeds.prior import NormPrior
from fpinv.seeds.seedselect import SeedSelect
from fpinv.tasks.rare_concept import RareConcept
from fpinv.tasks.saved_inversions import entries_of
from fpinv.tasks.task import Settings

THUMBNAILS = Thumbnails(2)
SELECT = SeedSelect(THUMBNAILS, iterations=2)
ROWS = {
    "plain": {},
    "centroid": {"centroid": FrechetMean()},
    "seedselect": {"seedselect": SELECT},
    "both": {"centroid": FrechetMean(), "seedselect": SELECT},
}


def task(**change):
    defaults = {"classifier": Brightness(), "features": "classifier", "images": 3, "references": 2}
    return RareConcept(**defaults | {"real": 2} | change)


def run(rare=None, dataset=None, model=None, limit=3, inverter=None, **change):
    rare = rare or task()
    settings = Settings(**{"steps": 5, "guidance": 1.0, "seed": 0, "batch_size": 2} | change)
    groups = rare.group(dataset or Shades(), settings.seed)
    examples = [groups[k] for k in range(min(limit, len(groups)))]
    return list(rare(model or toy.ToyModel(), inverter or FixedPoint(3), examples, settings))


@pytest.mark.parametrize("row", ROWS)
def test_record_is_complete_for_every_row_of_the_table(row):
    records = run(task(**ROWS[row]))
    assert [record.id for record in records] == ["dark-0000", "bright-0000", "checked-0000"]
    for record in records:
        m = record.metrics
        assert record.error is None and set(RareConcept.metrics) <= m.keys()
        assert list(record.images) == ["sheet"]
        assert record.arrays["generated"].shape == (3, 12)
        assert (m["loss_start"] is None) == ("seedselect" not in ROWS[row])
        optimised = [name for name in record.series if name.startswith("seedselect")]
        assert len(optimised) == (3 if "seedselect" in ROWS[row] else 0)
        assert ("centroid_0" in record.series) == ("centroid" in ROWS[row])


def test_seedselect_lowers_the_loss_and_keeps_the_norm():
    record = run(task(seedselect=SeedSelect(THUMBNAILS, iterations=8, patience=9)))[0]
    assert record.metrics["loss_end"] < record.metrics["loss_start"]
    assert record.metrics["norm_ratio"] == pytest.approx(NormPrior(16).mode / 4, rel=1e-5)


def test_no_image_is_inverted_without_a_centroid():
    class Inverter(FixedPoint):
        def invert(self, *_):
            raise AssertionError("was called")

    assert all(record.error is None for record in run(inverter=Inverter()))


def test_saved_inversions_replace_the_inversion(tmp_path):
    class Unused(FixedPoint):
        def invert(self, *_):
            raise AssertionError("was called")

    inverted = run(task(**ROWS["centroid"]))
    folder = RunFolder(tmp_path)
    for record in inverted:
        folder.append(
            record, entries=entries_of(record, {"model": "toy", "steps": 5, "guidance": 1.0})
        )
    loaded = run(task(**ROWS["both"], inversions=str(tmp_path)), inverter=Unused(3))
    recomputed = run(task(**ROWS["both"]))
    for a, b in zip(loaded, recomputed, strict=True):
        assert torch.equal(a.arrays["generated"], b.arrays["generated"])


def test_random_seeds_depend_on_run_class_and_image_alone():
    records = run()
    for a, b in zip(records, run(batch_size=1, limit=2), strict=False):
        assert torch.allclose(a.arrays["generated"], b.arrays["generated"], atol=1e-5)
    generated = records[0].arrays["generated"]
    assert not torch.allclose(generated[0], generated[1])
    assert not torch.allclose(run(seed=1)[0].arrays["generated"], generated)


@pytest.mark.parametrize("row", ROWS)
def test_results_do_not_depend_on_the_batch(row):
    rare = task(**ROWS[row])
    alone, *batched = (run(rare, batch_size=size) for size in (1, 7, 9))
    for records in batched:
        for a, b in zip(alone, records, strict=True):
            assert torch.allclose(a.arrays["generated"], b.arrays["generated"], atol=1e-5)
            for name in a.series:
                assert a.series[name] == pytest.approx(b.series[name], rel=1e-5)


@pytest.mark.parametrize("row", ROWS)
def test_batches_of_classes_have_the_batch_size(row):
    model = toy.Counted()
    records = run(task(**ROWS[row]), model=model, limit=2, batch_size=6)
    assert set(model.denoised) == set(model.coded) == {6}
    assert len({record.metrics["seconds_opt"] for record in records}) == 1


def test_class_larger_than_a_batch_is_split():
    model = toy.Counted()
    run(task(**ROWS["both"]), model=model, batch_size=2)
    assert set(model.denoised) == set(model.coded) == {1, 2}


def test_classes_with_sets_of_different_sizes_share_a_batch():
    class Uneven(Shades):
        @property
        def categories(self):
            dark, bright, checked = super().categories
            return [dataclasses.replace(dark, images=dark.images[:3]), bright, checked]

    rare = task(references=5, **ROWS["both"])
    alone, together = (run(rare, Uneven(), batch_size=size) for size in (1, 9))
    for a, b in zip(alone, together, strict=True):
        assert torch.allclose(a.arrays["generated"], b.arrays["generated"], atol=1e-5)


def test_class_with_too_few_images_repeats_them():
    records = run(task(references=5, centroid=FrechetMean()), Shades(per_class=4))
    assert all(r.error is None and r.arrays["generated"].shape == (3, 12) for r in records)
    assert all(record.arrays["real"].shape == (4, 12) for record in records)


def test_copies_are_told_from_different_images():
    """A class with as many images as an image has references has a single set of them."""
    few, own = RareConcept.metrics[-1], {"images": 3, "references": 4}
    assert few == "different_starts"
    for rare, starts in ((task(**ROWS["centroid"], **own), 1), (task(**own), 3)):
        (record,) = run(rare, Shades(per_class=4), limit=1)
        assert record.metrics[few] == starts
        copies = (record.arrays["generated"][1:] - record.arrays["generated"][:1]).abs().max()
        assert (copies < 1e-5) == (starts == 1)


def test_the_time_of_a_start_has_no_warm_up(monkeypatch):
    def warm_up(*args):
        time.sleep(0.3)

    monkeypatch.setattr("fpinv.tasks.seed_pipeline.warm_up", warm_up)
    (record,) = run(task(**ROWS["centroid"], images=1), limit=1)
    assert 0 < record.metrics["seconds_init"] < 0.3


def test_failure_costs_one_class():
    class Broken(Shades):
        @property
        def categories(self):
            dark, bright, checked = super().categories
            images = [dataclasses.replace(image, image=broken) for image in dark.images]
            return [dataclasses.replace(dark, images=images), bright, checked]

    class Diverging(FixedPoint):
        def invert(self, denoiser, z0, condition):
            inversion = super().invert(denoiser, z0, condition)
            inversion.noise[z0.mean((1, 2, 3)) > 0.2] = torch.nan
            return inversion

    records = run(task(centroid=FrechetMean()), Broken(), inverter=Diverging(), batch_size=9)
    assert "odd header" in records[0].error and "diverged" in records[1].error
    assert records[2].error is None


def test_nonfinite_images_fail_their_class_alone():
    rare = task(centroid=FrechetMean())
    records = run(rare, model=toy.NothingBright(), batch_size=9)
    assert [r.error is None for r in records] == [True, False, True]
    for a, b in zip(records, run(rare, batch_size=9), strict=True):
        assert a.error or torch.equal(a.arrays["generated"], b.arrays["generated"])


@pytest.mark.parametrize("row", ROWS)
def test_overflowing_network_yields_errors_without_arrays(row):
    for record in run(task(**ROWS[row]), model=toy.Overflowing()):
        assert "fp16 ends at 65504" in record.error and not record.arrays


def test_inverter_with_state_raises_user_error_where_it_is_used():
    with pytest.raises(UserError, match="EDICT needs more than z_N"):
        run(task(centroid=FrechetMean()), inverter=EDICT())
    assert all(record.error is None for record in run(inverter=EDICT()))


@pytest.mark.parametrize(
    "wrong", [{"images": 0}, {"references": 0}, {"real": -1}, {"prompting": "none"}]
)
def test_impossible_arguments_raise_user_error(wrong):
    (key,) = wrong
    with pytest.raises(UserError, match=f"task.{key}"):
        task(**wrong)


@pytest.mark.parametrize("family", ["sd15", "sd3", "flux"])
def test_rare_concept_runs_on_pipelines(family, tmp_path):
    model = tiny_model(family, tmp_path)
    rare = task(centroid=NAOCentroid(resolution=5), seedselect=SELECT, images=1)
    (record,) = run(rare, model=model, limit=1, guidance=2.0)
    m = record.metrics
    assert record.error is None and m["seconds_init"] > 0 and m["seconds_opt"] > 0
    assert m["loss_end"] <= m["loss_start"] and math.isfinite(m["loss_end"])
    assert m["norm_ratio"] == pytest.approx(1, abs=0.02)
