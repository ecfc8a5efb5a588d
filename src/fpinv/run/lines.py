"""Lines of JSON in files, of which only the places are held in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, NamedTuple, overload

from fpinv.run.record_line import Entry, Row, entry_of, head_of, record_of

BUFFER = 1 << 18  # bytes; lines of 5 kB are read twice as fast as with Python's own 8 kB


class Place(NamedTuple):
    """The place of a line.

    Arguments:
        file: The file.
        start: The offset of its first byte.
        length: Number of its bytes, the end of the line included.
        failed: Whether the line is that of a failed example.
    """

    file: Path
    start: int
    length: int
    failed: bool


class Lines(Sequence[Row]):
    """The records of a run, read from disk whenever they are looked at.

    Lines that hold no record are left out. Of several lines of one example the last one counts,
    in the place of the first.
    """

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}

    def scan(self, file: Path) -> None:
        """Take in the lines of a file."""
        start = 0
        with file.open("rb", buffering=BUFFER) as stream:
            for line in stream:
                if (entry := entry_of(line)) is not None:
                    self.add(entry, file, start, len(line))
                start += len(line)

    def add(self, entry: Entry, file: Path, start: int, length: int) -> None:
        """Take in one line, which stands in a file from a byte on."""
        self._places[entry.id] = Place(file, start, length, entry.failed)

    @property
    def ids(self) -> list[str]:
        """The ids of the examples, in order."""
        return list(self._places)

    def where(self, failed: bool) -> Lines:
        """Return the lines of the examples that failed, or of those that did not."""
        part = Lines()
        part._places = {id: p for id, p in self._places.items() if p.failed == failed}
        return part

    def heads(self) -> Iterator[Row]:
        """Yield of each line what is read fast: id, error and metrics, and no series."""
        return self._read(head_of)

    def _read(self, parse: Callable[[bytes], Row | None]) -> Iterator[Row]:
        for raw in self._raw():
            row = parse(raw)
            assert row is not None, "only lines that hold a record are taken in"
            yield row

    def drop(self, ids: Collection[str]) -> None:
        """Leave out the lines of some examples."""
        self._places = {id: place for id, place in self._places.items() if id not in ids}

    def arrange(self, ids: Iterable[str]) -> None:
        """Put the lines in the order of the examples ``ids``, those of others behind."""
        first = {id: self._places[id] for id in ids if id in self._places}
        self._places = first | {id: p for id, p in self._places.items() if id not in first}

    def fill(self, file: Path) -> bool:
        """Return whether a file holds just these lines, in order."""
        size = file.stat().st_size if file.exists() else 0
        places = list(self._places.values())
        starts = accumulate((place.length for place in places), initial=0)
        *begins, end = starts
        whole = all(p[:2] == (file, begin) for p, begin in zip(places, begins, strict=True))
        return whole and end == size and _ends(file)

    def move(self, target: BinaryIO, file: Path) -> None:
        """Write the lines to ``target``, which is going to be ``file``, and read them there."""
        moved, start = {}, 0
        for (id, place), raw in zip(self._places.items(), self._raw(), strict=True):
            line = raw.rstrip(b"\n") + b"\n"
            target.write(line)
            moved[id] = Place(file, start, len(line), place.failed)
            start += len(line)
        self._places = moved

    def _raw(self) -> Iterator[bytes]:
        """Yield the bytes of each line."""
        with ExitStack() as stack:
            files = {place.file for place in self._places.values()}
            streams = {file: stack.enter_context(file.open("rb")) for file in files}
            for place in list(self._places.values()):
                streams[place.file].seek(place.start)
                yield streams[place.file].read(place.length)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Row]:
        return self._read(record_of)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Lines: ...
    def __getitem__(self, index: int | slice) -> Row | Lines:
        part = Lines()
        chosen = range(len(self))[index]
        ids = self.ids
        positions = chosen if isinstance(chosen, range) else [chosen]
        part._places = {ids[k]: self._places[ids[k]] for k in positions}
        return part if isinstance(index, slice) else next(iter(part))


def _ends(file: Path) -> bool:
    """Return whether the last line of a file, if it has any, is complete."""
    if not file.exists() or not file.stat().st_size:
        return True
    with file.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read() == b"\n"
