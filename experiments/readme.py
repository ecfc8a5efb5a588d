"""Fill the marked places of README.md and docs/ with committed results: ``readme.py [--check]``.

A place is marked by the name of an experiment, and by the beginnings of those blocks of its
``results/results.md`` that the page shows, where it does not show all::

    <!-- results: reconstruction_table; w = 1, N = 50; w = 3, N = 50 -->
    <!-- end -->

A place of an experiment without results stays as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from os.path import relpath
from pathlib import Path
from tempfile import TemporaryDirectory

from fpinv.errors import UserError, command
from fpinv.reporting.experiment import JOBS, LARGEST, TEXT, blocks, folder_of, load
from fpinv.run.files import write

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"(<!-- results: (\w+)((?:; [^;\n]+)*) -->\n).*?(<!-- end -->)", re.DOTALL)
LINK = re.compile(r"(!?\[[^\]]*\]\()([^):#]+)\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")


@command
def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Fill the pages, or check them; return the exit code, 1 where --check finds stale results."""
    parser = argparse.ArgumentParser(description="Fills the pages with the committed results.")
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    options = parser.parse_args(arguments)
    if options.check:
        problems = list(stale(root))
        print("\n".join(problems) or "nothing is stale")
        return int(bool(problems))
    for page in pages(root):
        write(page, filled(page, root))
    return 0


def pages(root: Path) -> list[Path]:
    """Return the pages with marked places: README.md and those of docs/."""
    every = [root / "README.md", *sorted((root / "docs").glob("**/*.md"))]
    return [page for page in every if PLACE.search(page.read_text(encoding="utf-8"))]


def filled(page: Path, root: Path = ROOT) -> str:
    """Return the text of a page with the results in their places.

    Raises:
        UserError: a place names no experiment, or a block that its results lack.
    """
    text = page.read_text(encoding="utf-8")
    return PLACE.sub(lambda place: _filled_place(place, page, root), text)


def _filled_place(place: re.Match[str], page: Path, root: Path) -> str:
    begin, name, beginnings, end = place.groups()
    folder = folder_of(root / "experiments", name)
    if not folder.is_dir():
        raise UserError(f"{page.name} shows results of {name}, which is no experiment")
    file = folder / "results" / TEXT
    if not file.is_file():
        return place[0]
    text = file.read_text(encoding="utf-8").strip()
    if selected := beginnings.split("; ")[1:]:
        text = "\n\n".join(block(text, beginning, name) for beginning in selected)
    results = Path(relpath(file.parent, page.parent)).as_posix()
    return begin + LINK.sub(rf"\1{results}/\2)", text) + f"\n{end}"


def block(text: str, beginning: str, name: str) -> str:
    """Return the block of a results.md that begins with these words.

    Raises:
        UserError: there is none, or there are several.
    """
    matches = [block for block in blocks(text) if block.startswith(beginning)]
    if len(matches) != 1:
        raise UserError(f"{len(matches)} blocks of the results of {name} begin with '{beginning}'")
    return matches[0]


def stale(root: Path = ROOT) -> Iterator[str]:
    """Yield a line for each result that differs from its jobs.json, and each page from results."""
    for jobs in sorted(root.glob(f"experiments/*/*/results/{JOBS}")):
        yield from _stale_results(jobs.parent, root)
    for page in pages(root):
        if filled(page, root) != page.read_text(encoding="utf-8"):
            yield f"{page.relative_to(root).as_posix()}: run python experiments/readme.py"


def _stale_results(results: Path, root: Path) -> Iterator[str]:
    name, text = results.parent.name, (results / TEXT).read_text(encoding="utf-8")
    experiment = load(results.parent)
    if experiment is None:
        yield f"{name}: has results and no table.py or plot.py with an experiment"
        return
    with TemporaryDirectory() as folder:
        experiment.run(results, Path(folder))
        if (Path(folder) / TEXT).read_text(encoding="utf-8") != text:
            yield f"{name}: run its script on {results.relative_to(root).as_posix()}"
        for file in sorted(Path(folder).iterdir()):
            if not (results / file.name).is_file():
                yield f"{name}: {file.name} is missing: run its script"
    for picture in PICTURE.findall(text):
        file = results / picture
        if not file.is_file() or file.stat().st_size >= LARGEST:
            yield f"{name}: {picture} is missing or too large"


if __name__ == "__main__":
    sys.exit(main())
