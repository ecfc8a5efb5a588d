"""A reader of W&B's offline files: protocol buffers in LevelDB's log format, blocks of 32 KiB."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

BLOCK, FILE_HEADER, HEADER = 32768, 7, 7
FULL, LAST = 1, 4
PATIENCE = 600  # tenths of a second


def records(path: Path) -> Iterator[pb.Record]:
    """Yield the whole records of a .wandb file; its end may be in the middle of being written."""
    data, at, payload = path.read_bytes(), FILE_HEADER, b""
    while at + HEADER <= len(data):
        if (room := BLOCK - at % BLOCK) < HEADER:
            at += room
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + HEADER])
        if kind == 0 or at + HEADER + length > len(data):
            return
        payload += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            record = pb.Record()
            record.ParseFromString(payload)
            payload = b""
            yield record


def values(items: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return key-value items of a record as Python values."""
    return {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}


def of_kind(path: Path, kind: str) -> list[Any]:
    """Return the records of one kind, unwrapped, of a run that has ended."""
    _wait_for_end(path)
    return [getattr(r, kind) for r in records(path) if r.WhichOneof("record_type") == kind]


def _wait_for_end(path: Path) -> None:
    """Wait, because W&B's service writes on for a moment after a run has ended."""
    for _ in range(PATIENCE):
        if any(r.WhichOneof("record_type") == "exit" for r in records(path)):
            return
        time.sleep(0.1)


def offline_files(folder: Path) -> list[Path]:
    """Return the .wandb files below a folder, oldest first."""
    return sorted(folder.glob("**/offline-run-*/*.wandb"))
