"""Tools of the training scripts: pictures, a seeded loop, averages, checkpoints, loss curves."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from diffusers import AutoencoderKL
from matplotlib.figure import Figure
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor, nn

from fpinv.datasets.scenes import Scene, caption, render_array, sample_scene
from fpinv.datasets.scenes.captions import PREFIXES
from fpinv.datasets.scenes.world import PREVALENCE, SHAPE_NAMES, TRAINING_PREVALENCE
from fpinv.run.files import replacing, write

Net = TypeVar("Net", bound=nn.Module)


def prepare(cfg: DictConfig) -> torch.device:
    """Set threads, denormals, seed and, under torchrun, the process group; return the device.

    Where ``cfg.bf16`` is None it becomes whether the device multiplies faster in bf16.
    """
    torch.set_flush_denormal(True)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    torch.manual_seed(cfg.seed)
    kind = cfg.device
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if cfg.get("bf16", False) is None:
        # AVX512-BF16 alone is not enough: without AMX a step took four times as long as in fp32.
        cfg.bf16 = kind == "cuda" or torch.cpu._is_amx_tile_supported()
    if dist.is_torchelastic_launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    return torch.device(kind, int(os.environ.get("LOCAL_RANK", 0)) if kind == "cuda" else None)


def ranks() -> tuple[int, int]:
    """Return this process's rank and the number of processes (0 and 1 without torchrun)."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


@contextmanager
def first_rank_first() -> Iterator[None]:
    """Let rank 0 through the block before the others, which then find its files on disk."""
    rank, world = ranks()
    if rank > 0:
        dist.barrier()
    yield
    if rank == 0 and world > 1:
        dist.barrier()


# --- pictures -------------------------------------------------------------------------------


def scene_at(index: int, data: DictConfig) -> Scene:
    """Return a scene of a training set; with `data.even` every second one has even shapes."""
    shapes = SHAPE_NAMES if data.even and index % 2 else None
    prevalence = TRAINING_PREVALENCE if data.tail == "training" else PREVALENCE
    return sample_scene(data.seed, index, data.split, shapes=shapes, prevalence=prevalence)


def scenes(data: DictConfig) -> list[Scene]:
    """Return all scenes of a training set."""
    return [scene_at(index, data) for index in range(data.count)]


def plain(scene: Scene) -> str:
    """Return the caption that names the shapes alone: `a photo of a star`."""
    phrasing = PREFIXES.index("a photo of ")
    return caption(replace(scene, phrasing=phrasing), keep=lambda: False)


def data_name(data: DictConfig) -> str:
    """Return the name of a training set among the files on disk."""
    shapes = f"{'even-' if data.even else ''}{data.tail}"
    return f"{data.split}-{data.seed}-{data.size}-{data.count}-{shapes}"


def _rendered(index: int, data: DictConfig) -> NDArray[np.uint8]:
    return render_array(scene_at(index, data), data.size)


def pictures(data: DictConfig) -> NDArray[np.uint8]:
    """Return the pictures (count, size, size, 3) of a training set, rendered once."""
    path = Path(data.cache) / f"{data_name(data)}.npy"
    if not path.exists():
        with ProcessPoolExecutor() as pool:
            images = list(
                pool.map(partial(_rendered, data=data), range(data.count), chunksize=500)
            )
        with replacing(path) as partial_file, partial_file.open("wb") as file:
            np.save(file, np.stack(images))
    loaded: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return loaded


def to_tensor(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Convert bytes (B, H, W, 3) to floats (B, 3, H, W) in [-1, 1]."""
    x = torch.from_numpy(np.array(images, order="C")).to(device)
    return x.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(images: Tensor) -> NDArray[np.uint8]:
    """Convert floats (B, 3, H, W) in [-1, 1] to bytes (B, H, W, 3)."""
    scaled = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
    return scaled.transpose(0, 2, 3, 1)


def autoencoder(folder: str, device: torch.device) -> AutoencoderKL:
    """Return the trained autoencoder of a diffusers folder, in single precision."""
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32)
    return vae.to(device, memory_format=torch.channels_last)


@torch.no_grad()
def reconstructed(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Return pictures (B, 3, H, W) in [-1, 1] after an autoencoder."""
    batches = [vae.decode(vae.encode(x).latent_dist.mode()).sample for x in images.split(50)]
    return torch.cat(batches).clamp(-1, 1)


def batch_indices(step: int, count: int, batch: int, seed: int) -> NDArray[np.int64]:
    """Return the indices of this rank's share of the batch, from epochs of a seeded shuffle.

    They depend on the step alone, so that a resumed run sees what an uninterrupted one sees.
    """
    rank, world = ranks()
    epoch, offset = divmod(step * batch, count)
    epochs = range(epoch, epoch + 1 + (offset + batch - 1) // count)
    order = np.concatenate([_shuffled(epoch, count, seed) for epoch in epochs])
    return order[offset : offset + batch][rank::world]


@lru_cache(maxsize=2)
def _shuffled(epoch: int, count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)


# --- the loop -------------------------------------------------------------------------------


@dataclass
class Run:
    """A training run: the network, its running average, the optimiser and their progress."""

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    folder: Path
    step: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)

    @property
    def stateful(self) -> dict[str, Any]:
        """Return the model, its average and the optimiser, by their names in the checkpoint."""
        return {"model": self.model, "average": self.average, "optimizer": self.optimizer}

    def save(self) -> None:
        """Write `checkpoint.pt`, whole or not at all."""
        states = {name: owner.state_dict() for name, owner in self.stateful.items()}
        with replacing(self.folder / "checkpoint.pt") as partial_file:
            torch.save(states | {"step": self.step, "losses": self.losses}, partial_file)

    def load(self) -> None:
        """Go on from `checkpoint.pt` if there is one."""
        path = self.folder / "checkpoint.pt"
        if path.exists():
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            for name, owner in self.stateful.items():
                owner.load_state_dict(checkpoint[name])
            self.step, self.losses = checkpoint["step"], checkpoint["losses"]


def start(model: nn.Module, cfg: DictConfig, device: torch.device) -> Run:
    """Return a run over the model's parameters, resumed if the configuration says so."""
    model = model.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay, betas=(0.9, cfg.beta2)
    )
    average = copy.deepcopy(model).eval().requires_grad_(False)
    run = Run(model, average, optimizer, Path(cfg.folder))
    if cfg.resume:
        run.load()
    return run


