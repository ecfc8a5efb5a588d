"""The paper's figures, from records whose numbers are known."""

import numpy as np
import pytest
import scripts

from fpinv.errors import UserError
from fpinv.reporting.experiment import Job, as_picture

figure3 = scripts.load("fpi/figure3_iterations/plot")
figure4 = scripts.load("fpi/figure4_adjustment/plot")
figure5 = scripts.load("fpi/figure5_psnr_time/plot")
figure9 = scripts.load("fpi/figure9_time_budget/plot")
guidance = scripts.load("studies/guidance_sweep/plot")
ife = scripts.load("ife/ife_reconstruction/table")

HEADER = {
    "model": "scenes",
    "dataset": "scenes",
    "inverter": "fpi",
    "adjustment": "none",
    "steps": 4,
    "guidance": 3.0,
    "n": 2,
    "batch_size": 8,
    "device": "cpu",
}
MEASURED = {
    "psnr": 28.0,
    "ceiling_psnr": 30.0,
    "gap": 2.0,
    "ssim": 0.9,
    "latent_psnr": 40.0,
    "nfe_calls": 20,
    "nfe_rows": 40,
    "seconds_per_image": 2.0,
    "stored_numbers": 0,
}


def job(overrides=None, examples=(), **changed):
    """A job of the reconstruction task; means are told from the rest by their names."""
    means = {name: changed.pop(name, value) for name, value in MEASURED.items()}
    means |= {name: changed.pop(name) for name in list(changed) if "distance" in name}
    intervals = {name: {"mean": mean, "ci95": 0.5} for name, mean in means.items()}
    return Job("0", overrides or {}, HEADER | changed | intervals, examples=examples)


def exact():
    """A job all of whose images came back to the last bit, which no mean of decibels can say."""
    found = job()
    return Job(found.name, found.overrides, found.summary | {"latent_psnr": None})


def line(ratios, count=4, steps=4):
    """An example whose residuals fall by a factor of its own at each step of the grid."""
    trace = [[0.1 * ratio**k for ratio in ratios] for k in range(count)]
    return {f"residual_{k + 1}": residuals for k, residuals in enumerate(trace)} | {"id": "a"}


def test_figure_3_finds_the_ratios_and_the_rises():
    found = figure3.traced(line([0.5, 0.2, 1.25, 0.1]))
    assert found["ratios"] == pytest.approx([0.5, 0.2, 1.25, 0.1])
    assert found["rises"] == 0.25
    assert found["middle"] == pytest.approx([0.1, 0.125, 0.15625, 0.1953125])


def test_figure_3_leaves_rounding_and_infinities_out():
    rounded = line([0.1, 0.1, 0.1, 0.1], count=7)
    rounded |= {"residual_6": [3e-6] * 4, "residual_7": [None, 4e-6, 4e-6, 4e-6]}
    found = figure3.traced(rounded)
    assert found["rises"] == 0 and max(found["ratios"]) < 0.25
    diverged = {"residual_1": [0.1, None], "residual_2": [None, None]}
    assert figure3.traced(diverged)["ratios"] == [None, None]
    assert "ratios" not in figure3.traced({"residual_1": [0.1, 0.2]})


def test_figure_3_has_a_row_of_panels_and_a_table_for_each_guidance():
    jobs = [
        job({figure3.ITERATIONS: str(k)}, [figure3.traced(line([0.5] * 4, k))], guidance=w)
        for w in (1.0, 3.0)
        for k in (3, 1)
    ]
    made = figure3.make(jobs)
    assert made.text.count("| inverter |") == 2 and "median 0.500" in made.text
    assert made.text.index("| fpi 1 |") < made.text.index("| fpi 3 |")
    assert len(made.pictures["iterations.png"].axes) == 2 * 4


def test_figure_4_needs_both_adjustments_and_leaves_out_what_is_unknown():
    known = {"encoding_distance": 2.0, "adjusted_distance": 1.5, "adjustment_distance": 1.0}
    both = [job(adjustment=name, **known) for name in ("none", "prompt_aware")]
    text = figure4.make(both).text
    assert "| encoded, z_0 to E(D(z_0)) | 2.00 ± 0.50 | 2.00 ± 0.50 |" in text
    assert "| what came back, to z_0 | - | - |" in text
    with pytest.raises(UserError, match="adjustment=prompt_aware"):
        figure4.make(both[:1])


def test_figure_5_has_a_row_an_inverter_the_fastest_first():
    jobs = [job(), job(inverter="ddim", seconds_per_image=0.5, psnr=20.0)]
    made = figure5.make(jobs)
    assert made.text.index("| ddim |") < made.text.index("| fpi |")
    assert np.asarray(as_picture(made.pictures["psnr_time.png"])).std() > 0


def test_figure_9_takes_the_slowest_setting_within_a_budget():
    steps = "inverter.inner_steps"
    slow = [
        job({steps: str(k)}, inverter="null_text", seconds_per_image=s, psnr=20.0 + k)
        for k, s in ((1, 1.0), (2, 2.1), (5, 5.0), (10, 30.0))
    ]
    fpi = job()
    assert figure9.within(slow, fpi, 1) is slow[1], "a twentieth over is within"
    assert figure9.within(slow, fpi, 5) is slow[2]
    assert figure9.within(slow[3:], fpi, 5) is None
    text = figure9.make([*slow, fpi]).text
    assert "1 times fpi's: null_text, N = 4, 2 inner steps: 22.00 dB" in text
    assert "| null_text, N = 4, 10 inner steps | 15.00 |" in text
    with pytest.raises(UserError, match="no run of fpi"):
        figure9.make(slow)


def test_the_guidance_sweep_has_a_column_a_guidance():
    jobs = [job(guidance=w, inverter=name) for name in ("fpi", "ddim") for w in (3.0, 1.0)]
    made = guidance.make([*jobs, job(inverter="edict", latent_psnr=120.0)])
    assert guidance.table([exact()], guidance.LATENT).endswith("| fpi | ∞ |")
    assert "| inverter | w = 1 | w = 3 |" in made.text
    assert "| edict |  | 2.00 ± 0.50 |" in made.text
    (left, right) = made.pictures["guidance.png"].axes
    assert max(max(drawn.get_ydata()) for drawn in right.get_lines()) == guidance.CAP


def test_ife_has_its_readings_and_names_the_distance_that_was_measured():
    variant = {"inverter.variant": "cached"}
    jobs = [job(), job(variant, inverter="ife", nfe_calls=4, features_distance=1.0)]
    jobs = [
        Job(j.name, j.overrides, j.summary | {"features_scenes": {"mean": 0.1, "ci95": None}})
        for j in jobs
    ]
    text = ife.experiment.make(jobs).text
    assert "perceptual distance (features_scenes)" in text
    assert text.index("| ife cached |") < text.index("| fpi |")
