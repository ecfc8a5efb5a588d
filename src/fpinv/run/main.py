"""The command line: every error in one line, and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fpinv.run.job import FAILED, INTERRUPTED, MISUSED
from fpinv.run.messages import MENDABLE, explain
from fpinv.run.processes import ranks, scratch_overrides
from fpinv.run.resume import resume_arguments
from fpinv.run.signals import interruptible
from fpinv.run.sweep import CommandResult, command_result, gather
from fpinv.run.terminal import take_terminal

ENVIRONMENT = {
    "HYDRA_FULL_ERROR": "1",  # Hydra raises its errors instead of printing them
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


def run(main: Callable[[], None]) -> int:
    """Call a ``hydra.main`` function and return the exit code of its run or sweep.

    0: all examples are done; 1: finished with failed examples, or crashed; 2: a user error;
    130: interrupted.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if ranks().leads:
        take_terminal()
    result = CommandResult()
    command_result.set(result)
    try:
        with interruptible(), _hydra_arguments():
            main()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (*MENDABLE, ValueError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return MISUSED
    except Exception as error:
        if result.sweep is None:
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        # The launcher gave the sweep up: its jobs are gathered, and it counts as failed.
        code = gather(result.sweep) if ranks().leads else FAILED
        result.exit_code = max(result.exit_code, code, FAILED)
    return ranks().first(lambda: result.exit_code)


@contextmanager
def _hydra_arguments() -> Iterator[None]:
    """Complete the command line while Hydra reads it.

    A run to be continued needs its own folder and no sweep, whatever an experiment or the user
    says of ``hydra.mode`` and ``hydra.run.dir``. Only a later override outranks those, and Hydra
    takes overrides from ``sys.argv`` alone: neither conf/ nor a resolver can express this.
    """
    arguments = sys.argv[1:]
    with scratch_overrides() as scratch:
        sys.argv[1:] = [*resume_arguments(arguments), *scratch]
        try:
            yield
        finally:
            sys.argv[1:] = arguments
