from dataclasses import replace

import numpy as np
import pytest
import torch
import toy
from PIL import Image

from fpinv.datasets.example import Example
from fpinv.datasets.scenes import Scenes
from fpinv.denoiser import Denoiser
from fpinv.inversion import Inversion
from fpinv.inverters.adjustment import PromptAware
from fpinv.inverters.auto.auto import Auto
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.edict import EDICT
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.ife import IFE
from fpinv.sampling import sample, spent
from fpinv.tasks.reconstruction import Reconstruction
from fpinv.tasks.task import Settings

EXACT = FixedPoint(100, 1e-10)


def examples(n=5):
    g = np.random.default_rng(0)
    images = g.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    return [Example(f"e{k}", f"prompt {k}", Image.fromarray(x)) for k, x in enumerate(images)]


def settings(**change):
    return Settings(**{"steps": 10, "guidance": 2.0, "seed": 0, "batch_size": 2} | change)


def run(inverter=EXACT, items=None, task=None, **change):
    items = examples() if items is None else items
    return list((task or Reconstruction())(toy.ToyModel(), inverter, items, settings(**change)))


def column(records, name):
    return [r.metrics[name] for r in records]


def test_exact_inversion_reaches_the_ceiling():
    records = run()
    assert [r.id for r in records] == [f"e{k}" for k in range(5)]
    assert max(abs(gap) for gap in column(records, "gap")) < 1e-3
    assert min(column(records, "latent_psnr")) > 100
    assert max(column(records, "residual")) <= 1e-6


def test_gap_and_latent_error_fall_with_iterations():
    errors = [np.mean(column(run(FixedPoint(k)), "latent_psnr")) for k in (1, 2, 4)]
    assert errors[0] + 5 < errors[1] and errors[1] + 5 < errors[2]


def test_fixed_points_foretell_their_errors_without_guidance():
    records = run(FixedPoint(4), guidance=1.0)
    foretold = [m.metrics["latent_psnr_expected"] - m.metrics["latent_psnr"] for m in records]
    assert [r.metrics["foretold"] for r in records] == [1.0 * (gap <= 1) for gap in foretold]
    assert max(map(abs, foretold)) < 20, "the toy magnifies more than a denoiser"
    assert "foretold" not in run(FixedPoint(4), guidance=3.0)[0].metrics
    other = run(FixedPoint(4, inversion_guidance=1.0), guidance=3.0)[0].metrics
    same = run(FixedPoint(4, inversion_guidance=1.0), guidance=1.0)[0].metrics
    assert "latent_psnr_expected" not in other and "latent_psnr_expected" in same


def test_record_of_one_image_is_complete():
    record = run(FixedPoint(3))[0]
    m = record.metrics
    assert m["gap"] == pytest.approx(m["ceiling_psnr"] - m["psnr"])
    assert (m["nfe_calls"], m["nfe_rows"]) == (30, 60)
    assert (m["sample_nfe_calls"], m["sample_nfe_rows"], m["adjust_nfe_calls"]) == (10, 20, 0)
    assert m["iterations"] == 3 and m["stored_numbers"] == 0 and m["seconds_per_image"] > 0
    assert m["adjustment_distance"] == 0
    assert len(record.series["residual"]) == 10 and record.series["iterations"] == [3] * 10
    traces = [record.series[f"residual_{n}"] for n in (1, 2, 3)]
    assert traces[2] == record.series["residual"] and "residual_4" not in record.series
    assert all(a > b > c for a, b, c in zip(*traces, strict=True))
    assert m["residual"] == pytest.approx(np.mean(record.series["residual"]))
    assert set(record.images) == {"original", "ceiling", "reconstruction", "difference"}
    original = np.asarray(record.images["original"])
    assert np.array_equal(original, np.asarray(examples()[0].image))


def test_an_inverter_that_stops_below_the_noise_has_no_measures_of_it():
    low, high = (run(EDICT(strength=s))[0].metrics for s in (0.5, 1.0))
    names = {name for name in high if name.startswith("noise_")}
    assert "noise_norm" in names and high["noise_norm"] > 0
    assert all(low.get(name) is None for name in names)


