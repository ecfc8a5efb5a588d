"""The choice of a job by the results of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fpinv.errors import UserError
from fpinv.run.files import read_json
from fpinv.run.folder import is_interval


def best(folders: Sequence[Path], criteria: Sequence[str], finished: bool) -> int:
    """Return the place of the best job among several.

    It has the fewest failed examples and, among those, the highest mean of the first criterion,
    then of the second, and so on; of equal ones it is the first. A failed example has no value, so
    that means alone would favour settings which fail where the examples are hard.

    Arguments:
        folders: The folders of the jobs.
        criteria: Metrics of their summaries.
        finished: False if jobs may have no results yet, which makes them the worst.

    Raises:
        UserError: there is no criterion, or a job lacks one.
    """
    if not criteria:
        raise UserError("hydra.sweeper.criteria is empty: name metrics that best:<sweep> goes by")
    ranks = [_rank(folder, criteria, finished) for folder in folders]
    return ranks.index(max(ranks))


def _rank(folder: Path, criteria: Sequence[str], finished: bool) -> tuple[float, ...]:
    """Return what is higher for a better job."""
    file = folder / "summary.json"
    summary: Mapping[str, Any] = read_json(file) if file.exists() else {}
    missing = [name for name in criteria if not is_interval(summary.get(name))]
    if not missing:
        without = summary["total"] - summary["n"]  # failed, or not reached before a crash
        return -without, *(summary[name]["mean"] for name in criteria)
    if finished:
        raise UserError(
            f"{folder} has no {missing[0]}, by which settings are chosen: see why in its run.log, "
            "and continue the sweep with resume=<its folder>"
        )
    return (-math.inf,)
