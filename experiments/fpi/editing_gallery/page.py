"""Make one page of the edits of finished runs, every strip with its prompts and numbers.

python experiments/fpi/editing_gallery/page.py fpi=outputs/a ddim=outputs/b --out gallery.html
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fpinv.errors import UserError
from fpinv.reporting.page import render
from fpinv.reporting.page.gallery import Gallery, Thumbnail, framed
from fpinv.run.folder import picture, read_rows, write

MEASURES = (
    *("edit_accuracy", "kept_accuracy"),
    *("truth_psnr", "background_psnr", "reconstruction_psnr"),
)
Rows = Mapping[str, Mapping[str, Any]]
"""The lines of a run by example id."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="name=folder", help="finished editing runs")
    parser.add_argument("--out", type=Path, default=Path("gallery.html"))
    options = parser.parse_args(arguments)
    named = (run.partition("=") for run in options.runs)
    try:
        write(options.out, page({name: Path(folder or name) for name, _, folder in named}))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(options.out)
    return 0


def page(runs: Mapping[str, Path]) -> str:
    """Return the page: a gallery a kind of edit, with each edit's prompts and a strip a run.

    Raises:
        UserError: a folder holds no editing run with pictures.
    """
    rows = {name: _strips(folder) for name, folder in runs.items()}
    edits = {id: row for strips in reversed(rows.values()) for id, row in strips.items()}
    kinds = dict.fromkeys(map(_kind, edits.values()))
    galleries = [
        Gallery(kind, [_edit(row, runs, rows) for row in edits.values() if _kind(row) == kind])
        for kind in kinds
    ]
    names = [name for name in next(iter(edits.values()))["images"] if name != "strip"]
    about = f"Each strip: {', '.join(names)}."
    return render("gallery.html", title="Edits", about=about, galleries=galleries)


def _strips(folder: Path) -> Rows:
    """Return the lines of a run that kept a strip."""
    if not (folder / "metrics.jsonl").is_file():
        raise UserError(f"{folder}: no run's folder")
    rows = {row["id"]: row for row in read_rows(folder) if "strip" in row["images"]}
    if not rows:
        raise UserError(f"{folder}: no strips of edits; run task=editing with images=null")
    return rows


def _kind(row: Mapping[str, Any]) -> str:
    return row["texts"].get("change", "edits")


def _edit(
    row: Mapping[str, Any], runs: Mapping[str, Path], rows: Mapping[str, Rows]
) -> tuple[Markup, list[Thumbnail]]:
    """Return the prompts of an edit, and the strip of each run that has it."""
    before, after = row["prompt"].split(), row["texts"]["target"].split()
    prompts = Markup("{}<br>{}").format(
        _marked(before, after, "del"), _marked(after, before, "ins")
    )
    return prompts, [
        framed(name, _measures(rows[name][row["id"]]), picture(folder, row["id"], "strip"))
        for name, folder in runs.items()
        if row["id"] in rows[name]
    ]


def _marked(words: Sequence[str], reference: Sequence[str], tag: str) -> Markup:
    """Return words as HTML, with a tag around those that the reference lacks."""
    mark = Markup(f"<{tag}>{{}}</{tag}>")
    return Markup(" ").join(word if word in reference else mark.format(word) for word in words)


def _measures(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {row[key]:.3g}" for key in MEASURES if row.get(key) is not None)


if __name__ == "__main__":
    sys.exit(main())
