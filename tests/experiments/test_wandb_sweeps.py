"""The sweeps that W&B hands out: what its agent calls composes to what was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from fpinv.run.build import build, check
from fpinv.run.tracking import CHARTS

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments" / "wandb_sweeps").glob("*.yaml"))
HYPHENLESS = "${args_no_hyphens}"


def load(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def settings(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of each run of the grid."""
    names = list(sweep["parameters"])
    values = [parameter["values"] for parameter in sweep["parameters"].values()]
    return [dict(zip(names, combination, strict=True)) for combination in product(*values)]


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


def composed(sweep: dict[str, Any], setting: dict[str, Any]) -> DictConfig:
    """Return the configuration of the command, as W&B's agent fills it in."""
    env, python, script, *arguments = sweep["command"]
    assert (env, python) == ("${env}", "python") and (ROOT / script).is_file()
    assert arguments.pop() == HYPHENLESS
    return compose("config", [*arguments, *(f"{key}={value}" for key, value in setting.items())])


def test_sweeps_of_the_drawn_figures_exist():
    assert {file.stem for file in FILES} == {"iterations", "guidance"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_run_of_a_sweep_composes_to_its_setting(file: Path):
    sweep = load(file)
    assert sweep["name"] == file.stem and sweep["method"] == "grid"
    for setting in settings(sweep):
        config = composed(sweep, setting)
        for key, value in setting.items():
            assert OmegaConf.select(config, key) == value
        for node in ("tracking", "dataset", "inverter", "task"):
            check(config, node)
        assert build(config, "tracking").mode == "online"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_sweep_varies_an_axis_and_aims_at_a_metric_of_a_chart(file: Path):
    sweep = load(file)
    axes = composed(sweep, {}).tracking.axes
    assert set(sweep["parameters"]) <= set(axes)
    axes_and_metrics = {(axis, metric) for _, axis, metric in CHARTS}
    for key in sweep["parameters"]:
        assert (key.rpartition(".")[2], sweep["metric"]["name"]) in axes_and_metrics


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_parameter_hides_no_keys_below_it(file: Path):
    config = composed(load(file), {})
    for key in load(file)["parameters"]:
        assert not isinstance(OmegaConf.select(config, key), DictConfig)
