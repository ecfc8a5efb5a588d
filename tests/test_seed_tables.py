"""The tables and pictures made of finished interpolation and rare-concept runs."""

import pytest
import scripts
from omegaconf import OmegaConf
from PIL import Image

from fpinv.errors import UserError
from fpinv.records import Record, RunFolder
from fpinv.sweep import read_jobs

table2 = scripts.load("table2_rare_concepts/table")
table3 = scripts.load("table3_interpolation/table")
figure15 = scripts.load("figure15_paths/plot")

HEADER = {"guidance": 1.0, "steps": 20, "model": "scenes"}
POOLED = {"fid": {"mean": 20.0, "ci95": 1.5}, "features": "scenes"}


def job(path, overrides, records, config=None, choices=None):
    """A sweep of one job, as a run leaves it."""
    folder = RunFolder(path / "0")
    for record in records:
        folder.append(record)
    hydra = {"overrides": {"task": overrides}, "job": {"num": 0}, "runtime": {"choices": choices}}
    (folder.path / ".hydra").mkdir()
    OmegaConf.save({"hydra": hydra}, folder.path / ".hydra" / "hydra.yaml")
    OmegaConf.save(config or {}, folder.path / "config.yaml")
    inverter = (choices or {}).get("inverter", "fpi")
    folder.summarise(HEADER | {"inverter": inverter}, len(records), ("norm_ratio",), POOLED)


@pytest.fixture
def paths(tmp_path):
    for inverter, shares in {"ddim": [0.2, 0.4, 0.6], "fpi": [0.4, 0.6, 0.8]}.items():
        strip = {"strip": Image.new("RGB", (34, 8), "red")}
        metrics = [{"accuracy": share, "norm_ratio": 1.0} for share in shares]
        records = [Record(f"p{k}", "star", m, {}, strip) for k, m in enumerate(metrics)]
        choices = {"inverter": inverter, "task/path": "nao"}
        overrides = [f"inverter={inverter}", "task.mode=path", "task/path=nao"]
        job(tmp_path / "path" / inverter, overrides, records, choices=choices)
    return tmp_path


def test_table_3_has_a_row_a_cell_and_pairs_the_examples(paths, capsys):
    table3.main(paths)
    title, _, _, _, ddim, fpi = capsys.readouterr().out.splitlines()
    assert title.startswith("Paths between two seeds: w = 1, N = 20, scenes")
    assert ddim.startswith("| ddim | nao | 40.0 [20.0, 60.0] |  | 20 ± 1.5 | 1 ± 0 | 3 |")
    assert "| fpi | nao | 60.0 [40.0, 80.0] | 20.0 [20.0, 20.0] |" in fpi
    with pytest.raises(UserError, match="no finished runs"):
        table3.main(paths / "nothing")


def test_table_2_has_bins_times_and_the_gain_in_the_rarest(tmp_path, capsys):
    def rare(few):
        times = {"seconds_init": 2.0, "seconds_opt": 3.0}
        bins = {"many": 1.0, "few": few}
        return [
            Record(b, b, {"accuracy": a, f"accuracy_{b}": a, **times}) for b, a in bins.items()
        ]

    nothing, nao = {"centroid": None, "seedselect": None}, {"centroid": {}, "images": 50}
    select = {"seedselect": {"iterations": 5}}
    job(tmp_path / "0", [], rare(0.2), {"task": nothing | {"images": 50}})
    job(tmp_path / "1", [], rare(0.6), {"task": nao | select})
    table2.main(tmp_path)
    printed = capsys.readouterr().out
    assert "| plain sampling | 100.0 [100.0, 100.0] | - | 20.0 [10.0, 32.0] | 60.0 [" in printed
    assert "| NAO (fpi) + SeedSelect (5) | 100.0" in printed and "| 2 ± 0 | 3 ± 0 |" in printed
    low, high = printed.split("- NAO (fpi) + SeedSelect (5): 40.0 [")[1].split("]")[0].split(", ")
    assert 15 < float(low) < 30 and 50 < float(high) < 65


def test_figure_15_has_a_strip_a_run_and_names_what_lacks(paths, tmp_path, capsys):
    folders = [str(folder) for folder in sorted((paths / "path").iterdir())]
    out = tmp_path / "paths.png"
    assert figure15.main([*folders, "--out", str(out)]) == 0
    found = figure15.find([job for folder in folders for job in read_jobs(paths / folder)])
    assert list(found) == ["ddim, nao", "fpi, nao"]
    with Image.open(out) as image:
        assert image.width == 990
    assert figure15.main([*folders, "--example", "p9", "--out", str(out)]) == 2
    assert "p9" in capsys.readouterr().err
    assert figure15.main([str(tmp_path / "none")]) == 2


def test_the_benchmark_prints_both_costs(capsys):
    benchmark = scripts.load("nao_benchmark/benchmark")
    assert benchmark.main(["--size", "256", "--points", "10", "--iterations", "300"]) == 0
    ratio = float(capsys.readouterr().out.rpartition(":")[2])
    assert ratio < 1.005
