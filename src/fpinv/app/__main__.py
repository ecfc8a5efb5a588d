"""The command line: ``python -m fpinv.app``, or ``python -m fpinv.app model=sd15``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from fpinv.errors import OneLineParser, UserError, command

MISSING = 'the page needs gradio, which is not installed: pip install "fpinv[app]"'


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Load the model and serve its page until it is interrupted."""
    options = _parser().parse_args(arguments)
    # Read by gradio when it is imported.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    print("loading ...", file=sys.stderr, flush=True)
    try:
        from fpinv.app.page import launch
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UserError(MISSING) from None
    from fpinv import load_model
    from fpinv.app.workbench import Workbench

    page = launch(Workbench(load_model(options.model.removeprefix("model="))))
    print(f"the page is at {page.local_url} (Ctrl-C ends it)", flush=True)
    page.block_thread()


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="python -m fpinv.app", description="A page to invert and edit on.")
    parser.add_argument(
        "model",
        nargs="?",
        default="scenes",
        help="an option of model such as sd15, a folder, or a name on the hub; scenes if absent",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
