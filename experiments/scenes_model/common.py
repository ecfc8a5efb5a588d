"""What the training scripts share: pictures, a seeded loop, averages, checkpoints, loss curves."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor, nn

from fpinv.datasets.scenes import SHAPES, Scene, render_array, sample_scene

Net = TypeVar("Net", bound=nn.Module)

ALL_SHAPES = tuple(shape for group in SHAPES.values() for shape in group)


def prepare(cfg: DictConfig) -> torch.device:
    """Threads, denormals and seed; the device to train on."""
    torch.set_flush_denormal(True)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    torch.manual_seed(cfg.seed)
    if cfg.device != "auto":
        return torch.device(cfg.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


# --- pictures -------------------------------------------------------------------------------


def scene_at(index: int, data: DictConfig) -> Scene:
    """Scene of a training set; with `data.even` every second one draws its shapes evenly."""
    shapes = ALL_SHAPES if data.even and index % 2 else None
    return sample_scene(data.seed, index, data.split, shapes=shapes)


def scenes(data: DictConfig) -> list[Scene]:
    """All scenes of a training set."""
    return [scene_at(index, data) for index in range(data.count)]


def _rendered(span: tuple[int, int], data: DictConfig) -> NDArray[np.uint8]:
    return np.stack([render_array(scene_at(k, data), data.size) for k in range(*span)])


def pictures(data: DictConfig) -> NDArray[np.uint8]:
    """The pictures (count, size, size, 3) of a training set, rendered once and kept on disk."""
    name = f"{data.split}-{data.seed}-{data.size}-{data.count}-{'even' if data.even else 'tail'}"
    path = Path(data.cache) / f"{name}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        spans = [(k, min(k + 500, data.count)) for k in range(0, data.count, 500)]
        with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
            parts = list(pool.map(partial(_rendered, data=data), spans))
        whole = path.with_suffix(".part.npy")
        np.save(whole, np.concatenate(parts))
        whole.rename(path)
    loaded: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return loaded


def to_tensor(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Bytes (B, H, W, 3) to floats (B, 3, H, W) in [-1, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return x.permute(0, 3, 1, 2).float() / 127.5 - 1


def batch_indices(step: int, count: int, batch: int, seed: int) -> NDArray[np.int64]:
    """Indices of the step's batch: epochs of a seeded shuffle, the same after a resume."""
    start = step * batch
    order = [
        _shuffled(epoch, count, seed) for epoch in {start // count, (start + batch - 1) // count}
    ]
    epochs = np.concatenate(order) if len(order) > 1 else order[0]
    offset = start % count
    return epochs[offset : offset + batch]


_orders: dict[tuple[int, int, int], NDArray[np.int64]] = {}


def _shuffled(epoch: int, count: int, seed: int) -> NDArray[np.int64]:
    key = (epoch, count, seed)
    if key not in _orders:
        for old in [k for k in _orders if k[0] < epoch - 1]:
            del _orders[old]
        _orders[key] = np.random.default_rng([seed, epoch]).permutation(count)
    return _orders[key]


# --- the loop -------------------------------------------------------------------------------


@dataclass
class Run:
    """A training run: the network, its running average, the optimiser and where they stand."""

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    folder: Path
    step: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)

    def save(self) -> None:
        """Write `checkpoint.pt`, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "losses": self.losses,
        }
        part = self.folder / "checkpoint.part"
        torch.save(state, part)
        part.rename(self.folder / "checkpoint.pt")

    def load(self) -> None:
        """Go on from `checkpoint.pt` if there is one."""
        path = self.folder / "checkpoint.pt"
        if path.exists():
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            if state["optimizer"] is not None:
                self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.losses = state["step"], state["losses"]


def start(model: nn.Module, cfg: DictConfig, device: torch.device) -> Run:
    """A run over the model's parameters, resumed if the configuration says so."""
    model = model.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay, betas=(0.9, cfg.beta2)
    )
    average = copy.deepcopy(model).eval().requires_grad_(False)
    run = Run(model, average, optimizer, Path(cfg.folder))
    if cfg.resume:
        run.load()
    return run


def rate(step: int, cfg: DictConfig) -> float:
    """Learning rate: linear warm-up, then a cosine to `lr_end`, or constant."""
    warm = min(1.0, (step + 1) / cfg.warmup)
    if cfg.schedule == "constant":
        return float(cfg.lr * warm)
    done = min(1.0, max(0.0, (step - cfg.warmup) / max(1, cfg.steps - cfg.warmup)))
    floor = cfg.lr_end
    return float((floor + (cfg.lr - floor) * 0.5 * (1 + math.cos(math.pi * done))) * warm)


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    theirs, ours = list(model.parameters()), list(average.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - decay)


def train(
    run: Run,
    loss: Callable[[int], Tensor],
    cfg: DictConfig,
    device: torch.device,
    export: Callable[[nn.Module], Any],
) -> None:
    """Minimise `loss(step)`; checkpoint and export the average by the clock."""
    saved = exported = logged = time.monotonic()
    recent: list[float] = []
    while run.step < cfg.steps:
        for group in run.optimizer.param_groups:
            group["lr"] = rate(run.step, cfg)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=cfg.bf16):
            value = loss(run.step)
        run.optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(run.model.parameters(), cfg.clip)
        run.optimizer.step()
        run.step += 1
        _follow(run.average, run.model, min(cfg.ema, (1 + run.step) / (10 + run.step)))
        recent.append(value.item())
        now = time.monotonic()
        if run.step % cfg.log_every == 0:
            run.losses.append((run.step, float(np.mean(recent))))
            seconds = (now - logged) / len(recent)
            print(f"step {run.step} loss {run.losses[-1][1]:.5f} {seconds:.3f} s/step", flush=True)
            recent, logged = [], now
        if now - saved > 60 * cfg.checkpoint_minutes:
            run.save()
            saved = now
        if now - exported > 60 * cfg.export_minutes:
            export(run.average)
            exported = now
    run.save()
    export(run.average)
    plot(run.losses, run.folder / "loss.png", cfg.name)


def plot(losses: Sequence[tuple[int, float]], path: Path, title: str) -> None:
    """The loss curve as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot(*zip(*losses, strict=True)) if losses else None
    axes.set(xlabel="step", ylabel="loss", title=title, yscale="log")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write_json(path: Path, content: object) -> None:
    """Pretty JSON with a final newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def as_half(model: Net) -> Net:
    """A copy in half precision, for shipping."""
    return copy.deepcopy(model).half().eval()