def test_psnr_equals_that_of_the_pictures():
    record = run(DDIM())[0]
    a, b = (np.asarray(record.images[n], float) / 255 for n in ("original", "reconstruction"))
    assert record.metrics["psnr"] == pytest.approx(-10 * np.log10(((a - b) ** 2).mean()), abs=0.1)


def test_residual_of_explicit_methods_is_none():
    record = run(DDIM())[0]
    assert record.metrics["residual"] is None and record.metrics["iterations"] is None
    assert run(IFE())[0].metrics["residual"] > 0


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_results_do_not_depend_on_the_batch(batch_size):
    task = Reconstruction(adjustment=PromptAware())
    a, b = run(task=task), run(task=task, batch_size=batch_size)
    for name in ("psnr", "latent_mse", "nfe_calls", "adjustment_distance"):
        assert column(a, name) == pytest.approx(column(b, name), rel=1e-4)


def test_unreadable_image_fails_alone(tmp_path):
    items, broken = examples(), tmp_path / "broken.jpg"
    broken.write_bytes(b"no jpeg")
    items[1] = Example("e1", "broken", broken)
    records = run(items=items)
    assert [r.error is None for r in records] == [True, False, True, True, True]
    assert "broken.jpg" in records[1].error and records[1].id == "e1"
    assert column(run(), "psnr")[2] == pytest.approx(records[2].metrics["psnr"], rel=1e-6)
    everything = [Example("x", "y", broken)] * 2
    assert all(r.error for r in run(items=everything))


def test_generated_images_have_a_seed_error():
    items = [Example(f"g{k}", f"prompt {k}", seed=k) for k in range(3)]
    exact = Reconstruction(invert_known=True)
    recovered = run(EXACT, items, exact)
    assert max(column(recovered, "seed_error")) < 1e-5
    assert max(column(recovered, "reconstruction_distance")) < 1e-4
    ddim = run(DDIM(), items, exact)
    assert min(column(ddim, "seed_error")) > 1e-3
    encoded = run(EXACT, items)
    assert min(column(encoded, "encoding_distance")) > 1e-6
    assert column(encoded, "encoding_distance") == pytest.approx(
        column(encoded, "reconstruction_distance"), rel=1e-3
    )


