"""The tables and the picture of seeds, from runs and from what is kept of them."""

import pytest
import scripts
from finished_runs import finish

from fpinv.tasks.record import Record

plot = scripts.load("studies/seed_quality/plot")
EXPERIMENT = plot.experiment
SUCCESS = {  # of three examples each, by inverter and noised steps
    ("ddim", 0): (0, 0, 1),
    ("auto", 0): (0, 1, 1),
    ("auto", 2): (1, 1, 1),
    ("ddim", 20): (0, 0, 0),
}


def metrics(task, inverter, noised, k):
    right = float(SUCCESS.get((inverter, noised), (1, 1, 1))[k])
    match task:
        case "interpolation":
            return {"accuracy": right}
        case "editing":
            return {"edit_accuracy": right, "kept_accuracy": 1.0, "truth_psnr": 20.0 + noised}
    return {
        "gap": (1.0 if inverter == "ddim" else 0.0) + noised / 10 + k / 100,
        "noise_norm": 1.0,
        "noise_kurtosis": 0.0,
        "noise_not_normal": 1 - right,
        "noise_correlation_plain": 0.1 if "grain" in inverter else 0.6 / (1 + noised),
        "noise_correlation_objects": 0.1,
        "noise_variance_plain": 0.5,
        "noise_variance_objects": None,
    }


@pytest.fixture
def sweeps(tmp_path):
    tasks = ("reconstruction", "interpolation", "editing")
    jobs = [(task, *seed) for task in tasks for seed in SUCCESS]
    jobs += [("reconstruction", "edict", 0)]
    jobs += [("interpolation", control, 0) for control in ("known", "crossfade")]
    jobs += [("reconstruction", "auto, grain", 0), ("interpolation", "auto, grain", 0)]
    for number, (task, inverter, noised) in enumerate(jobs):
        records = [Record(f"e{k}", "p", metrics(task, inverter, noised, k)) for k in range(3)]
        folder = tmp_path / "sweeps" / task / str(number)
        header = {"task": task, "noised_steps": noised}
        overrides = [f"task.seeds={inverter}"] if inverter in ("known", "crossfade") else []
        name, *adjustment = ("ddim" if overrides else inverter).split(", ")
        header |= {"adjustment": (*adjustment, "none")[0]}
        finish(folder, records, overrides, choices={"inverter": name}, header=header)
    return tmp_path / "sweeps"


def rows(text, block):
    """Return the cells of a block's rows by the name of the seed."""
    lines = text.split(block)[1].split("\n\n")[1].splitlines()[2:]
    cells = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines)
    return {row[0]: row[1:] for row in cells}


def test_results_made_again_from_jobs_json_are_equal(sweeps):
    text = EXPERIMENT.run(sweeps).text
    assert EXPERIMENT.run(sweeps / "results").text == text
    assert (sweeps / "results" / "trade_off.png").stat().st_size > 10_000


def test_tables_join_the_jobs_of_a_seed(sweeps):
    text = EXPERIMENT.run(sweeps).text
    assert "What seeds are worth: w = 1, N = 20, 3 images, 3 pairs, 3 edits, cpu" in text
    noise = rows(text, "How much z_N is like noise")
    assert set(noise) == {"ddim", "auto", "edict", "auto, grain"}, "known seeds have no image"
    assert noise["ddim"][:2] == ["1.00", "0.60"] and noise["auto"][-1] == "33 ± 143"
    uses = rows(text, "What seeds are worth")
    assert uses["ddim"][0].startswith("1.010 ± ") and uses["auto"][0].startswith("0.010 ± ")
    assert uses["auto"][1].startswith("66.7 [") and uses["edict"][1:4] == ["-", "-", "-"]
    assert uses["edict"][-1] == "–"
    assert uses["known"][:2] == ["–", "100.0 [29.2, 100.0]"]


def test_gains_are_over_ddim_on_the_same_examples(sweeps):
    uses = rows(EXPERIMENT.run(sweeps).text, "Noise in place of the first steps, uses")
    assert list(uses) == ["auto", "auto, 2 noised", "ddim", "noise alone"]
    assert uses["auto"][2].startswith("33.3 [") and uses["auto, 2 noised"][2].startswith("66.7 [")
    assert uses["noise alone"][2].startswith("-33.3 [") and uses["ddim"][2] == "-"
    assert uses["auto, 2 noised"][-1] == "22.00"


def test_ours_that_is_most_like_noise_within_a_tenth_of_a_decibel_is_held_against_all_others(
    sweeps,
):
    text = EXPERIMENT.run(sweeps).text
    assert "What auto, grain (0.010 ± 0.025 dB gap) gains: w = 1" in text
    gains = rows(text, "What auto, grain (")
    controls = {"known", "crossfade", "noise alone"}
    assert set(gains) == {"ddim", "edict", "auto", "auto, 2 noised", *controls}
    assert gains["ddim"][0].startswith("66.7 [") and gains["auto"][0].startswith("33.3 [")
    assert gains["known"] == ["0.0 [-70.8, 70.8]", "-", "-", "-"] and gains["edict"][0] == "-"


def test_the_figure_has_a_line_for_each_control(sweeps):
    drawn = plot.picture(plot.seeds(EXPERIMENT.read(sweeps)))
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert {"known", "crossfade", "noise alone"} <= set(labels)
