"""Columns of metrics: values of all examples of a batch, and the numbers of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

Column = Tensor | Sequence[float | None] | float | None
"""The values of a metric, one an example, or one value for all."""


def over_steps(values: Tensor | None) -> Tensor | None:
    """Return the means (B,) over the steps of (N, B) values."""
    return None if values is None else values.double().mean(0)


def by_example(columns: Mapping[str, Column], count: int) -> list[dict[str, float | None]]:
    """Return the metrics of each of ``count`` examples as numbers.

    A tensor comes from the device in one piece, since each read of a GPU waits for its queue.
    """

    def listed(column: Column) -> list[float | None]:
        if isinstance(column, Tensor):
            return column.double().tolist()
        return list(column) if isinstance(column, Sequence) else [column] * count

    rows = zip(*map(listed, columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]
