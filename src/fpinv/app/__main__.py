"""The command line: ``python -m fpinv.app``, or ``python -m fpinv.app model=sd15``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from fpinv.errors import OneLineParser, UserError, command
from fpinv.run.messages import explain

ADDRESS = ("GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT")
"""The variables of the environment by which gradio chooses host and port."""
MISSING = "the page needs gradio, which is not installed: pip install gradio"


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Load the model and serve its page until it is interrupted."""
    options = _parser().parse_args(arguments)
    # Read by gradio when it is imported.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    print("loading ...", file=sys.stderr, flush=True)
    if find_spec("gradio") is None:
        raise UserError(MISSING)
    with _address_checked():
        import gradio  # noqa: F401 - it reads the address when it is imported
    from fpinv import load_model
    from fpinv.app.page import launch
    from fpinv.app.workbench import Workbench
    from fpinv.images.viewing import MOST_PIXELS, limit_pixels

    limit_pixels(MOST_PIXELS)
    bench = Workbench(load_model(options.model.removeprefix("model=")))
    with _address_checked():
        page = launch(bench)
    print(f"the page is at {page.local_url} (Ctrl-C ends it)", flush=True)
    page.block_thread()


@contextmanager
def _address_checked() -> Iterator[None]:
    """Turn what gradio says of a wrong host or port into the line of a user's mistake.

    Raises:
        UserError: (within the context) the page cannot be served there.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        variables = (f"{name}={os.environ[name]}" for name in ADDRESS if name in os.environ)
        address = " and ".join(variables) or "this machine"
        raise UserError(
            f"the page cannot be served at {address} ({explain(error)}): set "
            f"{' and '.join(ADDRESS)} to a host and a free port"
        ) from error


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
