"""The command line: ``python -m fpinv.evaluate pie_bench FOLDER --root PIE_BENCH``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub.utils import logging

from fpinv.errors import OneLineParser, command
from fpinv.evaluate.pie_bench import score
from fpinv.evaluate.scores import ALL, read_measures


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Score a folder and print the table."""
    logging.set_verbosity_error()  # an absent file is one line of ours, not one for each attempt
    options = _parser().parse_args(arguments)
    measures = read_measures(options.measures)
    print(score(options.folder, options.root, measures, options.out))


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="python -m fpinv.evaluate", description="Score edited images.")
    parser.add_argument("benchmark", choices=["pie_bench"])
    parser.add_argument("folder", type=Path, help="edited images, laid out as annotation_images/"
                        " or as a run's images/<id>/edit.png")  # fmt: skip
    parser.add_argument("--root", required=True, help="folder of mapping_file.json")
    parser.add_argument("--measures", default=ALL, help="of %(default)s")
    parser.add_argument("--out", type=Path, help="folder for scores.csv and results.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
