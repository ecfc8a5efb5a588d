"""One job of Hydra: a run in its folder, its exit code and its status."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fpinv.run import terminal
from fpinv.run.files import write
from fpinv.run.layout import origin_of, write_origin
from fpinv.run.lock import locked
from fpinv.run.measuring import Run
from fpinv.run.messages import MENDABLE, explain_and_log, refuse_unknown_additions
from fpinv.run.preflight import refuse_another_run
from fpinv.run.processes import ranks
from fpinv.run.resume import load_resumed
from fpinv.run.signals import interruptible
from fpinv.run.status import FAILED, INTERRUPTED, MISUSED, STATUS_FILE
from fpinv.run.stored_config import is_done


def run_job(config: DictConfig) -> int:
    """Do one Hydra job and return its exit code, which ``status.json`` holds too.

    0: all examples are done; 1: finished with failed examples, or crashed; 2: a user error.
    """
    hydra = HydraConfig.get()
    path = ranks().first(lambda: Path(hydra.runtime.output_dir))
    label = origin_of(hydra).label
    try:
        with interruptible(), locked(path, ranks()):
            return _run_in(path, config, hydra, label)
    except Exception as error:  # the folder cannot be had, so nothing is written there
        return _report(error, path, label)[0]


def _run_in(path: Path, config: DictConfig, hydra: HydraConf, label: str) -> int:
    """Do a job in a folder that no other run uses, and return its exit code."""
    run = None
    try:
        if label and ranks().first(lambda: is_done(config, path)):
            ranks().first(lambda: write_origin(path, origin_of(hydra)))
            return 0
        run = ranks().first(lambda: _open_run(config, hydra, path, label))
        code, message = run.execute(), None
    except KeyboardInterrupt:
        if run:
            terminal.print_interrupted(path, Path(hydra.sweep.dir) if label else path)
            _write_status(path, INTERRUPTED, "interrupted")
        raise
    except Exception as error:
        code, message = _report(error, path, label)
    # a folder that holds another run stays as it is, unless a sweep is to read the exit code there
    if run or label:
        _write_status(path, code, message)
    return code


def _open_run(config: DictConfig, hydra: HydraConf, path: Path, label: str) -> Run:
    """Return the run that a command asks for: a new one, or the one that ``resume`` names.

    Raises:
        UserError: the folder holds a run that this command does not continue.
    """
    if config.resume is not None:
        return Run(*load_resumed(config, hydra, path), path)
    refuse_unknown_additions(hydra.overrides.task, config, hydra.runtime.choices)
    # a job of a sweep goes on: a cluster may stop it and start it again, and so may the user
    refuse_another_run(config, path, goes_on=bool(label))
    write_origin(path, origin_of(hydra))
    (path / STATUS_FILE).unlink(missing_ok=True)  # of an earlier start, should this one be killed
    return Run(config, hydra.runtime.choices, path, label)


def _report(error: Exception, path: Path, label: str) -> tuple[int, str]:
    """Print an error in one line; return the exit code and that line."""
    line = explain_and_log(error, path)
    if terminal.speaks():
        print(f"error: {label}: {line}" if label else f"error: {line}", file=sys.stderr)
    return MISUSED if isinstance(error, MENDABLE) else FAILED, line


def _write_status(path: Path, code: int, message: str | None) -> None:
    if ranks().leads:
        status = {"exit_code": code, "message": message, "said": terminal.speaks()}
        with suppress(OSError):  # of a full disk, which the error line names
            write(path / STATUS_FILE, json.dumps(status, ensure_ascii=False) + "\n")
