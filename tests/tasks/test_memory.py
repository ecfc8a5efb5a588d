"""Tasks that run out of memory: smaller batches, the same records, one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import ToyModel
from toy_commands import PAIRS, REAL_INVERTER, Command, rows, summary

from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.tasks.memory import is_out_of_memory, within_memory
from fpinv.tasks.record import Record
from fpinv.tasks.stages import run_stages
from fpinv.tasks.task import Settings

SETTINGS = Settings(steps=1, guidance=1, seed=0, batch_size=8)


@dataclass
class Hungry:
    """A task whose batches fit up to a size, and whose records are numbers of their examples.

    Arguments:
        room: Largest batch that fits.
    """

    metrics = ()
    room: int

    def __call__(
        self, model: Any, inverter: Any, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        return run_stages(examples, settings.batch_size, self._stage)

    def _stage(self, batch: list[Example]) -> list[Record]:
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return [Record(e.id, e.prompt, {"number": float(e.id)}) for e in batch]


class Crammed(ToyModel):
    """A model that has room for two images at a time."""

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().encode(images)


def examples(count: int) -> Iterator[Example]:
    return (Example(str(k), f"prompt {k}", image=lambda: None) for k in range(count))


@pytest.mark.parametrize("room", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("count", [1, 5, 19])
def test_every_example_has_one_record_in_order_whatever_memory_there_is(room: int, count: int):
    task, said = Hungry(room), []
    records = list(within_memory(task, None, None, examples(count), SETTINGS, said.append))
    assert [record.id for record in records] == [str(k) for k in range(count)]
    fitting = next(size for size in (8, 4, 2, 1) if min(size, count) <= room)
    assert said == ([] if fitting == 8 else [fitting])


def test_memory_that_shrinks_later_costs_no_record():
    task, said = Hungry(8), []
    records = within_memory(task, None, None, examples(20), SETTINGS, said.append)
    first = [next(records) for _ in range(8)]
    task.room = 2
    assert [r.id for r in [*first, *records]] == [str(k) for k in range(20)] and said == [2]


def test_an_example_that_needs_more_than_all_memory_is_an_error_in_one_line():
    with pytest.raises(UserError, match="batch_size=1") as error:
        list(within_memory(Hungry(0), None, None, examples(3), SETTINGS, print))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_full_memory_is_told_from_other_errors(error: Exception, full: bool):
    assert is_out_of_memory(error) is full


def test_an_allocation_beyond_the_machine_is_out_of_memory():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert is_out_of_memory(error.value)


RECONSTRUCTIONS = ["task=round_trip", "model=toy", "dataset=shades", *REAL_INVERTER, "steps=3"]


@pytest.mark.parametrize("overrides", [RECONSTRUCTIONS, PAIRS])
def test_a_run_out_of_memory_has_the_records_of_smaller_batches(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str]
):
    small, crammed, overrides = tmp_path / "small", tmp_path / "crammed", [*overrides, "limit=6"]
    assert run(*overrides, "batch_size=2", f"hydra.run.dir={small}") == 0
    assert capsys.readouterr().err == ""
    model = "model._target_=test_memory.Crammed"
    assert run(*overrides, model, "batch_size=8", f"hydra.run.dir={crammed}") == 0
    line = "out of memory: the run goes on with batch_size=2; its results are the same\n"
    assert capsys.readouterr().err == line
    assert line in (crammed / "run.log").read_text()
    assert without_seconds(rows(crammed)) == without_seconds(rows(small))
    assert summary(crammed)["n"] == summary(small)["n"] == 6


def without_seconds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows]
