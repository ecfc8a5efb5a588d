"""The command line: every error in one line, and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from fpinv.errors import UserError, accept_any_text
from fpinv.run.layout import JOBS_FILE
from fpinv.run.messages import MENDABLE, explain, explain_and_log
from fpinv.run.photo_arguments import photo_arguments
from fpinv.run.processes import ranks, scratch_overrides
from fpinv.run.resume import resume_arguments
from fpinv.run.signals import interruptible
from fpinv.run.status import FAILED, INTERRUPTED, MISUSED
from fpinv.run.sweep import CommandResult, command_result, conclude_sweep, show_pictures
from fpinv.run.terminal import take_terminal

ENVIRONMENT = {
    "HYDRA_FULL_ERROR": "1",  # Hydra raises its errors instead of printing them
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}

ELSEWHERE = "choose another folder with hydra.run.dir (for a sweep hydra.sweep.dir)"


def run(main: Callable[[], None]) -> int:
    """Call a ``hydra.main`` function and return the exit code of its run or sweep.

    0: all examples are done; 1: finished with failed examples, or crashed; 2: a user error;
    130: interrupted.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    accept_any_text()
    if ranks().leads:
        take_terminal()
    result = CommandResult()
    command_result.set(result)
    try:
        _call(main, result)
        if result.sweep is not None:
            _conclude(result.sweep, result)
        elif result.folder is not None and ranks().leads and result.exit_code <= FAILED:
            show_pictures(result.folder)
        return ranks().first(lambda: result.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except MENDABLE as error:
        _print(explain(error))
        return MISUSED
    except Exception as error:
        if isinstance(error, OSError) and result.folder is not None:
            _print(f"{explain(error)}: {ELSEWHERE}")
            return MISUSED
        _print(explain_and_log(error, result.folder))
        return FAILED


def _call(main: Callable[[], None], result: CommandResult) -> None:
    """Have Hydra do the run, or all jobs of the sweep."""
    _check_options(sys.argv[1:])
    try:
        with interruptible(), _hydra_arguments(), warnings.catch_warnings():
            warnings.filterwarnings("error", message="provider=hydra.searchpath")
            main()
    except MENDABLE:
        raise
    except UserWarning as warning:  # Hydra's, of a search path
        reason = str(warning).partition("path=")[2] or explain(warning)
        raise UserError(f"hydra.searchpath: {reason}") from warning
    except ValueError as error:  # Hydra's, of an override that it cannot use
        raise UserError(explain(error)) from error
    except Exception as error:
        if result.folder is None or not (result.folder / JOBS_FILE).exists():
            raise
        # the launcher gave the sweep up: its jobs are shown, and it counts as failed
        _print(explain_and_log(error, result.folder))
        result.exit_code = FAILED


def _check_options(arguments: Sequence[str]) -> None:
    """Refuse options that the command does not have, where argparse would print its usage.

    Raises:
        UserError: an option is unknown, or lacks its value.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    _, unknown = parser.parse_known_args(arguments)
    if not unknown:
        return
    name, _, value = unknown[0].lstrip("-").partition("=")
    if not unknown[0].startswith("-"):
        before = arguments[: list(arguments).index(unknown[0])]
        flag = next(argument for argument in reversed(before) if argument.startswith("-"))
        raise UserError(f"{flag} stands between settings: put it before all of them")
    following = [*arguments[list(arguments).index(unknown[0]) + 1 :], ""][0]
    setting = f"{name}={value or following or '<value>'}"
    raise UserError(f"{unknown[0]} is no option: write settings as key=value, {setting}")


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}: see python run.py --hydra-help")


def _conclude(sweep: DictConfig, result: CommandResult) -> None:
    code = ranks().first(lambda: conclude_sweep(sweep))
    result.exit_code = max(result.exit_code, code)


def _print(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)


@contextmanager
def _hydra_arguments() -> Iterator[None]:
    """Complete the command line while Hydra reads it.

    A run to be continued needs its own folder and no sweep, whatever an experiment or the user
    says of ``hydra.mode`` and ``hydra.run.dir``. Only a later override outranks those, and Hydra
    takes overrides from ``sys.argv`` alone: neither conf/ nor a resolver can express this.
    """
    arguments = sys.argv[1:]
    with scratch_overrides() as scratch:
        sys.argv[1:] = [*resume_arguments(photo_arguments(arguments)), *scratch]
        try:
            yield
        finally:
            sys.argv[1:] = arguments
