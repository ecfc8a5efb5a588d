"""Experiments of several sweeps: their jobs, their results, their exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf
from toy_conf import write_toy_conf

from fpinv.run import main as command_line

EXPERIMENT = """# @package _global_
limit: 2
hydra:
  mode: MULTIRUN
  sweep:
    dir: out
  sweeper:
    params:
      guidance: 1,2
    sweeps:
      inverters:
        inverter: ddim,fpi
      seeds:
        seed: ${by_scale:"",5,"5,6"}
      later:
        inverter: fpi
        model.path: sweep:inverters
"""
SCRIPT = """
from fpinv.reporting.experiment import Experiment, Results
experiment = Experiment(lambda jobs: Results(f"jobs: {', '.join(job.name for job in jobs)}"))
"""
PARAMS = {"inverter": "ddim,fpi"}
SWEEPS = {
    "path": {"task.mode": "path", "inversions": True},
    "centroid": {"task.mode": "centroid", "inversions": True},
    "others": {"task/path": "linear,slerp", "task.inversions": "sweep:path"},
}

Run = Callable[..., int]


@pytest.fixture
def run(main: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command in this process on toy parts, with an experiment that has a script."""
    conf = write_toy_conf(tmp_path / "conf")
    (conf / "experiment" / "several.yaml").write_text(EXPERIMENT)
    script = tmp_path / "experiments" / "studies" / "several" / "table.py"
    script.parent.mkdir(parents=True)
    script.write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def call(*arguments: str) -> int:
        words = " ".join(arguments)
        experiment = [] if "-m" in words or "experiment=" in words else ["experiment=several"]
        argv = ["run.py", "-cp", str(conf), *arguments, *experiment]
        monkeypatch.setattr(sys, "argv", argv)
        return command_line.run(main)

    return call


