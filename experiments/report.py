"""One page on experiments: ``report.py FOLDER... [--out outputs/report]``.

A folder holds runs, such as outputs/frontier/<stamp>, or results, such as
experiments/studies/frontier/results. Writes <out>.html, which needs no network and no other
file, and <out>.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fpinv.errors import UserError
from fpinv.reporting.page import collect, markdown, page
from fpinv.run.folder import write

EXPERIMENTS = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line; returns its exit code."""
    parser = argparse.ArgumentParser(description="Makes one page on experiments.")
    parser.add_argument("folders", type=Path, nargs="+", help="of runs or of results")
    parser.add_argument("--out", type=Path, default=Path("outputs/report"), help="names two files")
    given = parser.parse_args(arguments)
    try:
        sections = [collect(folder, EXPERIMENTS) for folder in given.folders]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for suffix, make in ((".html", page), (".md", markdown)):
        file = given.out.with_name(given.out.name.removesuffix(".html") + suffix)
        write(file, make(sections, file.parent))
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
