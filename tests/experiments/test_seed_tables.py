"""The tables and pictures made of finished interpolation and rare-concept runs."""

import numpy as np
import pytest
import scripts
from finished_runs import finish
from PIL import Image

from fpinv.tasks.record import Record

table2 = scripts.load("fpi/table2_rare_concepts/table").experiment
table3 = scripts.load("fpi/table3_interpolation/table").experiment
figure15 = scripts.load("fpi/figure15_paths/plot").experiment

POOLED = {"fid": {"mean": 20.0, "ci95": 1.5}, "features": "scenes"}


@pytest.fixture
def paths(tmp_path):
    for inverter, shares in {"ddim": [0.2, 0.4, 0.6], "fpi": [0.4, 0.6, 0.8]}.items():
        strip = {"strip": Image.new("RGB", (34, 8), "red")}
        metrics = [{"accuracy": share, "norm_ratio": 1.0} for share in shares]
        records = [Record(f"p{k}", "star", m, {}, strip) for k, m in enumerate(metrics)]
        choices = {"inverter": inverter, "task/path": "nao"}
        overrides = [f"inverter={inverter}", "task.mode=path", "task/path=nao"]
        config = {"task": {"mode": "path"}}
        folder = tmp_path / "path" / inverter / "0"
        finish(folder, records, overrides, config, choices, pooled=POOLED)
    return tmp_path


def both_ways(experiment, folder):
    """Return the text of finished runs, and check that jobs.json gives it again."""
    text = experiment.run(folder).text
    assert experiment.run(folder / "results").text == text
    return text


def test_table_3_has_a_row_a_cell_and_pairs_the_examples(paths):
    title, _, _, _, ddim, fpi = both_ways(table3, paths).splitlines()
    assert title.startswith("Paths between two seeds: w = 1, N = 20, scenes")
    assert ddim.startswith("| ddim | nao | 40.0 [20.0, 60.0] |  | 20 ± 1.5 | 1 ± 0 | 3 |")
    assert "| fpi | nao | 60.0 [40.0, 80.0] | 20.0 [20.0, 20.0] |" in fpi


def test_table_2_has_bins_times_and_the_gain_in_the_rarest(tmp_path):
    def rare(few, initial=2.0):
        times = {"seconds_init": initial, "seconds_opt": 3.0}
        bins = {"many": 1.0, "few": few}
        return [
            Record(b, b, {"accuracy": a, f"accuracy_{b}": a, **times}) for b, a in bins.items()
        ]

    nothing, nao = {"centroid": None, "seedselect": None}, {"centroid": {}, "images": 50}
    select = {"seedselect": {"iterations": 5}}
    plain = {"task": nothing | {"images": 50}}
    finish(tmp_path / "0" / "0", rare(0.2), config=plain, pooled=POOLED)
    finish(tmp_path / "1" / "0", rare(0.6), config={"task": nao | select}, pooled=POOLED)
    printed = both_ways(table2, tmp_path)
    assert "| plain sampling | 100.0 [100.0, 100.0] | - | 20.0 [10.0, 32.0] | 60.0 [" in printed
    assert "| NAO (fpi) + SeedSelect (5) | 100.0" in printed and "| 2 | 3 |" in printed
    low, high = printed.split("- NAO (fpi) + SeedSelect (5): 40.0 [")[1].split("]")[0].split(", ")
    assert 15 < float(low) < 30 and 50 < float(high) < 65
    # T_init of a row that took another's inversions is that of the other.
    task = nao | select | {"inversions": "somewhere"}
    more = tmp_path / "more"
    finish(more / "0" / "0", rare(0.6, 0.01), config={"task": task}, pooled=POOLED)
    finish(more / "1" / "0", rare(0.4, 7.0), config={"task": nao}, pooled=POOLED)
    assert both_ways(table2, more).count("| 7 | 3 |") == 2


def test_figure_15_has_a_strip_a_run_and_names_missing_strips(paths, tmp_path, capsys):
    text = both_ways(figure15, paths)
    assert text == "path p2: ddim, nao; fpi, nao\n\n![p2](path.png)"
    with Image.open(paths / "results" / "path.png") as image:
        red = (np.asarray(image) == (255, 0, 0)).all(-1).sum()
        assert red == 2 * (34 * 8) * 16**2, "two strips, sixteen times as high and wide"
    other = Record("p9", "star", {}, {}, {"strip": Image.new("RGB", (34, 8))})
    finish(paths / "path" / "ife" / "0", [other], config={"task": {"mode": "path"}})
    assert figure15.main([str(paths)]) == 2
    assert "share no example" in capsys.readouterr().err
    finish(tmp_path / "bare" / "0", [Record("p0", "star")], config={"task": {"mode": "path"}})
    assert figure15.main([str(tmp_path / "bare")]) == 2
    assert "kept no strips" in capsys.readouterr().err


def test_nao_benchmark_prints_both_costs(capsys):
    benchmark = scripts.load("benchmarks/nao/benchmark")
    assert benchmark.main(["--size", "256", "--points", "10", "--iterations", "300"]) == 0
    ratio = float(capsys.readouterr().out.rpartition(":")[2])
    assert ratio < 1.005
