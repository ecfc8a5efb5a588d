"""The choice of a job by the results of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fpinv.errors import UserError
from fpinv.run.folder import is_interval, read_json


def best(folders: Sequence[Path], criterion: str | None, finished: bool) -> int:
    """Return the place of the best job among several.

    It has the fewest failed examples and, among those, the highest mean of the criterion; of equal
    ones it is the first. A failed example has no value, so that means alone would favour settings
    which fail where the examples are hard.

    Arguments:
        folders: The folders of the jobs.
        criterion: A metric of their summaries.
        finished: False if jobs may have no results yet, which makes them the worst.

    Raises:
        UserError: there is no criterion, or a job lacks it.
    """
    if criterion is None:
        raise UserError(
            "hydra.sweeper.criterion is null: name the metric that best:<sweep> goes by"
        )
    ranks = [_rank(folder, criterion, finished) for folder in folders]
    return ranks.index(max(ranks))


def _rank(folder: Path, criterion: str, finished: bool) -> tuple[float, float]:
    """Return what is higher for a better job."""
    file = folder / "summary.json"
    summary: Mapping[str, Any] = read_json(file) if file.exists() else {}
    value: Any = summary.get(criterion)
    if is_interval(value):
        return -summary["failed"], value["mean"]
    if finished:
        raise UserError(
            f"{folder} has no {criterion}, by which settings are chosen: see why in its run.log, "
            "and continue the sweep with resume=<its folder>"
        )
    return -math.inf, -math.inf
