"""Paths and centroids of seeds on a toy: what is measured, shown, refused, and depends on what."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import toy
from judges import Brightness, Shades, broken
from pipelines import tiny_sd15

from fpinv.errors import UserError
from fpinv.inverters.adjustment import PromptAware
from fpinv.inverters.bdia import BDIA
from fpinv.inverters.belm import BELM
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.direct import Direct
from fpinv.inverters.edict import EDICT
from fpinv.inverters.edit_friendly import EditFriendly
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.ife import IFE
from fpinv.inverters.negative_prompt import NegativePrompt
from fpinv.inverters.newton import Newton
from fpinv.inverters.null_text import NullText
from fpinv.inverters.renoise import ReNoise
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.run.folder import RunFolder
from fpinv.seeds.centroids import FrechetMean, Mean
from fpinv.seeds.paths import Linear, NAOPath, Slerp
from fpinv.tasks.interpolation import Interpolation
from fpinv.tasks.task import Grouping, Pooling, Settings

EXACT = FixedPoint(100, 1e-10)
MORE_THAN_A_SEED = [
    BDIA(),
    BELM(),
    Direct(),
    EDICT(),
    EditFriendly(),
    NegativePrompt(),
    NullText(inner_steps=1),
]


def task(**change):
    return Interpolation(
        **{"classifier": Brightness(), "features": "classifier", "path": Slerp()} | change
    )


def run(interpolation=None, dataset=None, inverter=EXACT, model=None, limit=3, **change):
    interpolation = interpolation or task()
    settings = Settings(**{"steps": 5, "guidance": 1.0, "seed": 0, "batch_size": 2} | change)
    groups = interpolation.group(dataset or Shades(), settings.seed)
    examples = [groups[k] for k in range(min(limit, len(groups)))]
    return list(interpolation(model or toy.ToyModel(), inverter, examples, settings))


def test_a_record_of_a_path_is_complete():
    interpolation = task(points=6)
    assert isinstance(interpolation, Grouping) and isinstance(interpolation, Pooling)
    records = run(interpolation)
    assert [r.id for r in records] == ["dark-0000", "bright-0000", "checked-0000"]
    for record in records:
        assert set(Interpolation.metrics) <= record.metrics.keys()
        assert record.images["strip"].size == (8 * 16 + 7 * 2, 16), "2 originals and 6 points"
        assert record.arrays["generated"].shape == (4, 12), "points between the ends"
        assert record.arrays["real"].shape == (4, 12)
        assert record.metrics["residual"] < 1e-5 and len(record.series["norm"]) == 6


def test_ends_of_a_path_are_the_reconstructions():
    record = run(task(points=3, path=Linear()), limit=1)[0]
    strip = torch.from_numpy(np.array(record.images["strip"])).float()
    tiles = [strip[:, k * 18 : k * 18 + 16] for k in range(5)]

    # the toy's autoencoder keeps mean grey levels of 4 x 4 blocks
    def blocks(tile):
        return tile.mean(-1).view(4, 4, 4, 4).mean((1, 3))

    assert (blocks(tiles[0]) - blocks(tiles[1])).abs().max() < 2
    assert (blocks(tiles[4]) - blocks(tiles[3])).abs().max() < 2


def test_accuracy_goes_to_the_bin_of_the_class_and_unknown_classes_have_none():
    dark, bright, checked = (record.metrics for record in run())
    assert dark["accuracy"] == dark["accuracy_few"] and dark["accuracy_many"] is None
    assert bright["accuracy"] == bright["accuracy_many"] and bright["accuracy_few"] is None
    assert checked["accuracy"] is None


@pytest.mark.parametrize("centroid", [Mean(), FrechetMean()])
def test_a_record_of_a_centroid_is_complete(centroid):
    records = run(task(mode="centroid", size=3, centroid=centroid))
    for record in records:
        assert set(Interpolation.metrics) <= record.metrics.keys()
        assert record.images["strip"].size == (4 * 16 + 3 * 2, 16)
        assert record.arrays["generated"].shape == (1, 12)
        assert ("loss" in record.series) == isinstance(centroid, FrechetMean)


def test_every_path_shows_its_norms_and_the_norm_aware_one_its_losses():
    inner = {}
    for path in (Linear(), Slerp(), NAOPath(resolution=13)):
        record = run(task(path=path, points=4), limit=1)[0]
        inner[type(path).__name__] = max(abs(x - 1) for x in record.series["norm"][1:-1])
        assert ("loss" in record.series) == isinstance(path, NAOPath)
    assert inner["NAOPath"] < min(inner["Linear"], inner["Slerp"])


@pytest.mark.parametrize("change", [{"path": NAOPath(resolution=7)}, {"mode": "centroid"}])
def test_results_do_not_depend_on_the_batch(change):
    alone, *others = (run(task(**change), batch_size=size) for size in (1, 2, 5))
    for records in others:
        for one, other in zip(alone, records, strict=True):
            for name in ("norm_ratio", "nfe_calls"):
                assert one.metrics[name] == pytest.approx(other.metrics[name], rel=1e-4)
            assert torch.allclose(one.arrays["generated"], other.arrays["generated"], atol=1e-4)


@pytest.mark.parametrize("mode", ["path", "centroid"])
def test_groups_fill_the_batches_and_none_has_more(mode):
    model = toy.Counted()
    records = run(task(mode=mode, points=4, size=2), model=model, inverter=DDIM(), batch_size=3)
    images = 3 * (4 if mode == "path" else 1)
    # six members: a call to warm up and five steps; then the sampling
    assert model.denoised == [3] * (2 * 6 + images // 3 * 5)
    assert model.coded == [3] * (2 + images // 3)
    assert len({record.metrics["seconds_sample"] for record in records}) == 1


def test_an_unreadable_image_fails_its_pair_alone():
    class Broken(Shades):
        @property
        def categories(self):
            dark, bright, checked = super().categories
            images = [dataclasses.replace(image, image=broken) for image in bright.images]
            return [dark, dataclasses.replace(bright, images=images), checked]

    records = run(dataset=Broken())
    assert [r.error is None for r in records] == [True, False, True]
    assert "odd header" in records[1].error and "bright" in records[1].error


def test_a_diverged_inversion_fails_its_pair_alone():
    class Diverging(DDIM):
        def invert(self, denoiser, z0, condition):
            found = super().invert(denoiser, z0, condition)
            found.noise[z0.mean((1, 2, 3)) > 0.2] = torch.nan
            return found

    records = run(inverter=Diverging(), batch_size=3)
    assert [r.error is None for r in records] == [True, False, True]
    assert "diverged" in records[1].error


@pytest.mark.parametrize("mode", ["path", "centroid"])
def test_images_that_are_not_finite_fail_their_group_alone(mode):
    records = run(task(mode=mode), model=toy.NothingBright(), batch_size=3)
    assert [r.error is None for r in records] == [True, False, True]
    assert "what it samples is not finite" in records[1].error
    for one, other in zip(records, run(task(mode=mode), batch_size=3), strict=True):
        assert one.error or torch.equal(one.arrays["generated"], other.arrays["generated"])


@pytest.mark.parametrize("inverter", [DDIM(), EXACT])
def test_a_network_that_overflows_leaves_nothing_to_be_judged(inverter):
    for record in run(inverter=inverter, model=toy.Overflowing()):
        assert "fp16 ends at 65504" in record.error and not record.arrays


@pytest.mark.parametrize("inverter", MORE_THAN_A_SEED)
def test_inverters_that_need_more_than_a_seed_refuse_before_anything_is_done(inverter):
    class Untouched(toy.ToyModel):
        def encode(self, images):
            raise AssertionError("was asked")

        denoiser = encode

    assert inverter.invert(toy.denoiser(), toy.latents(), toy.condition()).state
    with pytest.raises(UserError, match=r"more than z_N.*inverter=ddim, fpi") as error:
        run(inverter=inverter, model=Untouched())
    assert type(inverter).__name__ in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("inverter", [DDIM(), IFE(), FixedPoint(2), Newton(), ReNoise()])
def test_the_others_are_swapped_by_a_word(inverter):
    assert not inverter.invert(toy.denoiser(), toy.latents(), toy.condition()).state
    assert all(record.error is None for record in run(inverter=inverter))


def test_saved_inversions_are_taken_instead_of_inverting_again(tmp_path):
    class Unused(DDIM):
        def invert(self, denoiser, z0, condition):
            raise AssertionError("was called")

    folder, made_with = RunFolder(tmp_path), {"model": "toy", "steps": 5, "guidance": 1.0}
    made = run(limit=2)
    for record in made:
        folder.append(record, made_with)
    slerp = task(inversions=str(tmp_path))
    taken = run(slerp, inverter=Unused(), limit=3)
    for one, other in zip(made, taken, strict=False):
        assert torch.equal(one.arrays["generated"], other.arrays["generated"])
        assert other.metrics["nfe_calls"] == one.metrics["nfe_calls"]
    assert "no such inversion" in taken[2].error
    assert "made with guidance 1.0, not 2.0" in run(slerp, guidance=2.0, limit=1)[0].error
    with pytest.raises(UserError, match="holds no inversions"):
        task(inversions=str(tmp_path / "images"))


def test_prompts_are_the_class_or_the_images_own():
    asked = []

    class Model(toy.ToyModel):
        def condition(self, prompts, guidance):
            asked.append(list(prompts))
            return super().condition(prompts, guidance)

    run(task(points=3), model=Model(), limit=1)
    assert {p for prompts in asked for p in prompts} == {"a dark picture"}
    asked.clear()
    run(task(points=3, prompting="own"), model=Model(), limit=1)
    inverted, sampled = asked
    assert len(set(inverted)) == 2 and set(sampled) == {inverted[0]}


def test_an_adjustment_takes_part():
    plain, adjusted = run(limit=1)[0], run(task(adjustment=PromptAware()), limit=1)[0]
    assert plain.metrics["norm_ratio"] != adjusted.metrics["norm_ratio"]


def test_the_summary_over_all_examples():
    interpolation = task()
    arrays = [record.arrays for record in run(interpolation, limit=9)]
    pooled = interpolation.pool(arrays)
    assert pooled["features"] == "brightness"
    assert pooled["fid"]["mean"] > 0 and pooled["fid"]["ci95"] > 0
    assert pooled["diversity"]["mean"] > 0 and pooled["diversity"]["ci95"] > 0
    assert interpolation.pool([])["fid"] is None


@pytest.mark.parametrize(
    "wrong", [{"mode": "line"}, {"points": 2}, {"size": 0}, {"real": -1}, {"prompting": "none"}]
)
def test_impossible_arguments_are_refused(wrong):
    (key,) = wrong
    with pytest.raises(UserError, match=f"task.{key}"):
        task(**wrong)


def test_a_stable_diffusion_layout_runs_both_modes(tmp_path):
    model = StableDiffusion(str(tiny_sd15(tmp_path)), "tiny", device="cpu")
    for mode in ("path", "centroid"):
        interpolation = task(mode=mode, points=3, size=2, path=NAOPath(resolution=5))
        (record,) = run(interpolation, model=model, limit=1, inverter=FixedPoint(2), guidance=2.0)
        assert record.error is None and math.isfinite(record.metrics["norm_ratio"])
        assert record.metrics["nfe_calls"] == 10
        assert record.images["strip"].height == 64
