"""The interpolation task on a toy: records, pictures, batches, failures and refusals."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import toy
from judges import Brightness, Shades, broken
from tiny_models import tiny_model

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
from fpinv.run.folder import RunFolder
from fpinv.seeds.centroids import FrechetMean, Mean
from fpinv.seeds.paths import Linear, NAOPath, Slerp
from fpinv.tasks.interpolation import Interpolation
from fpinv.tasks.saved_inversions import entries_of
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


@pytest.fixture
def strips(monkeypatch):
    """The tiles of each record's strip."""
    strips = []

    def grid(rows, titles):
        strips.append([tile.picture for tile in rows[0]])
        assert len(titles) == len(rows[0])
        return strips[-1][0]

    monkeypatch.setattr("fpinv.tasks.interpolation.grid", grid)
    return strips


def run(interpolation=None, dataset=None, inverter=EXACT, model=None, limit=3, **change):
    interpolation = interpolation or task()
    settings = Settings(**{"steps": 5, "guidance": 1.0, "seed": 0, "batch_size": 2} | change)
    groups = interpolation.group(dataset or Shades(), settings.seed)
    examples = [groups[k] for k in range(min(limit, len(groups)))]
    return list(interpolation(model or toy.ToyModel(), inverter, examples, settings))


def test_record_of_a_path_is_complete(strips):
    interpolation = task(points=6)
    assert isinstance(interpolation, Grouping) and isinstance(interpolation, Pooling)
    records = run(interpolation)
    assert [r.id for r in records] == ["dark-0000", "bright-0000", "checked-0000"]
    assert [len(tiles) for tiles in strips] == [8, 8, 8], "2 originals and 6 points"
    for record in records:
        assert set(Interpolation.metrics) <= record.metrics.keys()
        assert list(record.images) == ["strip"]
        assert record.arrays["generated"].shape == (4, 12), "points between the ends"
        assert record.arrays["real"].shape == (4, 12)
        assert record.metrics["residual"] < 1e-5 and len(record.series["norm"]) == 6


def test_ends_of_a_path_equal_the_reconstructions(strips):
    run(task(points=3, path=Linear()), limit=1)

    # The toy's autoencoder keeps the mean grey levels of blocks of 4 x 4 pixels.
    def blocks(tile):
        return np.asarray(tile, float).mean(-1).reshape(4, 4, 4, 4).mean((1, 3))

    original_a, start, _, end, original_b = map(blocks, strips[0])
    assert np.abs(original_a - start).max() < 2
    assert np.abs(original_b - end).max() < 2


@pytest.mark.parametrize("mode", ["path", "centroid"])
def test_results_do_not_depend_on_the_ends_that_are_shown(mode, strips):
    with_ends, without = (run(task(mode=mode, points=5, ends=ends)) for ends in (True, False))
    shown = 5 if mode == "path" else 6
    assert {len(tiles) for tiles in strips[3:]} == {shown}, "originals and what is judged"
    for a, b in zip(with_ends, without, strict=True):
        assert np.array_equal(a.arrays["generated"], b.arrays["generated"])
        assert a.metrics["norm_ratio"] == b.metrics["norm_ratio"]
        assert len(a.series["norm"]) == len(b.series["norm"])


def test_accuracy_is_recorded_in_the_bin_of_the_class():
    dark, bright, checked = (record.metrics for record in run())
    assert dark["accuracy"] == dark["accuracy_few"] and dark["accuracy_many"] is None
    assert bright["accuracy"] == bright["accuracy_many"] and bright["accuracy_few"] is None
    assert checked["accuracy"] is None


@pytest.mark.parametrize("centroid", [Mean(), FrechetMean()])
def test_record_of_a_centroid_is_complete(centroid, strips):
    records = run(task(mode="centroid", size=3, centroid=centroid))
    assert [len(tiles) for tiles in strips] == [4, 4, 4], "3 originals and the centroid"
    for record in records:
        assert set(Interpolation.metrics) <= record.metrics.keys()
        assert record.arrays["generated"].shape == (1, 12)
        assert ("loss" in record.series) == isinstance(centroid, FrechetMean)


def test_series_have_the_norms_and_the_losses_of_a_search():
    inner = {}
    for path in (Linear(), Slerp(), NAOPath(resolution=13)):
        record = run(task(path=path, points=4), limit=1)[0]
        inner[type(path).__name__] = max(abs(x - 1) for x in record.series["norm"][1:-1])
        assert ("loss" in record.series) == isinstance(path, NAOPath)
    assert inner["NAOPath"] < min(inner["Linear"], inner["Slerp"])


