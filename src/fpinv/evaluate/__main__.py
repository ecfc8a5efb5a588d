"""The command line: ``python -m fpinv.evaluate pie_bench FOLDER --root PIE_BENCH``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from huggingface_hub.utils import logging

from fpinv.errors import UserError
from fpinv.evaluate.pie_bench import score
from fpinv.evaluate.scores import ALL, read_measures


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message."""
        raise UserError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a folder; return 0, or 2 after one line with the reason."""
    logging.set_verbosity_error()  # an absent file is one line of ours, not one for each attempt
    try:
        options = _parser().parse_args(arguments)
        measures = read_measures(options.measures)
        table = score(options.folder, options.root, measures, options.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="python -m fpinv.evaluate", description="Score edited images.")
    parser.add_argument("benchmark", choices=["pie_bench"])
    parser.add_argument("folder", type=Path, help="edited images, laid out as annotation_images/"
                        " or as a run's images/<id>/edit.png")  # fmt: skip
    parser.add_argument("--root", required=True, help="folder of mapping_file.json")
    parser.add_argument("--measures", default=ALL, help="of %(default)s")
    parser.add_argument("--out", type=Path, help="folder for scores.csv and results.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
