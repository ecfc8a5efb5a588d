"""Every experiment by its own command at ``scale=smoke``, as many at a time as there are cores."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from pipelines import tiny_sd15

from fpinv.reporting.experiment import JOBS, LARGEST, TEXT

ROOT = Path(__file__).parents[2]
FOLDERS = {file.parent.name: file.parent for file in ROOT.glob("experiments/*/*/run.sh")}
NAMES = sorted(FOLDERS)
Done = subprocess.CompletedProcess


def called(*command: str, **environment: str) -> Done:
    """A command in the root of the repository, one thread each."""
    settings = {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    path = {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | settings | path | environment,
        capture_output=True,
        text=True,
    )


def smoke(name: str, out: Path, *overrides: str) -> Done:
    """An experiment at its smallest."""
    script = str(FOLDERS[name] / "run.sh")
    return called("bash", script, "scale=smoke", "device=cpu", *overrides, OUT=str(out))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture(scope="module")
def started(request: pytest.FixtureRequest, out: Path) -> Iterator[Mapping[str, Future[Done]]]:
    """The experiments that were asked for, begun before the first is waited for."""
    asked = [
        i.callspec.params.get("name") for i in request.session.items if hasattr(i, "callspec")
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(smoke, name, out / name) for name in NAMES if name in asked}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", NAMES)
def test_runs_and_leaves_its_results(name: str, started: Mapping[str, Future[Done]], out: Path):
    done = started[name].result()
    assert done.returncode == 0, done.stdout + done.stderr
    check_results(out / name / "results")


def check_results(folder: Path) -> None:
    """Text, the pictures that it shows, and the jobs that all were made of."""
    text = (folder / TEXT).read_text()
    shown = set(re.findall(r"!\[.*?\]\((.*?)\)", text))
    pictures = {file.name for file in folder.iterdir()} - {TEXT, JOBS, "examples.json"}
    assert shown == pictures and not re.search(r"\bnan\b", text)
    assert shown or "|---" in text
    assert all((folder / name).stat().st_size < LARGEST for name in pictures)
    jobs = json.loads((folder / JOBS).read_text())
    assert jobs and all(job["summary"]["failed"] == 0 for job in jobs)


def test_every_experiment_has_its_folder_and_every_folder_its_command():
    configured = {file.stem for file in (ROOT / "conf/experiment").glob("*.yaml")}
    assert configured == {*NAMES, "demo"}
    for name in NAMES:
        readme = (FOLDERS[name] / "README.md").read_text()
        assert f"{name}/run.sh" in readme, name
        assert os.access(FOLDERS[name] / "run.sh", os.X_OK), name


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two words for Stable Diffusion on COCO, and where the two are."""
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


def test_a_figure_on_photographs_takes_two_words(photographs: list[str], out: Path):
    """What is run on a GPU, in miniature, without the folder's script, too."""
    command = [sys.executable, "run.py", "experiment=figure5_psnr_time", "scale=smoke"]
    sweep = out / "photographs"
    done = called(*command, f"hydra.sweep.dir={sweep}", "dataset=coco", *photographs)
    assert done.returncode == 0, done.stderr
    plot = "experiments/fpi/figure5_psnr_time/plot.py"
    assert called(sys.executable, plot, str(sweep)).returncode == 0
    check_results(sweep / "results")
    jobs = json.loads((sweep / "results" / JOBS).read_text())
    summaries = [job["summary"] for job in jobs]
    assert [s["inverter"] for s in summaries] == ["ddim", "fpi", "null_text", "edict"]
    assert {(s["model"], s["dataset"], s["n"]) for s in summaries} == {("sd15", "coco", 2)}


def test_edits_of_photographs_take_two_words(photographs: list[str], out: Path):
    edits = ["dataset=coco_edits", "dataset.edits=edits.csv"]
    done = smoke("editing_gallery", out / "photographs_edited", *edits, *photographs)
    assert done.returncode == 0, done.stderr
    check_results(out / "photographs_edited" / "results")


def test_a_user_error_ends_an_experiment(out: Path):
    done = smoke("guidance_sweep", out / "wrong", "gudance=1")
    assert done.returncode == 2 and "did you mean guidance?" in done.stderr
    assert not (out / "wrong" / "results").exists()