@pytest.mark.parametrize("change", [{"path": NAOPath(resolution=7)}, {"mode": "centroid"}])
def test_results_do_not_depend_on_the_batch(change):
    alone, *batched = (run(task(**change), batch_size=size) for size in (1, 2, 5))
    for records in batched:
        for a, b in zip(alone, records, strict=True):
            for name in ("norm_ratio", "nfe_calls"):
                assert a.metrics[name] == pytest.approx(b.metrics[name], rel=1e-4)
            assert torch.allclose(a.arrays["generated"], b.arrays["generated"], atol=1e-4)


@pytest.mark.parametrize("mode", ["path", "centroid"])
def test_batches_of_groups_have_the_batch_size(mode):
    model = toy.Counted()
    records = run(task(mode=mode, points=4, size=2), model=model, inverter=DDIM(), batch_size=3)
    images = 3 * (4 if mode == "path" else 1)
    # a call to warm up, once; twice three members with five steps; then the sampling
    assert model.denoised == [3] * (1 + 2 * 5 + images // 3 * 5)
    assert model.coded == [3] * (2 + images // 3)
    assert len({record.metrics["seconds_sample"] for record in records}) == 1


def test_unreadable_image_fails_its_pair_alone():
    class Broken(Shades):
        @property
        def categories(self):
            dark, bright, checked = super().categories
            images = [dataclasses.replace(image, image=broken) for image in bright.images]
            return [dark, dataclasses.replace(bright, images=images), checked]

    records = run(dataset=Broken())
    assert [r.error is None for r in records] == [True, False, True]
    assert "odd header" in records[1].error and "bright" in records[1].error


@pytest.mark.parametrize("part", ["noise", "residual"])
def test_diverged_inversion_fails_its_pair_alone(part):
    """Also where a step diverged and the iteration went on from its last finite latent."""

    class Diverging(FixedPoint):
        def invert(self, denoiser, z0, condition):
            inversion = super().invert(denoiser, z0, condition)
            values = getattr(inversion, part)
            values = values if part == "noise" else values.T
            values[z0.mean((1, 2, 3)) > 0.2] = torch.inf
            return inversion

    records = run(inverter=Diverging(), batch_size=3)
    assert [r.error is None for r in records] == [True, False, True]
    assert "diverged" in records[1].error


@pytest.mark.parametrize("mode", ["path", "centroid"])
def test_nonfinite_images_fail_their_group_alone(mode):
    records = run(task(mode=mode), model=toy.NothingBright(), batch_size=3)
    assert [r.error is None for r in records] == [True, False, True]
    assert "what it samples is not finite" in records[1].error
    for a, b in zip(records, run(task(mode=mode), batch_size=3), strict=True):
        assert a.error or torch.equal(a.arrays["generated"], b.arrays["generated"])


@pytest.mark.parametrize("inverter", [DDIM(), EXACT])
def test_overflowing_network_yields_errors_without_arrays(inverter):
    for record in run(inverter=inverter, model=toy.Overflowing()):
        assert "fp16 ends at 65504" in record.error and not record.arrays


@pytest.mark.parametrize("inverter", MORE_THAN_A_SEED)
def test_inverters_with_state_raise_user_error_before_any_work(inverter):
    class Untouched(toy.ToyModel):
        def encode(self, images):
            raise AssertionError("was called")

        denoiser = encode

    assert inverter.invert(toy.denoiser(), toy.latents(), toy.condition()).state
    with pytest.raises(UserError, match=r"more than z_N.*inverter=ddim, fpi") as error:
        run(inverter=inverter, model=Untouched())
    assert type(inverter).__name__ in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("inverter", [DDIM(), IFE(), FixedPoint(2), Newton(), ReNoise()])
def test_inverters_without_state_are_accepted(inverter):
    assert not inverter.invert(toy.denoiser(), toy.latents(), toy.condition()).state
    assert all(record.error is None for record in run(inverter=inverter))


class Turned(Shades):
    """Shades whose images have the same names and are turned."""

    def _images(self, name):
        images = super()._images(name)
        return [dataclasses.replace(image, image=image.image.rotate(90)) for image in images]


def test_saved_inversions_replace_the_inversion(tmp_path):
    class Unused(DDIM):
        def invert(self, denoiser, z0, condition):
            raise AssertionError("was called")

    folder, made_with = RunFolder(tmp_path), {"model": "toy", "steps": 5, "guidance": 1.0}
    inverted = run(limit=2)
    for record in inverted:
        folder.append(record, entries=entries_of(record, made_with))
    slerp = task(inversions=str(tmp_path))
    loaded = run(slerp, inverter=Unused(), limit=3)
    for a, b in zip(inverted, loaded, strict=False):
        assert torch.equal(a.arrays["generated"], b.arrays["generated"])
        assert b.metrics["nfe_calls"] == a.metrics["nfe_calls"]
    assert "no such inversion" in loaded[2].error
    assert "made with guidance 1.0, not 2.0" in run(slerp, guidance=2.0, limit=1)[0].error
    assert "made with noised_steps 0, not 1" in run(slerp, noised_steps=1, limit=1)[0].error
    config = {"inverter": {"_target_": "x.DDIM"}, "adjustment": {"_target_": "x.Grain"}}
    RunFolder(tmp_path / "c").append(
        inverted[0], entries=entries_of(inverted[0], made_with | {"config": config})
    )
    (other,) = run(task(inversions=str(tmp_path / "c")), inverter=FixedPoint(2), limit=1)
    assert "made with DDIM: use the inverter that made it" in other.error
    (other,) = run(task(inversions=str(tmp_path / "c")), inverter=DDIM(), limit=1)
    assert "made with Grain: use the adjustment that made it" in other.error
    assert "was made of another picture of this name" in run(slerp, Turned(), limit=1)[0].error
    RunFolder(tmp_path / "b").append(
        inverted[0], entries=entries_of(inverted[0], made_with | {"model_digest": "1"})
    )
    changed = run(task(inversions=str(tmp_path / "b")), limit=1)
    assert "made with model_digest '1', not '0'" in changed[0].error
    with pytest.raises(UserError, match="holds no inversions"):
        task(inversions=str(tmp_path / "images"))


def test_features_of_two_networks_are_not_pooled():
    judged = task()
    arrays = [record.arrays for record in run(judged, limit=2)]
    assert judged.pool(arrays)["fid"] is not None
    without = [{k: v for k, v in one.items() if k != "features"} for one in arrays]
    assert judged.pool(without) == judged.pool(arrays)
    other = {**arrays[1], "features": arrays[1]["features"] + 1}
    with pytest.raises(UserError, match="measured by other features than"):
        judged.pool([arrays[0], other])


def test_prompts_are_those_of_the_class_or_of_the_images():
    conditions = []

    class Model(toy.ToyModel):
        def condition(self, prompts, guidance):
            conditions.append(list(prompts))
            return super().condition(prompts, guidance)

    run(task(points=3), model=Model(), limit=1)
    assert {p for prompts in conditions for p in prompts} == {"a dark picture"}
    conditions.clear()
    run(task(points=3, prompting="own"), model=Model(), limit=1)
    first, second = (prompt for (prompt,) in conditions)
    assert first != second


def test_several_prompts_of_a_class_are_averaged_in_their_token_states():
    model = toy.ToyModel()
    pipeline = task().pipeline(
        model, DDIM(), Settings(steps=5, guidance=2.0, seed=0, batch_size=2)
    )
    mean = pipeline.condition([("a dark picture", "a bright picture"), ("a picture",)])
    apart = model.condition(["a dark picture", "a bright picture", "a picture"], 2.0)
    assert torch.allclose(mean.prompt.tokens[0], apart.prompt.tokens[:2].mean(0))
    assert torch.equal(mean.prompt.tokens[1], apart.prompt.tokens[2])
    assert torch.equal(mean.null.tokens, apart.null.tokens[:2]) and mean.guidance == 2


def test_adjustment_precedes_the_inversion():
    plain, adjusted = run(limit=1)[0], run(task(adjustment=PromptAware()), limit=1)[0]
    assert plain.metrics["norm_ratio"] != adjusted.metrics["norm_ratio"]


def test_pool_summarises_all_examples():
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
def test_impossible_arguments_raise_user_error(wrong):
    (key,) = wrong
    with pytest.raises(UserError, match=f"task.{key}"):
        task(**wrong)


@pytest.mark.parametrize("family", ["sd15", "sd3", "flux"])
def test_interpolation_runs_on_pipelines(family, tmp_path):
    model = tiny_model(family, tmp_path)
    for mode in ("path", "centroid"):
        interpolation = task(mode=mode, points=3, size=2, path=NAOPath(resolution=5))
        (record,) = run(interpolation, model=model, limit=1, inverter=FixedPoint(2), guidance=2.0)
        assert record.error is None and math.isfinite(record.metrics["norm_ratio"])
        assert record.metrics["nfe_calls"] == 10
        assert record.images["strip"].height > 64


def test_latents_of_several_sizes_are_refused():
    with pytest.raises(UserError, match="no path and no mean: use crop=center"):
        run(crop="none")
