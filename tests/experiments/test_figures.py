"""The paper's figures, from records of chosen numbers."""

import numpy as np
import pytest
import scripts

from fpinv.errors import UserError
from fpinv.reporting.experiment import Job
from fpinv.reporting.figures import as_picture

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
    """Return a job of the reconstruction task: means are the names of MEASURED, and distances."""
    means = {name: changed.pop(name, value) for name, value in MEASURED.items()}
    means |= {name: changed.pop(name) for name in list(changed) if "distance" in name}
    intervals = {name: {"mean": mean, "ci95": 0.5} for name, mean in means.items()}
    return Job("0", overrides or {}, HEADER | changed | intervals, examples=examples)


def exact():
    """Return a job whose images are all exact, so that no mean of decibels exists."""
    values = job()
    return Job(values.name, values.overrides, values.summary | {"latent_psnr": None})


def line(ratios, count=4, steps=4):
    """Return an example whose residuals fall by one of the ratios at each step of the grid."""
    trace = [[0.1 * ratio**k for ratio in ratios] for k in range(count)]
    return {f"residual_{k + 1}": residuals for k, residuals in enumerate(trace)} | {"id": "a"}


def test_figure_3_finds_the_ratios_and_the_rises():
    values = figure3.traced(line([0.5, 0.2, 1.25, 0.1]))
    assert values["ratios"] == pytest.approx([0.5, 0.2, 1.25, 0.1])
    assert values["rises"] == 0.25
    assert values["middle"] == pytest.approx([0.1, 0.125, 0.15625, 0.1953125])


def test_figure_3_leaves_rounding_and_infinities_out():
    rounded = line([0.1, 0.1, 0.1, 0.1], count=7)
    rounded |= {"residual_6": [3e-6] * 4, "residual_7": [None, 4e-6, 4e-6, 4e-6]}
    values = figure3.traced(rounded)
    assert values["rises"] == 0 and max(values["ratios"]) < 0.25
    diverged = {"residual_1": [0.1, None], "residual_2": [None, None]}
    assert figure3.traced(diverged)["ratios"] == [None, None]
    assert "ratios" not in figure3.traced({"residual_1": [0.1, 0.2]})


def test_figure_3_has_a_row_of_panels_and_a_table_for_each_guidance():
    jobs = [
        job({figure3.ITERATIONS: str(k)}, [figure3.traced(line([0.5] * 4, k))], guidance=w)
        for w in (1.0, 3.0)
        for k in (3, 1)
    ]
    results = figure3.make(jobs)
    assert results.text.count("| inverter |") == 2 and "median 0.500" in results.text
    assert results.text.index("| fpi 1 |") < results.text.index("| fpi 3 |")
    assert len(results.pictures["iterations.png"]().axes) == 2 * 4


def test_figure_4_needs_both_adjustments_and_leaves_out_absent_distances():
    distances = {"encoding_distance": 2.0, "adjusted_distance": 1.5, "adjustment_distance": 1.0}
    both = [job(adjustment=name, **distances) for name in ("none", "prompt_aware")]
    text = figure4.make(both).text
    assert "| encoded, z_0 to E(D(z_0)) | 2.00 ± 0.50 | 2.00 ± 0.50 |" in text
    assert "| what came back, to z_0 | - | - |" in text
    with pytest.raises(UserError, match="adjustment=prompt_aware"):
        figure4.make(both[:1])


def test_figure_5_has_a_row_an_inverter_the_fastest_first():
    jobs = [job(), job(inverter="ddim", seconds_per_image=0.5, psnr=20.0)]
    results = figure5.make(jobs)
    assert results.text.index("| ddim |") < results.text.index("| fpi |")
    assert np.asarray(as_picture(results.pictures["psnr_time.png"])).std() > 0


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


def test_guidance_sweep_has_a_column_a_guidance():
    jobs = [job(guidance=w, inverter=name) for name in ("fpi", "ddim") for w in (3.0, 1.0)]
    results = guidance.make([*jobs, job(inverter="edict", latent_psnr=120.0)])
    assert guidance.table([exact()], guidance.LATENT).endswith("| fpi | ∞ |")
    assert "| inverter | w = 1 | w = 3 |" in results.text
    assert "| edict |  | 2.00 ± 0.50 |" in results.text
    (_, right) = results.pictures["guidance.png"]().axes
    assert max(max(line.get_ydata()) for line in right.get_lines()) == guidance.CAP
    assert right.get_yticklabels()[-1].get_text() == "≥ 75", "the axis says that it is capped"


def test_ife_table_has_its_variants_and_names_the_measured_distance():
    variant = {"inverter.variant": "cached"}
    jobs = [job(), job(variant, inverter="ife", nfe_calls=4, features_distance=1.0)]
    jobs = [
        Job(j.name, j.overrides, j.summary | {"features_scenes": {"mean": 0.1, "ci95": None}})
        for j in jobs
    ]
    text = ife.experiment.make(jobs).text
    assert "perceptual distance (features_scenes)" in text
    assert text.index("| ife cached |") < text.index("| fpi |")
