"""The provenance of a run's lines: weights, versions and device, and each example's digest.

A run may be continued by another version of fpinv or on another device. ``made_with.jsonl`` in its
folder has an entry for each combination, and each line of metrics.jsonl names the number of its
entry, from 0. A line of it that cannot be read keeps its number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fpinv.errors import UserError
from fpinv.run.files import write
from fpinv.run.folder import parsed_lines

PROVENANCE_FILE = "made_with.jsonl"
KEYS = ("model_commit", "model_digest", "batch_size", "precision", "device", "versions", "commit")
"""Entries of a summary's header that may differ between the parts of a run."""


def note_provenance(folder: Path, header: Mapping[str, Any]) -> int:
    """Return the number of the entry that says what a run is made with; a new one is written."""
    file, entry = folder / PROVENANCE_FILE, _entry(header)
    entries = parsed_lines(file)
    if entry not in entries:
        entries.append(entry)
        write(file, "".join(json.dumps(e) + "\n" for e in entries))
    return entries.index(entry)


def require_same_weights(folder: Path, header: Mapping[str, Any]) -> None:
    """Refuse to continue a run with other weights than it has.

    Raises:
        UserError: the digest of the weights differs from that of an earlier part.
    """
    now = header.get("model_digest")
    for entry in filter(None, parsed_lines(folder / PROVENANCE_FILE)):
        before = entry.get("model_digest")
        if before not in (None, now):
            raise UserError(
                f"{folder}: the weights of model {header['model']} have changed since the run "
                f"began (digest {_short(before)}, now {_short(now)}): put them back, or start a "
                "new run"
            )


def made_with(folder: Path, rows: Sequence[Mapping[str, Any]], newest: int) -> dict[str, Any]:
    """Return the entries of a summary that say what its lines were made with.

    They are those of the newest part of the run, and ``also_made_with``, a list of the others'.

    Arguments:
        folder: The run folder.
        rows: The lines of the run.
        newest: Number of the entry of the part that was made last.
    """
    entries = parsed_lines(folder / PROVENANCE_FILE)
    numbers = {row["made_with"] for row in rows if "made_with" in row} & {*range(len(entries))}
    ordered = sorted(numbers, key=lambda number: (number == newest, number))
    *earlier, latest = [entry for number in ordered if (entry := entries[number])] or [{}]
    return latest | ({"also_made_with": earlier} if earlier else {})


def _entry(header: Mapping[str, Any]) -> dict[str, Any]:
    return {key: header.get(key) for key in KEYS}


def _short(digest: object) -> str:
    return str(digest)[:8]