def rate(step: int, cfg: DictConfig, spent: float = 0.0) -> float:
    """Return the learning rate: linear warm-up, then a cosine to `lr_end`, or constant.

    Arguments:
        spent: Share of the run's time that is over, if it ends by the clock.
    """
    warm = min(1.0, (step + 1) / cfg.warmup)
    if cfg.schedule == "constant":
        return float(cfg.lr * warm)
    done = (step - cfg.warmup) / max(1, cfg.steps - cfg.warmup)
    done = min(1.0, max(0.0, done, spent))
    floor = cfg.lr_end
    return float((floor + (cfg.lr - floor) * 0.5 * (1 + math.cos(math.pi * done))) * warm)


def share_of_time(began: float, cfg: DictConfig) -> float:
    """Return the share of a run's time that is over: 0 without end, 1 when it must end."""
    if not cfg.until:
        return 0.0
    now = time.time()
    return 1.0 if now >= cfg.until else (now - began) / (cfg.until - began)


@torch.no_grad()
def _share_gradients(model: nn.Module) -> None:
    """Average the gradients over the ranks."""
    _, world = ranks()
    if world > 1:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        means = (flat / world).split([g.numel() for g in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))


def _numbers(model: nn.Module) -> list[Tensor]:
    """Return the parameters, and the statistics of batch norms."""
    return [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]


@contextmanager
def termination() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGTERM has come, which no longer ends the process."""
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
    try:
        yield lambda: bool(signals)
    finally:
        signal.signal(signal.SIGTERM, before)


def train(
    run: Run,
    loss: Callable[[int], Tensor],
    cfg: DictConfig,
    device: torch.device,
    export: Callable[[nn.Module], Any],
) -> None:
    """Minimise `loss(step)`; checkpoint and export the average by the clock and at the end.

    A single process ends by the clock, too, and when it is asked to (SIGTERM): it finishes its
    step, saves and exports. Under torchrun every rank takes its share of the batch; rank 0 logs,
    saves and exports.
    """
    with termination() as ended:
        _loop(run, loss, cfg, device, export, ended)
    if ranks()[0] > 0:
        return
    run.save()
    export(run.average)
    plot(run.losses, run.folder / "loss.png", cfg.name)


def _loop(
    run: Run,
    loss: Callable[[int], Tensor],
    cfg: DictConfig,
    device: torch.device,
    export: Callable[[nn.Module], Any],
    ended: Callable[[], bool],
) -> None:
    rank, world = ranks()
    began = time.time()
    saved = exported = logged = time.monotonic()
    recent: list[float] = []
    while run.step < cfg.steps:
        spent = share_of_time(began, cfg)
        # Several ranks would end at different steps, and wait for one another.
        if world == 1 and (ended() or spent >= 1):
            break
        recent.append(_advance(run, loss, cfg, device, spent))
        if rank > 0:
            continue
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


def _advance(
    run: Run,
    loss: Callable[[int], Tensor],
    cfg: DictConfig,
    device: torch.device,
    spent: float,
) -> float:
    """Take one step of the optimiser and of the average; return the loss."""
    for group in run.optimizer.param_groups:
        group["lr"] = rate(run.step, cfg, spent)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=cfg.bf16):
        value = loss(run.step)
    run.optimizer.zero_grad()
    value.backward()
    _share_gradients(run.model)
    nn.utils.clip_grad_norm_(run.model.parameters(), cfg.clip)
    run.optimizer.step()
    run.step += 1
    decay = min(cfg.ema, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        torch._foreach_lerp_(_numbers(run.average), _numbers(run.model), 1 - decay)
    return value.item()


def plot(losses: Sequence[tuple[int, float]], path: Path, title: str) -> None:
    """Draw the loss curve into a file."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*losses, strict=True)) if losses else None
    axes.set(xlabel="step", ylabel="loss", title=title, yscale="log")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def write_json(path: Path, content: object) -> None:
    """Write indented JSON with a final newline."""
    write(path, json.dumps(content, indent=2) + "\n")


def as_half(model: Net) -> Net:
    """Return a copy in half precision, for shipping."""
    return copy.deepcopy(model).half().eval()
