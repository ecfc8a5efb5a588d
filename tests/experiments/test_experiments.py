"""Every experiment by its one command at ``scale=smoke``, as many at a time as there are cores."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import pytest
from commands import CommandOutput, prepare_process, run_script
from PIL import Image
from pipelines import tiny_sd15
from toy_commands import LOADING

from fpinv.reporting.experiment import JOBS, LARGEST, SCRIPTS, TEXT, folder_of
from fpinv.reporting.figures import dark_name

ROOT = Path(__file__).parents[2]
FILES = {file.stem: file for file in sorted((ROOT / "conf/experiment").glob("*.yaml"))}
SMOKE = ("scale=smoke", "device=cpu")

Experiment = Callable[..., "Future[CommandOutput]"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture(scope="module")
def experiment(out: Path) -> Iterator[Experiment]:
    """Yield a function that begins ``python run.py experiment=<name> ...`` in a worker."""
    context = multiprocessing.get_context("spawn")

    def begin(name: str, *overrides: str, folder: str | None = None) -> Future[CommandOutput]:
        arguments = [f"experiment={name}", *SMOKE, f"hydra.sweep.dir={out / (folder or name)}"]
        return pool.submit(run_script, "run.py", *arguments, *overrides)

    with ProcessPoolExecutor(os.cpu_count(), context, initializer=prepare_process) as pool:
        yield begin
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def outputs(
    request: pytest.FixtureRequest, experiment: Experiment
) -> Mapping[str, Future[CommandOutput]]:
    """Return the outputs of the selected experiments, all begun before the first is read."""
    calls = (item.callspec for item in request.session.items if hasattr(item, "callspec"))
    selected = {call.params.get("name") for call in calls}
    return {name: experiment(name) for name in FILES if name in selected}


@pytest.mark.parametrize("name", FILES)
def test_experiment_is_made_whole_by_one_command(
    name: str, outputs: Mapping[str, Future[CommandOutput]], out: Path
):
    output = outputs[name].result()
    assert (output.code, output.stderr) == (0, LOADING), output
    if name == "demo":
        assert (out / name / "comparison.png").exists()
        return
    results = out / name / "results"
    check_results(results)
    assert output.stdout.splitlines()[-1] == str(results / TEXT)
    assert (results / TEXT).read_text().strip() in output.stdout


def check_results(folder: Path) -> None:
    """Check that the text, the pictures that it shows and the jobs are there and complete.

    A figure has a dark variant beside it, a sheet of pictures none.
    """
    text = (folder / TEXT).read_text()
    pictures = set(re.findall(r"!\[.*?\]\((.*?)\)", text))
    files = {file.name for file in folder.iterdir()} - {TEXT, JOBS, "examples.json"}
    assert pictures <= files <= pictures | {dark_name(name) for name in pictures}
    assert not re.search(r"\bnan\b", text)
    assert pictures or "|---" in text
    assert all((folder / name).stat().st_size < LARGEST for name in pictures)
    jobs = json.loads((folder / JOBS).read_text())
    assert jobs and all(job["summary"]["failed"] == 0 for job in jobs)


@pytest.mark.parametrize("name", FILES)
def test_experiment_opens_with_its_source_cost_result_and_command(name: str):
    package, source, cost, result, command = FILES[name].read_text().splitlines()[:5]
    assert package == "# @package _global_"
    assert source.startswith(("# FPI, ", "# IFE, ", "# No ", "# In the manner of FPI, "))
    assert cost.startswith("# Cost: ") and result.startswith("# Expect: ")
    assert re.fullmatch(rf"# python run.py experiment={name}( scale=full)?", command)


@pytest.mark.parametrize("name", FILES)
def test_experiment_has_a_folder_with_its_command_and_its_script(name: str):
    folder = folder_of(ROOT / "experiments", name)
    assert f"python run.py experiment={name}" in (folder / "README.md").read_text()
    assert name == "demo" or any((folder / script).exists() for script in SCRIPTS)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return overrides for a miniature of Stable Diffusion on two photographs of COCO."""
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    (root / "val2017").mkdir()
    for id in (1, 2):
        Image.effect_noise((96, 80), 60 * id).convert("RGB").save(root / f"val2017/{id}.jpg")
    captions = {
        "images": [{"id": id, "file_name": f"{id}.jpg"} for id in (1, 2)],
        "annotations": [
            {"id": id, "image_id": id, "caption": f"grey noise {id}"} for id in (1, 2)
        ],
    }
    (root / "annotations/captions_val2017.json").write_text(json.dumps(captions))
    (root / "edits.csv").write_text("image_id,target\n1,green noise 1\n2,green noise 2\n")
    model = tiny_sd15(root / "model")
    return ["model=sd15", f"model.path={model}", f"dataset.root={root}"]


def test_figure_of_photographs_takes_two_words_more(
    experiment: Experiment, photographs: list[str], out: Path
):
    coco = experiment("figure5_psnr_time", "dataset=coco", *photographs, folder="photographs")
    assert coco.result().code == 0, coco.result()
    check_results(out / "photographs" / "results")
    jobs = json.loads((out / "photographs" / "results" / JOBS).read_text())
    summaries = [job["summary"] for job in jobs]
    assert [s["inverter"] for s in summaries] == ["ddim", "fpi", "null_text", "edict"]
    assert {(s["model"], s["dataset"], s["n"]) for s in summaries} == {("model", "coco", 2)}


def test_edits_of_photographs_take_two_words_more(
    experiment: Experiment, photographs: list[str], out: Path
):
    edits = ["dataset=coco_edits", "dataset.edits=edits.csv", *photographs]
    output = experiment("editing_gallery", *edits, folder="edited").result()
    assert output.code == 0, output
    check_results(out / "edited" / "results")


def test_user_error_is_one_line_and_leaves_no_results(experiment: Experiment, out: Path):
    output = experiment("guidance_sweep", "gudance=1", folder="wrong").result()
    assert (output.code, output.stdout) == (2, "")
    assert output.stderr == LOADING + "error: gudance: no such key; did you mean guidance?\n"
    assert not (out / "wrong" / "results").exists()
