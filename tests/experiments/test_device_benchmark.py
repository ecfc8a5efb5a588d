"""The benchmark of networks by precision, compilation and batch."""

import json

import pytest
import torch
from scripts import beside_its_modules


@pytest.fixture
def benchmark():
    """Return the benchmark, whose networks lie beside it."""
    with beside_its_modules("benchmarks/device/benchmark") as benchmark:
        yield benchmark


@pytest.mark.parametrize("name, millions", [("sd15", 859.5), ("sdxl", 2567.5), ("flux", 11901.4)])
def test_networks_have_the_published_sizes(benchmark, name, millions):
    with torch.device("meta"):
        network = benchmark.SIZES[name].build()
    count = sum(weight.numel() for weight in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_networks_are_called_as_their_pipelines_call_them(benchmark, name):
    size = benchmark.SIZES[name]
    with torch.device("meta"):
        network = size.call(size.build())
        latents, embedding = size.inputs(2, None)
        output = network(latents, torch.full((2,), 500), embedding)
    assert output.shape == latents.shape


def test_every_setting_is_a_row_and_what_fails_says_why(benchmark, tmp_path, monkeypatch):
    def refused(network, device):
        raise RuntimeError("no compiler\nof two lines")

    monkeypatch.setattr(benchmark, "compile_network", refused)
    arguments = ["--networks", "scenes", "--precisions", "fp32,bf16", "--batches", "1,2"]
    assert benchmark.main([str(tmp_path), *arguments, "--device", "cpu"]) == 0
    rows = json.loads((tmp_path / "measurements.json").read_text())["measurements"]
    settings = [(row["precision"], row["mode"], row["batch"]) for row in rows]
    assert settings == [
        setting
        for precision in ("fp32", "bf16")
        for setting in (
            *((precision, "eager", batch) for batch in (1, 2)),
            (precision, "compiled", 1),
        )
    ]
    assert rows[0]["relative"] == 1
    assert rows[2]["error"] == "RuntimeError: no compiler"
    assert all(row["overhead"] > 0 for row in rows if not row["error"])
    assert (tmp_path / "table.md").read_text().count("\n") == 2 + 2 + len(rows)
    assert (tmp_path / "device.png").stat().st_size > 0


def test_unknown_networks_are_refused_in_one_line(benchmark, tmp_path, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([str(tmp_path), "--networks", "sd15,sd9"])
    assert "'sd9' is none of scenes, sd15, sdxl, flux" in capsys.readouterr().err
