"""Sweeps whose jobs run in other processes, by Hydra's launchers: submitit (local) and joblib."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException
from toy_commands import LOADING, alone, rows
from wandb_files import of_kind, offline_files, values

from fpinv.run.messages import explain

LAUNCHERS = {
    "submitit_local": ["hydra.launcher.timeout_min=5"],
    "joblib": ["hydra.launcher.n_jobs=2"],
}
PLUGINS = {"submitit_local": "hydra_submitit_launcher", "joblib": "hydra_joblib_launcher"}


def installed(launcher: str) -> bool:
    if importlib.util.find_spec("hydra_plugins") is None:
        return False
    return importlib.util.find_spec(f"hydra_plugins.{PLUGINS[launcher]}") is not None


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> list[str]:
    """Return the arguments that have a sweep's jobs run elsewhere."""
    if not installed(request.param):
        pytest.skip(f"hydra/launcher={request.param} is not installed: pip install -e '.[dev]'")
    return [f"hydra/launcher={request.param}", *LAUNCHERS[request.param]]


def sweep(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a sweep of toys, tracked offline, into the folder's ``sweep``."""
    place = f"hydra.sweep.dir={folder / 'sweep'}"
    return alone(folder, "-m", *arguments, place, **{"WANDB_MODE": "offline"} | environment)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep" / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_jobs_elsewhere_are_gathered_and_the_worst_code_wins(launcher: list[str], tmp_path: Path):
    """Run four jobs, two of them misconfigured and one with a broken image."""
    overrides = ["limit=3", "dataset.root=null,/nowhere", "dataset.corrupt=null,1", "seed=5"]
    process = sweep(tmp_path, *launcher, *overrides)
    assert process.returncode == 2
    assert [row["exit_code"] for row in table(tmp_path)] == ["0", "1", "2", "2"]
    assert [row["n"] for row in table(tmp_path)] == ["3", "2", "", ""]
    errors = process.stderr.removeprefix(LOADING).splitlines()
    assert len(errors) == 3 and all(line.startswith("error: job ") for line in errors)
    assert "1 of 3 examples failed" in errors[0] and "job 1 (" in errors[0]
    assert "/nowhere: no such folder" in errors[1] and "/nowhere: no such folder" in errors[2]
    assert process.stdout.splitlines()[-1] == str(tmp_path / "sweep")


def test_jobs_elsewhere_write_the_lines_of_jobs_here(launcher: list[str], tmp_path: Path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    overrides = ["limit=3", "seed=1,2", "guidance=2"]
    assert (
        sweep(here, *overrides).returncode == sweep(there, *overrides, *launcher).returncode == 0
    )
    for job in (0, 1):
        assert rows(here / "sweep" / str(job)) == rows(there / "sweep" / str(job))
    runs = [of_kind(file, "run")[0] for file in offline_files(there)]
    assert {run.run_group for run in runs} == {"sweep"} and len({run.run_id for run in runs}) == 2
    assert [values(run.config.update)["seed"] for run in runs] == [1, 2]
    assert all(of_kind(file, "exit")[0].exit_code == 0 for file in offline_files(there))


def test_a_killed_job_fails_the_sweep_which_completes_when_repeated(
    launcher: list[str], tmp_path: Path
):
    overrides = ["limit=4", "task.stop_at=null,2", *launcher]
    process = sweep(tmp_path, *overrides)
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert "job 1 (" in process.stderr and "it was stopped before its end" in process.stderr
    assert {row["job"]: row["exit_code"] for row in table(tmp_path)}["1"] == "1"
    again = sweep(tmp_path, *overrides, TOY_GOES_ON="1")
    assert (again.returncode, again.stderr) == (0, LOADING)
    assert [row["n"] for row in table(tmp_path)] == ["4", "4"]
    for job in (0, 1):
        assert [row["id"] for row in rows(tmp_path / "sweep" / str(job))] == [
            "000",
            "001",
            "002",
            "003",
        ]


def test_a_missing_launcher_is_named_with_its_package():
    missing = MissingConfigException("", "hydra/launcher/ray", options=["basic"])
    assert explain(missing) == (
        "hydra/launcher=ray is not installed: pip install hydra-ray-launcher"
    )
