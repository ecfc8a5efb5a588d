"""Make one page of the edits of finished runs, every strip with its prompts and numbers.

python experiments/fpi/editing_gallery/page.py fpi=outputs/a ddim=outputs/b --out gallery.html
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from fpinv.errors import command
from fpinv.metrics.glossary import with_unit
from fpinv.reporting.page import render
from fpinv.reporting.page.gallery import Gallery, Thumbnail, framed
from fpinv.reporting.sheets import Row, edits_with
from fpinv.run.files import write
from fpinv.run.folder import picture

MEASURES = (
    *("edit_accuracy", "kept_accuracy"),
    *("truth_psnr", "background_psnr", "reconstruction_psnr"),
)

KINDS = {"add": "an object added", "remove": "an object removed"}
"""Words for kinds of change whose names are no nouns."""


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="name=folder", help="finished editing runs")
    parser.add_argument("--out", type=Path, default=Path("gallery.html"))
    options = parser.parse_args(arguments)
    named = (run.partition("=") for run in options.runs)
    write(options.out, page({name: Path(folder or name) for name, _, folder in named}))
    print(options.out)


def page(runs: Mapping[str, Path]) -> str:
    """Return the page: a gallery a kind of edit, with each edit's prompts and a strip a run.

    Raises:
        UserError: a folder holds no editing run with pictures.
    """
    rows = {name: edits_with(folder, "strip") for name, folder in runs.items()}
    edits = {id: row for strips in reversed(rows.values()) for id, row in strips.items()}
    kinds = dict.fromkeys(map(_kind, edits.values()))
    galleries = [
        Gallery(kind, [_edit(row, runs, rows) for row in edits.values() if _kind(row) == kind])
        for kind in kinds
    ]
    about = "Struck words leave the prompt, bold ones are new."
    return render("gallery.html", title="Edits", about=about, galleries=galleries)


def _kind(row: Row) -> str:
    kind = row["texts"].get("change", "edits")
    return KINDS.get(kind, kind)


def _edit(
    row: Row, runs: Mapping[str, Path], rows: Mapping[str, Mapping[str, Row]]
) -> tuple[Markup, list[Thumbnail]]:
    """Return the prompts of an edit, and the strip of each run that has it."""
    before, after = row["prompt"].split(), row["texts"]["target"].split()
    instruction = row["texts"].get("instruction")
    head = Markup("<b>{}</b><br>").format(instruction) if instruction else Markup()
    prompts = head + Markup("{}<br>{}").format(
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


def _measures(row: Row) -> str:
    known = [key for key in MEASURES if row.get(key) is not None]
    return ", ".join(f"{key} {with_unit(key, {'mean': row[key], 'ci95': None})}" for key in known)


if __name__ == "__main__":
    sys.exit(main())
