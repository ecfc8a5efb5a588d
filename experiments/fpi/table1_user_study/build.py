"""Build the blinded page of a user study from finished editing runs.

    python experiments/fpi/table1_user_study/build.py fpi=outputs/a edict=outputs/b --out study

Writes study.html, which goes to the raters, and study.key.json, which does not: it says which
picture is whose.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from fpinv.errors import UserError, command
from fpinv.reporting.page import render
from fpinv.reporting.page.html import embedded
from fpinv.reporting.sheets import Row, edits_with, of_one_original
from fpinv.run.files import write
from fpinv.run.folder import picture

HERE = Path(__file__).parent
SMALL = 128  # pictures up to this side are shown pixel by pixel


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write the page and its key."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "runs", nargs="+", metavar="method=folder", help="two finished runs or more"
    )
    parser.add_argument("--out", type=Path, default=Path("study"), help="names the two files")
    parser.add_argument("--items", type=int, default=60, help="edits to be judged (paper: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of edits")
    options = parser.parse_args(arguments)
    if options.items < 1:
        raise UserError(f"--items {options.items} leaves nothing to judge: give at least 1")
    page, key = build(runs_of(options.runs), options.items, options.seed)
    file = options.out.with_name(f"{options.out.name}.html")
    write(file, page)
    write(file.with_suffix(".key.json"), json.dumps(key, indent=2) + "\n")
    count = f"{len(key['items'])} edits by {len(options.runs)} methods"
    print(f"{count}: {file}")


def runs_of(arguments: Sequence[str]) -> dict[str, Path]:
    """Return run folders by the name of their method, from ``method=folder``.

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
    """Return the page, and the key to it.

    Pictures bear random tokens, and each rater's browser shuffles edits and sides anew, so that
    neither the page nor an order tells the methods apart.

    Raises:
        UserError: a folder holds no editing run, or the runs have no edit in common.
    """
    edits = _common(runs)
    sample = random.Random(seed).sample(list(edits), min(items, len(edits)))
    visible, hidden = [], {}
    for number, id in enumerate(sample):
        item, owners = _item(number, edits[id], runs)
        visible.append(item)
        hidden[item["id"]] = {"example": id, "owners": owners}
    with Image.open(picture(next(iter(runs.values())), sample[0], "original")) as image:
        small = max(image.size) <= SMALL
    study = {"id": secrets.token_hex(8), "small": small, "items": visible}
    page = render("study.html", HERE, title="Which edit is better?", study=study)
    return page, {"study": study["id"], "methods": list(runs), "items": hidden}


def _common(runs: Mapping[str, Path]) -> dict[str, Row]:
    """Return the edits of one original that all runs have, by example id."""
    rows, *more = (edits_with(folder, "original", "edit") for folder in runs.values())
    edits = {
        id: row
        for id, row in rows.items()
        if all(id in edits for edits in more) and of_one_original(runs.values(), id)
    }
    if not edits:
        raise UserError("the runs have no edit in common whose pictures all of them kept")
    return edits


def _item(
    number: int, row: Row, runs: Mapping[str, Path]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return one edit as the page shows it, and the method behind each token."""
    owners = {secrets.token_hex(8): method for method in runs}
    edits = [
        {"token": token, "picture": embedded(picture(runs[method], row["id"], "edit"))}
        for token, method in sorted(owners.items())
    ]
    item = {
        "id": f"item{number:03d}",
        "before": row["prompt"],
        "after": row["texts"]["target"],
        "source": embedded(picture(next(iter(runs.values())), row["id"], "original")),
        "edits": edits,
    }
    return item, owners


if __name__ == "__main__":
    sys.exit(main())