def test_generated_image_equals_sampling_from_the_stock_seed():
    """The stock pipeline draws its noise after ``torch.manual_seed(seed)``."""
    model = toy.ToyModel()
    noise = torch.randn(1, *toy.SHAPE, generator=torch.Generator().manual_seed(7))
    latents = sample(model.denoiser(10), noise, model.condition(["p"], 2.0))
    record = run(items=[Example("g", "p", seed=7)])[0]
    expected = ((model.decode(latents)[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(record.images["original"]), expected)


def test_adjustment_moves_the_latents_and_costs_evaluations():
    record = run(task=Reconstruction(adjustment=PromptAware()))[0]
    assert record.metrics["adjustment_distance"] > 0
    assert record.metrics["adjust_nfe_calls"] == 4
    assert record.metrics["latent_psnr"] > 100


def test_noised_steps_take_noise_of_the_image_and_the_seed():
    """One picture under two names is noised in two ways, and like itself whatever the batch."""
    items = [replace(examples()[0], id=name) for name in ("a", "b", "a2")]
    z = [r.inversion.noise for r in run(items=items, noised_steps=3, batch_size=3)]
    alone = run(items=items[1:2], noised_steps=3)[0].inversion.noise
    assert torch.allclose(z[1], alone, rtol=1e-4, atol=1e-5)
    assert all((a - b).abs().max() > 0.1 for a, b in zip(z, z[1:], strict=False))
    other = run(items=items[:1], noised_steps=3, seed=1)[0].inversion.noise
    assert (z[0] - other).abs().max() > 0.1


def test_more_noised_steps_cost_more_of_the_image():
    gaps = [np.mean(column(run(noised_steps=k), "gap")) for k in (0, 2, 5, 10)]
    assert gaps == sorted(gaps) and gaps[0] < 0.01 < gaps[1]


def test_noise_of_scenes_is_measured_in_its_regions():
    """The bundled VAE's grid: 16 x 16 cells of a picture, whose objects are known."""

    class Fine(toy.ToyModel):
        image_size, latent_shape = (64, 64), (1, 16, 16)

        def denoiser(self, steps):
            return Denoiser(lambda z, t, embedding: z, toy.schedule(steps), torch.float64)

    class Noise(FixedPoint):
        def invert(self, denoiser, z0, condition):
            noise = torch.stack([torch.randn(z0.shape[1:]) for _ in z0])
            return Inversion(noise, **spent(condition, 0))

        def sample(self, denoiser, inversion, condition):
            return inversion.noise

    items = [Scenes()[k] for k in range(8)]
    records = list(Reconstruction()(Fine(), Noise(), items, settings(batch_size=8)))
    for region in ("plain", "objects"):
        values = [v for v in column(records, f"noise_variance_{region}") if v is not None]
        assert len(values) >= 6 and np.mean(values) == pytest.approx(1, abs=0.15)
    assert np.mean(column(records, "noise_correlation")) == pytest.approx(0, abs=0.06)
    assert run()[0].metrics["noise_variance_plain"] is None  # of a grid of 4 x 4 cells


def test_learned_distance_is_recorded_by_its_name():
    class Distance:
        name = "lpips_alex"

        def __call__(self, images, reference):
            assert images.min() >= -1 and images.max() <= 1
            return (images - reference).abs().mean((1, 2, 3))

    record = run(task=Reconstruction(perceptual=Distance()))[0]
    assert 0 < record.metrics["lpips_alex"] < 1


@pytest.mark.parametrize(("batch_size", "tolerance"), [(1, 0), (4, 1e-4)])
def test_interrupted_run_yields_equal_records(batch_size, tolerance):
    """A resumed run does the remaining examples, in other batches."""
    task = Reconstruction(adjustment=PromptAware())
    inverter = FixedPoint(8, 1e-3)
    whole = run(inverter, task=task, batch_size=batch_size)
    resumed = run(inverter, examples()[:2], task, batch_size=batch_size)
    resumed += run(inverter, examples()[2:], task, batch_size=batch_size)
    for a, b in zip(whole, resumed, strict=True):
        for name in a.metrics.keys() - {"seconds_per_image"}:
            expected = b.metrics[name]
            if expected is not None:
                expected = pytest.approx(expected, rel=tolerance, abs=0)
            assert a.metrics[name] == expected, name
        if not tolerance:
            assert a.series == b.series
            assert torch.equal(a.inversion.noise, b.inversion.noise)


def test_diverged_image_fails_alone():
    class Diverging(DDIM):
        def invert(self, denoiser, z0, condition):
            inversion = super().invert(denoiser, z0, condition)
            inversion.noise[1] = float("nan")
            return inversion

    records = run(Diverging(), batch_size=3)
    assert [r.error is None for r in records] == [True, False, True, True, False]
    assert "not finite" in records[1].error


@pytest.mark.parametrize("inverter", [DDIM(), FixedPoint(3), IFE(), EDICT(), Auto()])
def test_overflow_in_half_precision_names_the_remedy(inverter):
    records = list(Reconstruction()(toy.Overflowing(), inverter, examples(2), settings()))
    for record in records:
        assert "not finite; fp16 ends at 65504: try precision=bf16 or fp32" in record.error


def test_decoder_failure_costs_one_image():
    def draw():
        raise ZeroDivisionError("odd header")

    items = examples(3)
    items[1] = Example("e1", "odd", draw)
    records = run(items=items)
    assert [r.error is None for r in records] == [True, False, True]
    assert "odd header" in records[1].error and "e1" in records[1].error


def test_examples_with_and_without_an_image_mix():
    items = [*examples(2), Example("g", "prompt", seed=1), Example("n", "neither"), *examples(1)]
    records = run(items=items, batch_size=8)
    assert [r.id for r in records] == ["e0", "e1", "g", "n", "e0"]
    assert "seed_error" in records[2].metrics and "seed_error" not in records[0].metrics
    assert "neither an image nor a seed" in records[3].error


def test_record_has_all_metrics_that_the_task_names():
    assert set(Reconstruction.metrics) <= run()[0].metrics.keys()
