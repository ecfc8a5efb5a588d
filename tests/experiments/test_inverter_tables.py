"""The tables of inverters and the frontier, from runs and from what is kept of them."""

import pytest
import scripts
from finished_runs import finish

from fpinv.tasks.record import Record

RECONSTRUCTION, INVERTERS, FRONTIER, FLOW = (
    scripts.load(f"studies/{name}").experiment
    for name in (
        *("reconstruction_table/table", "inverter_table/table"),
        *("frontier/plot", "flow_frontier/plot"),
    )
)


def record(id, gap, calls, rows):
    return Record(
        id,
        "p",
        {
            "psnr": 30 - gap,
            "ceiling_psnr": 30.0,
            "gap": gap,
            "latent_psnr": 60 - 20 * gap,
            "nfe_calls": calls,
            "nfe_rows": rows,
            "nfe_equivalents": rows,
            "sample_nfe_calls": 20,
            "stored_numbers": 0,
        },
    )


@pytest.fixture
def sweeps(tmp_path):
    for k, (inverter, gap, calls) in enumerate([("fpi", 0.5, 250), ("ddim", 2.0, 50)]):
        records = [record(f"e{j}", gap + 0.1 * j, calls, calls) for j in range(3)]
        overrides = [f"inverter={inverter}", *["inverter.iterations=5"][k:]]
        choices = {"inverter": inverter}
        for guidance, sweep in ((1.0, "plain"), (3.0, "guided")):
            folder = tmp_path / "sweeps" / sweep / inverter / str(k)
            finish(folder, records, overrides, choices=choices, header={"guidance": guidance})
    return tmp_path / "sweeps"


@pytest.mark.parametrize("experiment", [RECONSTRUCTION, INVERTERS, FRONTIER, FLOW])
def test_results_made_again_from_jobs_json_are_equal(experiment, sweeps):
    text = experiment.run(sweeps).text
    assert experiment.run(sweeps / "results").text == text
    assert text.count("w = 1, N = 20, n = 3") == text.count("w = 3, N = 20, n = 3") == 1


def test_reconstruction_table_is_sorted_by_cost(sweeps):
    lines = RECONSTRUCTION.run(sweeps).text.splitlines()
    assert lines[0] == "w = 1, N = 20, n = 3, scenes, cpu; ceiling 30.00 dB"
    assert lines[4].startswith("| ddim | 27.90 ± 0.")
    assert lines[5].startswith("| fpi 5 | 29.40 ± 0.") and lines[5].endswith("| 250 |")


def test_inverter_table_is_sorted_by_gap(sweeps):
    lines = INVERTERS.run(sweeps).text.splitlines()
    fpi, ddim = lines[4], lines[5]
    assert fpi.startswith("| fpi | 29.40 | 0.600 ± 0.") and "| 250 | 250 | – | 0 | – |" in fpi
    assert ddim.startswith("| ddim | 27.90 | 2.100 ± ")


def test_frontier_names_the_inverters_that_reach_the_goal(sweeps):
    text = FRONTIER.run(sweeps).text
    assert "| fpi 5 | 12.50 | 48.0 ± " in text and " | yes | 0.600 ± " in text
    assert "| ddim | 1.25 | 18.0 ± " in text, "a guided call is two rows"
    assert (sweeps / "results" / "frontier.png").stat().st_size > 5_000


def test_frontier_of_flows_has_all_settings_the_cheapest_first(sweeps):
    text = FLOW.run(sweeps).text
    rows = [line for line in text.splitlines() if line.startswith(("| fpi", "| ddim"))]
    assert [row.split(" | ")[:2] for row in rows[:2]] == [["| ddim", "2.50"], ["| fpi 5", "12.50"]]
    assert rows[1].startswith("| fpi 5 | 12.50 | 48.0 ± ") and "| no | 0.600 ± " in rows[1]
    assert rows[1].endswith("| 250 | 20 |  |") and "ceiling 30.00 dB" in text
    assert (sweeps / "results" / "flow_frontier.png").stat().st_size > 5_000
