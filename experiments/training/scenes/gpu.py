"""Make the 128 px model on a GPU in minutes: `python experiments/training/scenes/gpu.py out=...`.

Pictures are rendered on all CPU cores; the autoencoder and CLIP are trained beside each other, as
small networks leave most of a GPU idle; then the denoiser, for all the time that is left, and the
classifier beside it. Every part ends by the clock, writes its checkpoint and its export every
minute, and its output to `<part>.log`. A compiled part that fails goes on without compilation.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import common
import hydra
from hydra import compose
from omegaconf import DictConfig

FOLDER = Path(__file__).parent
MARGIN = 15
"""Seconds between the end of the denoiser's steps and the end of everything."""


@dataclass
class Part:
    """The training of one part in a process of its own."""

    name: str
    until: float
    out: Path
    overrides: list[str]
    began: float = field(default_factory=time.time)
    tries: int = 0

    def start(self) -> Part:
        """Start the process, or start it again without compilation."""
        script = FOLDER / f"train_{self.name}.py"
        keys = [f"out={self.out}", f"until={self.until:.0f}", *self.overrides]
        if self.tries:
            keys += ["resume=true", "++compile=false"]
        self.tries += 1
        with (self.out / f"{self.name}.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), "--config-name", f"gpu/{self.name}", *keys],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
            )
        return self

    def wait(self) -> None:
        """Wait for the end; a first failure is tried again, a second one ends everything."""
        if self.process.wait() and self.tries == 1:
            print(f"{self.name} failed and is tried again:\n{self.tail()}", flush=True)
            self.start().process.wait()
        if self.process.returncode:
            raise SystemExit(f"{self.name} failed:\n{self.tail()}")
        print(f"{self.name}: {(time.time() - self.began) / 60:.1f} minutes; {self.tail(1)}")

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        return "\n".join((self.out / f"{self.name}.log").read_text().splitlines()[-lines:])


@hydra.main(config_path="conf", config_name="gpu", version_base="1.3")
def main(cfg: DictConfig) -> None:
    began = time.time()
    until = began + 60 * cfg.minutes
    out, overrides = Path(cfg.out), list(cfg.overrides)
    out.mkdir(parents=True, exist_ok=True)

    def render(part: str) -> None:
        data = compose(f"gpu/{part}", overrides=[f"out={out}", *overrides]).data
        common.pictures(data)
        print(f"pictures of {part}: {data.count}, {time.time() - began:.0f} s", flush=True)

    def start(part: str, minutes: float) -> Part:
        return Part(part, min(until, time.time() + 60 * minutes), out, overrides).start()

    render("vae")
    encoders = [start(part, cfg.first) for part in ("vae", "clip")]
    render("unet")
    for part in encoders:
        part.wait()
    unet = Part("unet", until - MARGIN, out, overrides).start()
    start("classifier", cfg.classifier).wait()
    unet.wait()
    print(f"done after {(time.time() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
