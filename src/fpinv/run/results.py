"""The results of an experiment, made when its sweeps have ended."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from fpinv.errors import UserError
from fpinv.run.messages import explain
from fpinv.run.status import FAILED, MISUSED


def write_results(config: DictConfig, exit_code: int) -> int:
    """Write, print and name the results of a sweep whose experiment has a script.

    The script is ``experiments/<room>/<experiment>/table.py`` or ``plot.py``, beside conf/.

    Arguments:
        config: The sweep's configuration.
        exit_code: That of its worst job; after a user error (2) no results are made.

    Returns:
        ``exit_code``, or 2 where all jobs are done and make no results.
    """
    from fpinv.reporting.experiment import TEXT, folder_of, load

    name = config.hydra.runtime.choices.get("experiment")
    if not name or exit_code > FAILED:
        return exit_code
    sources = config.hydra.runtime.config_sources
    conf = Path(next(source.path for source in sources if source.provider == "main"))
    experiment = load(folder_of(conf.parent / "experiments", name))
    if experiment is None:
        return exit_code
    folder = Path(config.hydra.sweep.dir)
    try:
        print(experiment.run(folder).text)
    except UserError as error:
        print(f"error: no results: {explain(error)}", file=sys.stderr)
        return exit_code or MISUSED
    print((folder / "results" / TEXT).resolve())
    return exit_code
