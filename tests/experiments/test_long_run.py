"""The benchmark that watches the memory and the speed of a long run."""

import json

import numpy as np
import pytest
from scripts import load


@pytest.fixture
def benchmark():
    return load("benchmarks/long_run/benchmark")


def samples(benchmark, images, growth=0.0):
    """A run of two images a second that starts at 500 MiB."""
    counts = np.arange(0, images + 1, 10)
    return [benchmark.Sample(n / 2, int(n), 500 + growth * n / 1000) for n in counts]


@pytest.mark.parametrize("growth", [0.0, 7.5])
def test_growth_of_the_memory_is_told_per_1000_images(benchmark, growth):
    steady = samples(benchmark, 400, growth)
    assert benchmark.growth(steady) == pytest.approx(growth, abs=1e-6)
    text = benchmark.table(steady)
    assert f"grows by {growth:.1f} MiB per 1,000 images" in text
    assert text.count("| 2.000 |") == 4


def test_memory_that_is_taken_at_the_start_does_not_count(benchmark):
    first, *rest = samples(benchmark, 400)
    jump = [benchmark.Sample(first.seconds, first.images, 100.0), *rest]
    assert benchmark.growth(jump) == pytest.approx(0, abs=1e-6)


def test_a_run_is_watched_from_its_start_to_its_end(benchmark, tmp_path, capfd):
    arguments = ["limit=3", "batch_size=1", "steps=1", "inverter=ddim"]
    assert benchmark.main([str(tmp_path), "--interval", "0.2", *arguments]) == 0
    entry = json.loads((tmp_path / "measurements.json").read_text())
    assert entry["overrides"] == arguments
    counts = [sample["images"] for sample in entry["samples"]]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == 3
    assert all(sample["memory"] > 1 for sample in entry["samples"])
    assert (tmp_path / "table.md").read_text().startswith("3 images in")
    assert (tmp_path / "long_run.png").stat().st_size > 0


def test_a_run_that_fails_fails_the_benchmark(benchmark, tmp_path):
    with pytest.raises(SystemExit) as stop:
        benchmark.main([str(tmp_path), "inverter=none", "--interval", "0.2"])
    assert stop.value.code not in (0, None)
    assert not (tmp_path / "table.md").exists()
