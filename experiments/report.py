"""Make one page on experiments: ``report.py FOLDER... [--out outputs/report]``.

A folder holds runs, such as outputs/frontier/<stamp>, or results, such as
experiments/studies/frontier/results. The script writes <out>.html, which needs no network and no
other file, and <out>.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fpinv.errors import command
from fpinv.reporting.page import collect, markdown, page
from fpinv.run.files import write

EXPERIMENTS = Path(__file__).parent


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write both files."""
    parser = argparse.ArgumentParser(description="Makes one page on experiments.")
    parser.add_argument("folders", type=Path, nargs="+", help="of runs or of results")
    parser.add_argument("--out", type=Path, default=Path("outputs/report"), help="names two files")
    options = parser.parse_args(arguments)
    sections = [collect(folder, EXPERIMENTS) for folder in options.folders]
    for suffix, make in ((".html", page), (".md", markdown)):
        file = options.out.with_name(options.out.name.removesuffix(".html") + suffix)
        write(file, make(sections, file.parent))
        print(file)


if __name__ == "__main__":
    sys.exit(main())
