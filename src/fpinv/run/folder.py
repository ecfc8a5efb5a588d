"""The files of a run, which are its records: one line per example, pictures and a summary.

A run folder holds::

    metrics.jsonl       one line per example, written as it finishes
    made_with.jsonl     weights, versions, device behind the lines (:mod:`fpinv.run.provenance`)
    metrics.rank<k>.jsonl  the same by process k of several, until the first one takes it over
    images/<id>/*.png   its pictures, written before its line
    inversions/<id>.safetensors  its image's inversion (key ``inversions``), likewise
    arrays/<id>.safetensors      its share of measures over all examples, likewise
    summary.json        flat: means with 95 % intervals, counts, versions
    config.yaml         the configuration, resolved
    job.json            the command that began it (:mod:`fpinv.run.layout`)
    status.json         the exit code, and the error in one line
    .lock               held while a process writes here (:mod:`fpinv.run.lock`)
    run.log, error.log  warnings, and the traceback of a crash
    wandb/              the W&B run

A run may be killed at any moment, which on a GPU costs the records that wait to be written, up to
``batch_size`` of them: every file but ``metrics.jsonl`` appears whole or not at all, and of that
one, a half-written last line is dropped when the run resumes. So is a line that was damaged later:
each ends with the CRC-32 of what stands before it. The rest of files that were being written goes
then, too.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from array import array
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fpinv.metrics.glossary import describe
from fpinv.run.files import PARTIAL, replacing, write
from fpinv.run.lines import Lines
from fpinv.run.record_line import Entry, line_of, parse
from fpinv.tasks.record import finite, inversion_file, metrics_of
from fpinv.tasks.saved_inversions import entries_of

if TYPE_CHECKING:
    from torch import Tensor

    from fpinv.tasks.record import Record


LINES_FILE = "metrics.jsonl"


def is_interval(value: Any) -> bool:  # noqa: ANN401
    """Return whether an entry of a summary is the mean of a metric."""
    return isinstance(value, Mapping) and "mean" in value


class RunFolder:
    """The records of one run; opening a folder that has some continues them.

    Lines that cannot be read, and those of failed examples, are dropped at opening, so that their
    examples are done again.

    Arguments:
        path: The folder; made if need be.

    Attributes:
        rows: The lines of metrics.jsonl, in order, read from disk whenever they are looked at.
        rank: Number of the process that writes here, where several share a run: all but the first
            write lines of their own, which :meth:`merge` takes over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rank = 0
        self._saved: set[str] = set()
        path.mkdir(parents=True, exist_ok=True)
        for partial in path.rglob(PARTIAL.format("*")):
            partial.unlink()
        self.rows = Lines()
        if self.lines.exists():
            self.rows.scan(self.lines)
        self.merge()
        self.rows.drop(self.failed.ids)
        self._rewrite()

    @property
    def lines(self) -> Path:
        """The file of one line per example."""
        return self.path / (f"metrics.rank{self.rank}.jsonl" if self.rank else LINES_FILE)

    @property
    def finished(self) -> Lines:
        """The lines of examples that need not be done again."""
        return self.rows.where(failed=False)

    @property
    def failed(self) -> Lines:
        """The lines of examples that failed."""
        return self.rows.where(failed=True)

    def merge(self) -> Lines:
        """Take over the lines of other processes; return those that are new."""
        count = len(self.rows)
        unordered = self.path.glob("metrics.rank*.jsonl")
        files = sorted(unordered, key=lambda file: (len(file.name), file.name))  # by rank
        for file in files:
            self.rows.scan(file)
        if files:
            self._rewrite()  # before the files go, so that a kill here costs nothing
        for file in files:
            file.unlink()
        return self.rows[count:]

    def arrange(self, ids: Sequence[str]) -> None:
        """Put the lines in the order of the examples ``ids``."""
        self.rows.arrange(ids)
        self._rewrite()

    def drop(self, ids: Collection[str]) -> None:
        """Take examples out of the records, with their pictures, inversions and arrays."""
        if not ids:
            return
        self.rows.drop(ids)
        self._rewrite()
        for id in ids:
            shutil.rmtree(self.path / "images" / quote(id, safe=""), ignore_errors=True)
            for file in (self.inversion(id), self._arrays(id)):
                file.unlink(missing_ok=True)

    def _rewrite(self) -> None:
        """Make the file hold just the rows, copied a line at a time."""
        if not self.rows.fill(self.lines):
            with replacing(self.lines) as partial, partial.open("wb") as target:
                self.rows.move(target, self.lines)
                target.flush()
                os.fsync(target.fileno())

    def append(
        self,
        record: Record,
        *,
        entries: Mapping[str, Any] | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write a record's pictures and inversion, then its line; return the line as a mapping.

        Arguments:
            record: The record.
            entries: What the file of its inversion says of it; None for what
                :func:`fpinv.tasks.saved_inversions.entries_of` says without settings.
            origin: Entries of the line that say what the record was made from
                (:data:`fpinv.tasks.record.ORIGIN`).
        """
        self._save_inversion(record, entries)
        if record.arrays:
            self._save_arrays(record)
        for name, image in record.images.items():
            with replacing(self.picture(record.id, name)) as path:
                image.save(path, format="PNG")
        row = record.row() | dict(origin or {})
        line = line_of(row).encode()
        with self.lines.open("ab") as file:
            start = file.seek(0, os.SEEK_END)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.rows.add(Entry(record.id, record.error is not None), self.lines, start, len(line))
        return row

    def holds_inversion(self, record: Record) -> bool:
        """Return whether a record of the same image has written the inversion in this process.

        One of an earlier process does not count: its image may have been another then.
        """
        return record.image_id in self._saved

    def _save_inversion(self, record: Record, entries: Mapping[str, Any] | None) -> None:
        if record.inversion is not None and not self.holds_inversion(record):
            with replacing(self.inversion(record.image_id)) as path:
                record.inversion.save(path, entries_of(record, {}) if entries is None else entries)
            self._saved.add(record.image_id)

    def _save_arrays(self, record: Record) -> None:
        from safetensors.torch import save_file

        tensors = {k: v.detach().cpu().contiguous() for k, v in record.arrays.items()}
        with replacing(self._arrays(record.id)) as path:
            save_file(tensors, path)

    def arrays(self) -> list[dict[str, Tensor]]:
        """Return the arrays of the finished examples that have some, in order."""
        from safetensors.torch import load_file

        files = [self._arrays(id) for id in self.finished.ids]
        return [load_file(file) for file in files if file.exists()]

    def _arrays(self, id: str) -> Path:
        return self.path / "arrays" / f"{quote(id, safe='')}.safetensors"

    def picture(self, id: str, name: str) -> Path:
        """Return the file of the picture ``name`` of example ``id``."""
        return picture(self.path, id, name)

    def inversion(self, id: str) -> Path:
        """Return the file of the inversion of the image ``id``."""
        return inversion_file(self.path, id)

    def summarise(
        self,
        header: Mapping[str, Any],
        total: int,
        expected: Sequence[str] = (),
        pooled: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write summary.json and return its content.

        Arguments:
            header: Entries that say what was run, with what.
            total: Number of examples that the run is about; fewer records mean it was cut short.
            expected: Metrics that are null where no example was measured.
            pooled: Measures over all examples together.
        """
        from fpinv.metrics.intervals import mean_ci95

        counts = {"n": len(self.finished), "failed": len(self.failed), "total": total}
        columns = {name: array("d") for name in expected}
        images: list[str] = []
        for count, row in enumerate(self.finished.heads()):
            metrics = metrics_of(row)
            new = [name for name in metrics if name not in columns]
            columns |= {name: array("d", [math.nan]) * count for name in new}
            for name, column in columns.items():
                value = metrics.get(name)
                column.append(math.nan if value is None else value)
            images.append(row.get("image") or row["id"])
        sources = images if len(set(images)) < len(images) else None
        means = {
            # The examples of a batch share its seconds: equal ones are one measurement.
            name: mean_ci95(
                values,
                clusters=values if name.startswith("seconds") else sources,
                share=describe(name).unit == "%",
            )
            for name, values in columns.items()
        }
        summary = finite({**header, **counts, **means, **(pooled or {})})
        write(self.path / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
        return summary


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run folder's metrics.jsonl that can be read; the file stays as it is.

    Where an example has several lines, its last one counts.
    """
    lines = Lines()
    lines.scan(folder / LINES_FILE)
    return list(lines)


def parsed_lines(file: Path) -> list[dict[str, Any] | None]:
    """Return the JSON object in each line of a file, None for a line that holds none."""
    return [parse(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def holds_run(folder: Path) -> bool:
    """Return whether lines of a run lie in a folder."""
    return any(folder.glob("metrics*.jsonl"))


def picture(folder: Path, id: str, name: str) -> Path:
    """Return the file of the picture ``name`` of example ``id`` in a run folder."""
    return folder / "images" / quote(id, safe="") / f"{name}.png"