def test_an_experiment_makes_all_its_sweeps_and_then_its_results(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("hydra.sweep.dir='it is out'") == 0
    output = capsys.readouterr()
    text = (
        "jobs: inverters/0, inverters/1, inverters/2, inverters/3, seeds/0, seeds/1, "
        "later/0, later/1"
    )
    results = tmp_path / "it is out" / "results"
    assert (results / "results.md").read_text() == text + "\n"
    assert output.err == "" and output.out.splitlines()[-2:] == [text, f"{results}/results.md"]
    config = OmegaConf.load(tmp_path / "it is out" / "later" / "1" / "config.yaml")
    assert (config.model.path, config.guidance) == (str(tmp_path / "it is out/inverters/3"), 2)


def test_the_command_line_wins_over_the_sweeps_and_the_scale_leaves_sweeps_out(
    run: Run, capsys: pytest.CaptureFixture[str]
):
    assert run("scale=smoke", "guidance=7", "inverter=fpi") == 0
    assert "jobs: inverters/0, later/0\n" in capsys.readouterr().out


def test_failed_examples_give_exit_code_1_and_results_of_the_others(
    run: Run, capsys: pytest.CaptureFixture[str]
):
    assert run("scale=smoke", "guidance=1", "dataset.corrupt=1") == 1
    assert "jobs: inverters/0, inverters/1, later/0\n" in capsys.readouterr().out


def test_jobs_without_a_finished_example_leave_no_results_and_say_so(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("scale=smoke", "guidance=1", "task.crash=true") == 1
    assert "error: no results: out holds no finished runs" in capsys.readouterr().err
    assert not (tmp_path / "out" / "results").exists()


def test_a_user_error_ends_an_experiment_at_its_first_job(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("dataset.root=/nowhere") == 2
    error = capsys.readouterr().err
    assert "/nowhere: no such folder" in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out" / "results").exists()
    assert not (tmp_path / "out" / "inverters" / "1").exists()


def test_an_ordinary_sweep_is_as_before(run: Run, tmp_path: Path):
    assert run("-m", "hydra.sweep.dir=plain", "guidance=1,2", "limit=1") == 0
    assert {path.name for path in (tmp_path / "plain").iterdir() if path.is_dir()} == {"0", "1"}


def plugin(name: str) -> type:
    """Return a class of a plugin as Hydra has it, which executes the plugins' modules anew."""
    return Plugins.instance().class_name_to_class[name]


def sweeper_of(sweeps: dict[str, dict]) -> Sweeper:
    sweeper = plugin("hydra_plugins.fpinv_sweeper.SweepsSweeper")(None, PARAMS, sweeps)
    sweeper.config = OmegaConf.create({"hydra": {"sweep": {"dir": "/out"}}})
    sweeper.hydra_context = SimpleNamespace(config_loader=None)
    return sweeper


def test_jobs_that_need_no_others_go_to_the_launcher_together():
    sweeper = sweeper_of(SWEEPS)
    jobs = sweeper.plan([])
    assert [len(batch) for batch in sweeper._batches(jobs)] == [4, 4]
    sweeper.launcher = plugin("hydra._internal.core_plugins.basic_launcher.BasicLauncher")()
    assert [len(batch) for batch in sweeper._batches(jobs)] == [1] * 8
    assert list(jobs[7].overrides) == [
        "inverter=fpi",
        "task/path=slerp",
        "task.inversions=/out/path/1",
        "hydra.sweep.subdir=others/3",
    ]


def test_a_sweep_that_needs_one_after_it_is_an_error():
    backwards = dict(reversed(SWEEPS.items()))
    with pytest.raises(HydraException, match="others/0 needs a job of the sweep path"):
        sweeper_of(backwards).plan([])


CHOOSING = {
    "val/iterated": {"inverter": "fpi", "inverter.iterations": "1,2", "seed": 1},
    "val/guided": {"inverter": "fpi,ddim", "guidance": "2,3", "seed": 1},
    "test": {"inverter": "fpi,ddim", "guidance": "best:val/guided"},
}


def test_best_of_a_sweep_is_chosen_among_the_jobs_with_the_same_other_values():
    jobs = sweeper_of(CHOOSING).plan([])
    assert [job.stage for job in jobs] == [0] * 6 + [1] * 2
    for job, inverter in zip(jobs[6:], ("fpi", "ddim"), strict=True):
        assert "guidance=best\\:val/guided" in job.overrides
        assert {candidate.values["inverter"] for candidate in job.candidates} == {inverter}
        assert [candidate.values["guidance"] for candidate in job.candidates] == ["2", "3"]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (
            {"guidance": "best:val/none"},
            "needs jobs of the sweep val/none, which has none like it",
        ),
        ({"inverter": "ife", "guidance": "best:val"}, "which has none like it"),
        (
            {"guidance": 2, "steps": "best:val/guided"},
            "takes steps from the sweep val/guided, which has none",
        ),
        ({"guidance": "best:val/guided", "seed": "best:val"}, "takes the best of several"),
    ],
)
def test_choice_that_cannot_be_made_is_an_error_before_the_first_job(params, words):
    with pytest.raises(HydraException, match=words):
        sweeper_of(CHOOSING | {"test": {"inverter": "fpi"} | params}).plan([])


CHOICE = """# @package _global_
limit: 2
hydra:
  mode: MULTIRUN
  sweep:
    dir: chosen
  sweeper:
    criteria: [psnr]
    sweeps:
      val/low:
        guidance: 1,2
        seed: 1
      val/high:
        guidance: 3,1.5
        seed: 1
      test:
        guidance: best:val
"""


def test_later_sweep_takes_what_was_best_in_an_earlier_one(run: Run, tmp_path: Path):
    (tmp_path / "conf/experiment/choice.yaml").write_text(CHOICE)
    for _ in range(2):  # the second time the choice is known before the first job
        assert run("experiment=choice") == 0
        (job,) = tmp_path.glob("chosen/test/*/job.json")
        assert json.loads(job.read_text())["overrides"]["guidance"] == "3"
        summary = json.loads((job.parent / "summary.json").read_text())
        assert (summary["guidance"], summary["seed"]) == (3, 0)


def test_nothing_is_chosen_where_a_candidate_has_no_results(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "conf/experiment/choice.yaml").write_text(CHOICE)
    assert run("experiment=choice", "task.crash=true") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "chosen/val/low/0 has no psnr, by which settings are chosen" in error
    assert not (tmp_path / "chosen/test").exists()
