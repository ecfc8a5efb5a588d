"""Builds the blinded page of a user study from finished editing runs.

    python experiments/fpi/table1_user_study/build.py fpi=outputs/a edict=outputs/b --out study

Writes study.html, which goes to the raters, and study.key.json, which does not: it says which
picture is whose.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from fpinv.errors import UserError
from fpinv.run.folder import picture, read_rows, write

PAGE = Path(__file__).with_name("page.html")
SMALL = 128  # pictures up to this side are shown pixel by pixel


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "runs", nargs="+", metavar="method=folder", help="two finished runs or more"
    )
    parser.add_argument("--out", type=Path, default=Path("study"), help="names the two files")
    parser.add_argument("--items", type=int, default=60, help="edits to be judged (paper: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of edits")
    given = parser.parse_args(arguments)
    try:
        page, key = build(runs_of(given.runs), given.items, given.seed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write(given.out.with_suffix(".html"), page)
    write(given.out.with_suffix(".key.json"), json.dumps(key, indent=2) + "\n")
    print(
        f"{len(key['items'])} edits by {len(given.runs)} methods: {given.out.with_suffix('.html')}"
    )
    return 0


def runs_of(arguments: Sequence[str]) -> dict[str, Path]:
    """Run folders by the name of their method, from ``method=folder``.

    Raises:
        UserError: an argument is not of that form, or there are fewer than two methods.
    """
    parts = [argument.partition("=") for argument in arguments]
    if wrong := [name for name, sign, _ in parts if not sign]:
        raise UserError(f"'{wrong[0]}' names no method: write method=folder")
    runs = {name: Path(folder) for name, _, folder in parts}
    if len(runs) < 2 or len(runs) < len(parts):
        raise UserError("a study compares two methods or more, each of another name")
    return runs


def build(runs: Mapping[str, Path], items: int, seed: int) -> tuple[str, dict[str, Any]]:
    """The page, and the key to it.

    Pictures bear random tokens, and each rater's browser shuffles edits and sides anew, so that
    neither the page nor an order tells the methods apart.

    Raises:
        UserError: a folder holds no editing run, or the runs have no edit in common.
    """
    rows = {method: _edits(folder) for method, folder in runs.items()}
    first = next(iter(rows.values()))
    shared = [id for id in first if all(id in other for other in rows.values())]
    shared = [id for id in shared if len({_original(runs[m], id) for m in runs}) == 1]
    if not shared:
        raise UserError("the runs have no edit in common whose pictures all of them kept")
    chosen = random.Random(seed).sample(shared, min(items, len(shared)))
    shown, hidden = [], {}
    for number, id in enumerate(chosen):
        item, owners = _item(number, first[id], runs)
        shown.append(item)
        hidden[item["id"]] = {"example": id, "owners": owners}
    with Image.open(picture(next(iter(runs.values())), chosen[0], "original")) as sample:
        small = max(sample.size) <= SMALL
    study = {"id": secrets.token_hex(8), "small": small, "items": shown}
    text = json.dumps(study).replace("</", "<\\/")  # nothing in a prompt may end the script
    page = PAGE.read_text(encoding="utf-8").replace("/*STUDY*/", text)
    return page, {"study": study["id"], "methods": list(runs), "items": hidden}


def _edits(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of an editing run that have pictures, by example id."""
    if not (folder / "metrics.jsonl").is_file():
        raise UserError(f"{folder}: no run's folder")
    rows = [r for r in read_rows(folder) if {"original", "edit"} <= set(r["images"])]
    if not rows:
        raise UserError(f"{folder}: no pictures of edits; run task=editing with images=null")
    return {row["id"]: row for row in rows}


def _original(folder: Path, id: str) -> bytes:
    return picture(folder, id, "original").read_bytes()


def _item(
    number: int, row: Mapping[str, Any], runs: Mapping[str, Path]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What is shown of one edit, and whose picture each token is."""
    owners = {secrets.token_hex(8): method for method in runs}
    edits = [
        {"token": token, "picture": _uri(picture(runs[method], row["id"], "edit"))}
        for token, method in sorted(owners.items())
    ]
    item = {
        "id": f"item{number:03d}",
        "before": row["prompt"],
        "after": row["texts"]["target"],
        "source": _uri(picture(next(iter(runs.values())), row["id"], "original")),
        "edits": edits,
    }
    return item, owners


def _uri(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()


if __name__ == "__main__":
    sys.exit(main())
