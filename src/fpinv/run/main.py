"""The command line: every error in one line, and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from fpinv.run.job import INTERRUPTED, MISUSED
from fpinv.run.messages import Mendable, explain
from fpinv.run.processes import hydra_folder, ranks
from fpinv.run.resume import resume_arguments
from fpinv.run.sweep import Gather
from fpinv.run.terminal import take_terminal

ENVIRONMENT = {
    "HYDRA_FULL_ERROR": "1",  # Hydra raises its errors instead of printing them
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


def run(main: Callable[[], None]) -> int:
    """Calls a ``hydra.main`` function; returns the exit code of its run or sweep."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    Gather.exit_code = 0
    if ranks().leads:
        take_terminal()
    try:
        with hydra_folder() as folder:
            sys.argv[1:] = [*resume_arguments(sys.argv[1:]), *folder]
            main()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (*Mendable, ValueError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return MISUSED
    except Exception as error:
        if not Gather.abandon(explain(error)):
            raise
    return ranks().first(lambda: Gather.exit_code)
