"""The files of a run, which are its record: one line per example, pictures and a summary.

A run folder holds::

    metrics.jsonl       one line per example, written as it finishes
    metrics.rank<k>.jsonl  the same by process k of several, until the first one takes it over
    images/<id>/*.png   its pictures, written before its line
    inversions/<id>.safetensors  its image's inversion, where that was asked for, likewise
    arrays/<id>.safetensors      what measures over all examples need of it, likewise
    summary.json        flat: means with 95 % intervals, counts, versions
    config.yaml         the configuration, resolved

A run may be killed at any moment: every file but ``metrics.jsonl`` appears whole or not at all,
and of that one, a half-written last line is dropped when the run resumes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fpinv.errors import UserError
from fpinv.tasks.record import REQUIRED, finite, inversion_file, metrics_of

if TYPE_CHECKING:
    from torch import Tensor

    from fpinv.tasks.record import Record


LINES_FILE = "metrics.jsonl"


def is_interval(value: Any) -> bool:  # noqa: ANN401
    """Whether an entry of a summary is the mean of a metric."""
    return isinstance(value, Mapping) and "mean" in value


class RunFolder:
    """The records of one run; opening a folder that has some continues them.

    Lines that cannot be read, and those of failed examples, are dropped at opening: their examples
    are done again.

    Arguments:
        path: The folder; made if need be.

    Attributes:
        rows: The lines of metrics.jsonl, in order.
        rank: Number of the process that writes here, where several share a run: all but the first
            write lines of their own, which :meth:`merge` takes over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rank = 0
        self.rows: list[dict[str, Any]] = []
        path.mkdir(parents=True, exist_ok=True)
        self._repair()

    @property
    def lines(self) -> Path:
        """The file of one line per example."""
        return self.path / (f"metrics.rank{self.rank}.jsonl" if self.rank else LINES_FILE)

    def _others(self) -> list[Path]:
        """The lines of other processes, by rank."""
        files = self.path.glob("metrics.rank*.jsonl")
        return sorted(files, key=lambda file: (len(file.name), file.name))

    @property
    def finished(self) -> set[str]:
        """The ids of the examples that need not be done again."""
        return {row["id"] for row in self.rows if row["error"] is None}

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The lines of examples that failed."""
        return [row for row in self.rows if row["error"] is not None]

    @property
    def metric_names(self) -> list[str]:
        """The metrics that any line has, in order."""
        return list(dict.fromkeys(name for row in self.rows for name in metrics_of(row)))

    def _repair(self) -> None:
        self.rows = _read(self.lines) if self.lines.exists() else []
        self.merge()
        self.rows = [row for row in self.rows if row["error"] is None]
        self._rewrite()

    def merge(self) -> list[dict[str, Any]]:
        """Takes over the lines of other processes; returns those that are new."""
        others, known = self._others(), {row["id"] for row in self.rows}
        self.rows = _last([*self.rows, *(row for file in others for row in _read(file))])
        if others:
            self._rewrite()  # first, so that a kill here costs nothing
        for file in others:
            file.unlink()
        return [row for row in self.rows if row["id"] not in known]

    def arrange(self, ids: Sequence[str]) -> None:
        """Puts the lines in the order of the examples ``ids``."""
        places = {id: place for place, id in enumerate(ids)}
        self.rows.sort(key=lambda row: places.get(row["id"], len(places)))
        self._rewrite()

    def _rewrite(self) -> None:
        whole = "".join(_line(row) for row in self.rows)
        if whole != (_text(self.lines) if self.lines.exists() else ""):
            write(self.lines, whole)

    def append(self, record: Record, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Writes a record's pictures and inversion, then its line, which it returns.

        Arguments:
            record: What to keep.
            about: What the inversion was made with; kept in its file.
        """
        name = record.image or record.id
        if record.inversion is not None and not self.inversion(name).exists():
            made_from = {"id": name, "prompt": record.prompt, **(about or {})}
            with replacing(self.inversion(name)) as path:
                record.inversion.save(path, made_from)
        if record.arrays:
            self._save_arrays(record)
        for name, image in record.images.items():
            with replacing(self.picture(record.id, name)) as path:
                image.save(path, format="PNG")
        row = record.row()
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(_line(row))
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)
        return row

    def _save_arrays(self, record: Record) -> None:
        from safetensors.torch import save_file

        tensors = {k: v.detach().cpu().contiguous() for k, v in record.arrays.items()}
        with replacing(self._arrays(record.id)) as path:
            save_file(tensors, path)

    def arrays(self) -> list[dict[str, Tensor]]:
        """The arrays of the finished examples that have some, in order."""
        from safetensors.torch import load_file

        files = [self._arrays(row["id"]) for row in self.rows if row["error"] is None]
        return [load_file(file) for file in files if file.exists()]

    def _arrays(self, id: str) -> Path:
        return self.path / "arrays" / f"{quote(id, safe='')}.safetensors"

    def picture(self, id: str, name: str) -> Path:
        """Where the picture ``name`` of example ``id`` lies."""
        return picture(self.path, id, name)

    def inversion(self, id: str) -> Path:
        """Where the inversion of the image ``id`` lies."""
        return inversion_file(self.path, id)

    def summarise(
        self,
        header: Mapping[str, Any],
        total: int,
        expected: Sequence[str] = (),
        pooled: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Writes and returns summary.json.

        Arguments:
            header: What was run, with what: becomes part of the summary.
            total: Number of examples that the run is about; fewer records mean it was cut short.
            expected: Metrics that are null where no example was measured.
            pooled: Measures over all examples together.
        """
        from fpinv.metrics.intervals import mean_ci95

        done = [row for row in self.rows if row["error"] is None]
        counts = {"n": len(done), "failed": len(self.failed), "total": total}
        names = dict.fromkeys([*expected, *self.metric_names])
        means = {name: mean_ci95([row.get(name) for row in done]) for name in names}
        summary = finite({**header, **counts, **means, **(pooled or {})})
        write(self.path / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
        return summary


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run folder's metrics.jsonl that can be read, without touching the file.

    Where an example has several, its last one counts.
    """
    return _last(_read(folder / LINES_FILE))


def _read(file: Path) -> list[dict[str, Any]]:
    return [row for row in map(_parse, _text(file).split("\n")) if row is not None]


def _last(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last row of each example."""
    return list({row["id"]: row for row in rows}.values())


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def holds_run(folder: Path) -> bool:
    """Whether lines of a run lie in a folder."""
    return any(folder.glob("metrics*.jsonl"))


def picture(folder: Path, id: str, name: str) -> Path:
    """Where the picture ``name`` of example ``id`` lies in a run folder."""
    return folder / "images" / quote(id, safe="") / f"{name}.png"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: the file is missing or holds none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object")
    return value


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # a name of its own, as processes that share a run may keep the same inversion
    partial = path.with_name(f".{path.name}.{token_hex(4)}.partial")
    yield partial
    os.replace(partial, path)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _parse(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and set(REQUIRED) <= row.keys() else None
