"""Stand-ins for a run's parts that need no network, named by the configurations of the tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import torch
from PIL import Image

from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.models.origin import ModelOrigin
from fpinv.tasks.record import Record
from fpinv.tasks.task import Settings

Precision = Literal["fp32", "tf32", "fp16", "bf16"]


@dataclass(frozen=True)
class ToyInverter:
    """An inverter's arguments without its methods."""

    iterations: int = 5
    tolerance: float | None = None
    start: Literal["previous", "extrapolated"] = "previous"


class ToyDataset:
    """Examples whose image is a grey square; those at ``corrupt`` fail."""

    def __init__(
        self, size: int = 10, root: str | None = None, corrupt: int | None = None
    ) -> None:
        if root is not None and not Path(root).is_dir():
            raise UserError(f"{root}: no such folder; check dataset.root")
        self.size, self.corrupt = size, corrupt
        self.notes = [] if root is None else [f"captions: grey levels of {root}"]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        picture = Image.new("RGB", (8, 8), (index, index, index))
        image = Path("broken.png") if index == self.corrupt else picture
        return Example(f"{index:03d}", f"grey {index}", image)


def load_model(
    path: str | None = None, device: str = "auto", precision: Precision = "fp32", reads: int = 60
) -> Any:
    """Return an object with a model's name and origin, which reads so many letters of a prompt."""
    if path is not None and not Path(path).is_dir():
        raise UserError(f"model.path={path}: no such folder")
    origin = ModelOrigin(
        path=str(path), commit=None, digest="0", scheduler="none", spacing="leading"
    )
    return SimpleNamespace(
        name="toy",
        origin=origin,
        device=torch.device("cpu" if device == "auto" else device),
        excess=lambda prompt: prompt[reads:],
    )


@dataclass(frozen=True)
class ToyTask:
    """A task that measures the grey of an example.

    Arguments:
        stop_at: Example at which the process sends itself ``signal``, once.
        signal: Number of the signal.
        crash: Raise an exception that is no user error.
        crash_at: Example at which such an exception is raised.
    """

    metrics: ClassVar[tuple[str, ...]] = ("psnr",)

    stop_at: int | None = None
    signal: int = int(signal.SIGKILL)
    crash: bool = False
    crash_at: int | None = None

    def __call__(
        self, model: Any, inverter: ToyInverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        for example in examples:
            if self.crash or int(example.id) == self.crash_at:
                raise RuntimeError("the toy broke")
            if int(example.id) == self.stop_at and "TOY_GOES_ON" not in os.environ:
                os.kill(os.getpid(), self.signal)
                time.sleep(5)
            yield self._record(example, inverter, settings)

    def _record(self, example: Example, inverter: ToyInverter, settings: Settings) -> Record:
        try:
            picture = example.open()
        except UserError as error:
            return Record(example.id, example.prompt, error=str(error))
        psnr = picture.getpixel((0, 0))[0] + inverter.iterations + settings.guidance
        metrics = {"psnr": psnr, "residual": None, "nfe_calls": settings.steps * 1.0}
        series = {"residual": [0.5**i for i in range(inverter.iterations)]}
        return Record(
            example.id,
            example.prompt,
            metrics,
            series,
            {"original": picture, "reconstruction": picture},
        )
