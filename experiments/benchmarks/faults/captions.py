"""Captions that a careless or a foreign keyboard makes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forked import Trial, command, records
from PIL import Image

RUN = ("model=scenes", "dataset=folder", "inverter=ddim", "steps=1", "limit=null", "images=2")

CAPTIONS = (
    "a red star",
    "A RED STAR",
    "  a  red   star  ",
    "",
    " ",
    "\t",
    "\n",
    "a\nb",
    "a\r\nb",
    "a\tb",
    "ünï­códe",
    "a cafe\u0301",
    "a caf\u00e9",
    "红色的星星",
    "نجمة حمراء",
    "כוכב אדום",
    "⭐️",
    "👩‍👩‍👧",
    "\ufeffbom",
    "zero\u200bwidth",
    "\u202eright to left",
    "\x00nul",
    "\x1b[31mred\x1b[0m",
    "\x7f",
    "\ud800",
    "pair \udcff",
    "\U0010ffff",
    "[bold]a star[/bold]",
    "[/]",
    "[a",
    "a]",
    "[link=x]y",
    "<script>alert(1)</script>",
    "<!-- <script>",
    "</script>",
    "&amp;",
    "a & b",
    "a < b > c",
    "a, b",
    "a;b",
    "a=b",
    "a: b",
    "{name}",
    "{0}",
    "{",
    "}",
    "%s",
    "%",
    "${oc.env:HOME}",
    "$HOME",
    "`ls`",
    "'",
    '"',
    "\\",
    "/",
    "..",
    "=1+1",
    "a" * 1000,
    "star " * 400,
    "<|endoftext|>",
)


def captions(scratch: Path) -> Iterator[Trial]:
    """Yield trials of a run over all captions: each is in its record as typed, or named.

    A table with a caption that cannot be one is refused before anything is computed; the run is
    repeated without that caption.
    """
    root, folder = scratch / "pictures", scratch / "run"
    root.mkdir()
    left = dict(enumerate(CAPTIONS))
    for k in left:
        Image.new("RGB", (64, 64), (4 * k, 90, 200)).save(root / f"{k:02d}.png")
    while True:
        _write(root / "metadata.jsonl", left)
        output = command(*RUN, f"dataset.root={root}", f"hydra.run.dir={folder}")
        line = re.search(r"metadata.jsonl, line (\d+):", output.refusal)
        if not line:
            break
        k = list(left)[int(line[1]) - 1]
        (root / f"{k:02d}.png").unlink()
        yield Trial("captions", _shown(left.pop(k)), "refused", output.refusal)
    by_id = {row["id"]: row for row in records(folder)}
    for k, caption in left.items():
        yield _judge(caption, by_id.get(f"{k:02d}"), output.last_line)


def _write(table: Path, captions: dict[int, str]) -> None:
    rows = [{"file_name": f"{k:02d}.png", "text": caption} for k, caption in captions.items()]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _judge(caption: str, row: dict[str, Any] | None, end: str) -> Trial:
    if row is None:
        return Trial("captions", _shown(caption), "lost", f"no record; {end}")
    if row["error"] is not None:
        return Trial("captions", _shown(caption), "refused", row["error"])
    if row["prompt"] != caption.strip():
        return Trial("captions", _shown(caption), "lost", f"recorded as {row['prompt']!a}"[:120])
    return Trial("captions", _shown(caption), "right")


def _shown(caption: str) -> str:
    return ascii(caption if len(caption) < 40 else f"{caption[:12]}... ({len(caption)} signs)")
