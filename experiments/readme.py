"""Fills the marked places of README.md with the committed results: ``readme.py [--check]``.

A place is marked by the name of an experiment, and by the beginnings of those blocks of its
``results/results.md`` that are to be shown, where not all are::

    <!-- results: reconstruction_table; w = 1, N = 50; w = 3, N = 50 -->
    <!-- end -->

Where there are no results yet, what stands there stays.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from fpinv.errors import UserError
from fpinv.reporting.experiment import JOBS, LARGEST, TEXT, blocks, folder_of, load
from fpinv.run.folder import write

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"(<!-- results: (\w+)((?:; [^;\n]+)*) -->\n).*?(<!-- end -->)", re.DOTALL)
LINK = re.compile(r"(!?\[[^\]]*\]\()([^):#]+\))")


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Reads the command line; returns its exit code: 1 where --check found something stale."""
    parser = argparse.ArgumentParser(description="Fills README.md with the committed results.")
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    given = parser.parse_args(arguments)
    try:
        if given.check:
            found = list(stale(root))
            print("\n".join(found) or "nothing is stale")
            return int(bool(found))
        file = root / "README.md"
        write(file, filled(file.read_text(encoding="utf-8"), root))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def filled(readme: str, root: Path = ROOT) -> str:
    """The README with the results in their places.

    Raises:
        UserError: a place names no experiment, or a block that its results lack.
    """
    return PLACE.sub(lambda place: _filled(place, root), readme)


def _filled(place: re.Match[str], root: Path) -> str:
    begin, name, wanted, end = place.groups()
    folder = folder_of(root / "experiments", name)
    if not folder.is_dir():
        raise UserError(f"README.md shows results of {name}, which is no experiment")
    file = folder / "results" / TEXT
    if not file.is_file():
        return place[0]
    text = file.read_text(encoding="utf-8").strip()
    if chosen := wanted.split("; ")[1:]:
        text = "\n\n".join(block(text, beginning, name) for beginning in chosen)
    linked = LINK.sub(rf"\1{folder.relative_to(root).as_posix()}/results/\2", text)
    return f"{begin}{linked}\n{end}"


def block(text: str, beginning: str, name: str) -> str:
    """The block of a results.md that begins so.

    Raises:
        UserError: there is none, or there are several.
    """
    found = [block for block in blocks(text) if block.startswith(beginning)]
    if len(found) != 1:
        raise UserError(f"{len(found)} blocks of the results of {name} begin with '{beginning}'")
    return found[0]


def stale(root: Path = ROOT) -> Iterator[str]:
    """What is not as the committed jobs.json files have it, a line each."""
    for jobs in sorted(root.glob(f"experiments/*/*/results/{JOBS}")):
        yield from _stale(jobs.parent, root)
    text = (root / "README.md").read_text(encoding="utf-8")
    if filled(text, root) != text:
        yield "README.md: run python experiments/readme.py"


def _stale(results: Path, root: Path) -> Iterator[str]:
    name, text = results.parent.name, (results / TEXT).read_text(encoding="utf-8")
    experiment = load(results.parent)
    if experiment is None:
        yield f"{name}: has results and no table.py or plot.py with an experiment"
        return
    with TemporaryDirectory() as made:
        experiment.run(results, Path(made))
        if (Path(made) / TEXT).read_text(encoding="utf-8") != text:
            yield f"{name}: run its script on {results.relative_to(root).as_posix()}"
    for shown in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        file = results / shown
        if not file.is_file() or file.stat().st_size >= LARGEST:
            yield f"{name}: {shown} is missing or too large"


if __name__ == "__main__":
    sys.exit(main())
