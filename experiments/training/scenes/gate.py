"""Measure the shapes of plain and full captions: `python experiments/training/scenes/gate.py`.

Plain captions name a class and nothing else ("a photo of a star"); full ones say everything. Class
sampling averages 96 captions, and is measured by ``experiment=spacing``. The bundled classifier
reads the pictures, and every share has its 95 % interval. Prints a table and writes it as JSON
(`card=`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import hydra
import model_card
import torch
from diffusers import StableDiffusionPipeline
from evaluate import generated, judged, lone, share
from omegaconf import DictConfig

from fpinv.datasets.scenes import Scene, caption, sample_scene
from fpinv.datasets.scenes.world import SHAPES
from fpinv.metrics.classifiers.scene_network import SceneClassifier
from fpinv.reporting.tables import markdown


def tasks(cfg: DictConfig) -> dict[str, tuple[list[Scene], Callable[[Scene], str], str]]:
    """Return the scenes, their captions and the attribute that must be right, by task."""
    measured = {
        f"plain, {name}": (lone(cfg, name, cfg.n), common.plain, "shape") for name in SHAPES
    }
    for count, name, key in ((1, "full, one object", "shape"), (2, "full, two objects", "bound")):
        scenes = [sample_scene(cfg.seed, k, "test", objects=count) for k in range(cfg.n)]
        measured[name] = (scenes, caption, key)
    return measured


@hydra.main(config_path="conf", config_name="gate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    device = common.prepare(cfg)
    pipeline = StableDiffusionPipeline.from_pretrained(cfg.weights)
    pipeline.set_progress_bar_config(disable=True)
    pipeline = pipeline.to(device)
    judge = SceneClassifier.from_pretrained(f"{cfg.weights}/classifier").to(device)
    card: dict[str, dict[str, Any]] = {}
    for name, (scenes, say, key) in tasks(cfg).items():
        card[name] = {}
        for w in cfg.guidances:
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=cfg.bf16):
                pictures = generated(pipeline, scenes, cfg, w, say)
            rows = judged(judge, pictures, scenes)[1]
            card[name][f"w = {w:g}"] = share([row[key] for row in rows])
    common.write_json(Path(cfg.card), card)
    columns = [f"w = {w:g}" for w in cfg.guidances]
    rows = [
        [name, *(model_card.percent(values[column]) for column in columns), str(cfg.n)]
        for name, values in card.items()
    ]
    print(markdown(["% right, 95 % interval", *columns, "n"], rows))


if __name__ == "__main__":
    main()
