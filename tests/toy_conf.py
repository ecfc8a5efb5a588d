"""A configuration folder with the components of ``run_toys`` around the real config.yaml."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]

OPTIONS = {
    "model/scenes": (
        "{_target_: run_toys.load_model, path: null, "
        "device: '${device}', precision: '${precision}'}"
    ),
    "dataset/scenes": "{_target_: run_toys.ToyDataset, size: 10, root: null, corrupt: null}",
    "inverter/fpi": (
        "{_target_: run_toys.ToyInverter, iterations: 5, tolerance: null, start: previous}"
    ),
    "inverter/ddim": "{_target_: run_toys.ToyInverter, iterations: 1}",
    "adjustment/none": "{}",
    "classifier/scenes": "{}",
    "clip/scenes": "{}",
    "task/reconstruction": (
        "{_target_: run_toys.ToyTask, stop_at: null, signal: 9, crash: false, crash_at: null}"
    ),
    "task/round_trip": (
        "{_target_: fpinv.tasks.reconstruction.Reconstruction,"
        " adjustment: {_target_: fpinv.inverters.adjustment.Unadjusted}}"
    ),
    "model/toy": "{_target_: toy.ToyModel}",
    "dataset/photographs": "{_target_: fpinv.datasets.folder.Folder, root: null}",
    "dataset/shades": "{_target_: judges.Shades}",
    "task/interpolation": (
        "{_target_: fpinv.tasks.interpolation.Interpolation, points: 4, features: classifier, "
        "classifier: {_target_: judges.Brightness}, path: {_target_: fpinv.seeds.paths.Slerp}}"
    ),
    "experiment/figure": (
        "# @package _global_\nguidance: 3\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {inverter: 'ddim,fpi'}}}"
    ),
    "experiment/sized": (
        "# @package _global_\nlimit: ${by_scale:1,2,3,4}\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: "
        '{guidance: \'${by_scale:1,"1,2","1,2,3"}\'}}}'
    ),
}


def write_toy_conf(folder: Path) -> Path:
    """Write the configuration; return its folder."""
    for option, text in OPTIONS.items():
        file = folder / f"{option}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    shutil.copy(ROOT / "conf" / "config.yaml", folder)
    for group in ("scale", "sampler"):
        shutil.copytree(ROOT / "conf" / group, folder / group, dirs_exist_ok=True)
    return folder


def environment_of_its_own() -> dict[str, str]:
    """Return variables for a process that finds the toys and has a W&B service of its own."""
    path = [str(ROOT / "src"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    variables = {
        "PYTHONPATH": os.pathsep.join(path),
        "WANDB_MODE": "offline",
        "OMP_NUM_THREADS": "1",
    }
    return {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"} | variables
