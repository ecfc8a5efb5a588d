"""One page of the edits of finished runs, every strip with its prompts and numbers.

python experiments/fpi/editing_gallery/page.py fpi=outputs/a ddim=outputs/b --out gallery.html
"""

from __future__ import annotations

import argparse
import base64
import html
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fpinv.errors import UserError
from fpinv.run.folder import picture, read_rows, write

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Edits</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 64rem; margin: auto; padding: 1rem; }}
  figure {{ margin: .6rem 0; }}
  img {{ max-width: 100%; min-width: min(30rem, 100%); image-rendering: pixelated; }}
  img {{ outline: 1px solid #8884; }}
  figcaption {{ color: #888; font-size: .85rem; }} h3 {{ margin: 1.6rem 0 0; font-size: 1rem; }}
  del {{ color: #b33; }} ins {{ color: #283; text-decoration: none; font-weight: 600; }}
</style>
<h1>Edits</h1>
<p>Each strip: {columns}.</p>
{body}
</html>
"""
SHOWN = ("edit_accuracy", "kept_accuracy", "truth_psnr", "background_psnr", "reconstruction_psnr")


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="name=folder", help="finished editing runs")
    parser.add_argument("--out", type=Path, default=Path("gallery.html"))
    given = parser.parse_args(arguments)
    runs = {
        name: Path(folder or name) for name, _, folder in (r.partition("=") for r in given.runs)
    }
    try:
        write(given.out, page(runs))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(given.out)
    return 0


def page(runs: Mapping[str, Path]) -> str:
    """The page: a section a kind of edit, a heading an edit, a strip a run.

    Raises:
        UserError: a folder holds no editing run with pictures.
    """
    rows = {name: _strips(folder) for name, folder in runs.items()}
    ids = dict.fromkeys(id for found in rows.values() for id in found)
    first = {id: next(found[id] for found in rows.values() if id in found) for id in ids}
    kinds = dict.fromkeys(_kind(row) for row in first.values())
    body = [
        part
        for kind in kinds
        for part in _section(kind, [r for r in first.values() if _kind(r) == kind], runs, rows)
    ]
    columns = [name for name in next(iter(first.values()))["images"] if name != "strip"]
    return PAGE.format(columns=", ".join(columns), body="\n".join(body))


def _strips(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of a run that kept a strip, by example id."""
    if not (folder / "metrics.jsonl").is_file():
        raise UserError(f"{folder}: no run's folder")
    rows = {row["id"]: row for row in read_rows(folder) if "strip" in row["images"]}
    if not rows:
        raise UserError(f"{folder}: no strips of edits; run task=editing with images=null")
    return rows


def _kind(row: Mapping[str, Any]) -> str:
    return row["texts"].get("change", "edits")


def _section(
    kind: str,
    edits: Sequence[Mapping[str, Any]],
    runs: Mapping[str, Path],
    rows: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    yield f"<h2>{html.escape(kind)}</h2>"
    for row in edits:
        before, after = row["prompt"].split(), row["texts"]["target"].split()
        yield f"<h3>{_marked(before, after, 'del')}<br>{_marked(after, before, 'ins')}</h3>"
        for name, folder in runs.items():
            if row["id"] in rows[name]:
                yield _figure(name, folder, rows[name][row["id"]])


def _marked(words: Sequence[str], others: Sequence[str], mark: str) -> str:
    """The words, those that the other prompt lacks marked."""
    return " ".join(
        html.escape(word) if word in others else f"<{mark}>{html.escape(word)}</{mark}>"
        for word in words
    )


def _figure(name: str, folder: Path, row: Mapping[str, Any]) -> str:
    data = base64.b64encode(picture(folder, row["id"], "strip").read_bytes()).decode()
    numbers = [f"{key} {row[key]:.3g}" for key in SHOWN if row.get(key) is not None]
    caption = html.escape(", ".join([name, *numbers]))
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(row["id"])}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


if __name__ == "__main__":
    sys.exit(main())
