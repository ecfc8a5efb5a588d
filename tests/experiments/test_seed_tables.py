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
    assert title.startswith("Paths between two seeds: w = 1, N = 20, accuracy in %, scenes")
    cells = "40.0 [20.0, 60.0] |  |  | 20.00 ± 1.50 | 1.000 "
    assert ddim.startswith(f"| ddim | nao | - | - | - | {cells}")
    assert "| fpi | nao | - | - | - | 60.0 [40.0, 80.0] | - | 20.0 [20.0, 20.0] |" in fpi


def test_table_3_pools_seeds_and_has_bins_and_controls(tmp_path):
    def job(number, shares, seed=0, guidance=1.0, **keys):
        records = [
            Record(f"p{k}", "star", {"accuracy": share, f"accuracy_{name}": share})
            for k, (name, share) in enumerate(shares.items())
        ]
        overrides = ["task.mode=path", "task/path=nao", f"seed={seed}", f"guidance={guidance:g}"]
        overrides += [f"{name.replace('__', '.')}={value}" for name, value in keys.items()]
        choices = {"inverter": keys.get("inverter", "ddim")}
        config = {"task": {"mode": "path", "seeds": keys.get("task__seeds", "inverted")}}
        header = {"seed": seed, "guidance": guidance}
        folder = tmp_path / "path" / str(number)
        finish(folder, records, overrides, config, choices, header, POOLED)

    job(0, {"many": 0.2, "few": 0.0}, inverter="ddim")
    job(1, {"many": 0.4, "few": 0.2}, seed=1, inverter="ddim")
    job(2, {"many": 0.6, "few": 0.0}, inverter="fpi")
    job(3, {"many": 0.8, "few": 0.2}, seed=1, inverter="fpi")
    job(4, {"many": 0.0, "few": 0.0}, inverter="ddim", task__seeds="crossfade")
    job(5, {"many": 1.0, "few": 1.0}, inverter="ddim", task__seeds="known")
    job(6, {"many": 1.0, "few": 1.0}, guidance=3.0, inverter="ddim")
    job(7, {"many": 0.5, "few": 0.0}, inverter="ddim", task__seeds="random")
    text = both_ways(table3, tmp_path)
    assert "| ddim | nao | 30.0 [20.0, 40.0] | - | 10.0 [0.0, 20.0] | 20.0 [" in text
    fpi = next(line for line in text.splitlines() if line.startswith("| fpi"))
    assert "| 40.0 [40.0, 40.0] | 20.0 [0.0, 40.0] | 20.00 ± 1.06 |" in fpi
    assert fpi.endswith("| 4 |")
    assert (
        "| pixel crossfade | nao | 0.0 [0.0, 97.5] | - | 0.0 [0.0, 97.5] | 0.0 [0.0, 84.2]" in text
    )
    assert "| known seeds | nao | 100.0 [" in text and "| 80.0 [80.0, 80.0] |" in text
    over_noise = text.split("Points over random seeds with the same method:")[1].split("\n\n")[1]
    assert "| fpi | nao | 10.0 [10.0, 10.0] | 0.0 [-" in over_noise, "seed 0 has both"
    assert "random" not in over_noise and "| ddim | nao | -30.0 [-30.0, -30.0] |" in over_noise
    headings = [line for line in text.splitlines() if line.startswith("Paths")]
    assert ["w = 1" in line for line in headings] == [True, False]


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
    assert "| plain sampling | 100.0 [92.9, 100.0] | - | 20.0 [10.0, 32.0] | 60.0 [" in printed
    assert "| NAO (fpi) + SeedSelect (5) | 100.0" in printed and "| 2.00 | 3.00 |" in printed
    low, high = printed.split("- NAO (fpi) + SeedSelect (5): 40.0 [")[1].split("]")[0].split(", ")
    assert 15 < float(low) < 30 and 50 < float(high) < 65
    # T_init of a row that took another's inversions is that of the other.
    task = nao | select | {"inversions": "somewhere"}
    more = tmp_path / "more"
    finish(more / "0" / "0", rare(0.6, 0.01), config={"task": task}, pooled=POOLED)
    finish(more / "1" / "0", rare(0.4, 7.0), config={"task": nao}, pooled=POOLED)
    assert both_ways(table2, more).count("| 7.00 |") == 2


def test_table_2_names_guidance_schedule_and_controls(tmp_path):
    def job(number, task, guidance=1.0, few=0.2, inverter="fpi"):
        metrics = {"accuracy": few, "accuracy_few": few, "seconds_init": 1.0, "seconds_opt": 1.0}
        records = [Record("few", "few", metrics)]
        config = {"task": {"images": 50, "centroid": None, "seedselect": None} | task}
        finish(
            tmp_path / "0" / str(number),
            records,
            config=config,
            choices={"inverter": inverter},
            header={"guidance": guidance},
            pooled=POOLED,
        )

    job(0, {})
    job(1, {}, guidance=3.0, few=0.5)
    job(2, {"seedselect": {"iterations": 30, "decay_after": 3}}, guidance=3.0, few=0.7)
    job(3, {"centroid": {}, "seeds": "known"})
    job(4, {"centroid": {}, "seeds": "crossfade"}, few=0.0)
    job(5, {"centroid": {}}, few=0.6, inverter="ddim")
    job(6, {"centroid": {}, "seedselect": {"iterations": 5}}, few=0.4, inverter="ddim")
    text = both_ways(table2, tmp_path)
    assert text.startswith("w = 1 and 3, N = 20")
    assert "| plain sampling, w = 3 | - | - | 50.0 [" in text
    assert "- SeedSelect (30, decaying rate), w = 3: 20.0 [" in text, "over w = 3"
    assert "| NAO (known seeds), w = 1 |" in text
    assert "- pixel crossfade, w = 1: -20.0 [" in text
    over_ddim = text.split("In all bins, points over the same with ddim's seeds:")[1]
    assert "- NAO (known seeds), w = 1: -40.0 [" in over_ddim and over_ddim.count("- NAO") == 1


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
