"""Records of a batch: dataclasses that are cut, joined and mended sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from fpinv.errors import UserError

Rows = Tensor | slice
"""The samples of a batch that are meant: indices, shape (R,), or ``slice(None)`` for all."""

BATCH_LAST = {"batch_axis": -1}
"""Metadata of a field whose tensor has the samples on its last axis instead of the first."""


class PerSample:
    """Base of frozen dataclasses whose tensors have one row a sample.

    A field holds a tensor, another such record, a list or a mapping of tensors, or a value that
    all samples share, like None.
    """

    def __getitem__(self, rows: Rows) -> Self:
        """Return the record of the samples ``rows``."""
        if isinstance(rows, slice) and rows == slice(None):
            return self  # with what it has computed, such as the embedding of a condition
        return combine([self], lambda x, axis: x[0].movedim(axis, 0)[rows].movedim(0, axis))

    @classmethod
    def cat(cls, records: Sequence[Self]) -> Self:
        """Return the samples of several records, in order, as one record."""
        return combine(records, torch.cat)

    def put(self, rows: Tensor, record: Self) -> Self:
        """Return this record with its samples ``rows`` replaced by those of ``record``."""
        return combine([self, record], lambda x, axis: x[0].index_copy(axis, rows, x[1]))


def combine(values: Sequence[Any], join: Callable[[Any, int], Tensor], axis: int = 0) -> Any:  # noqa: ANN401
    """Return the value with ``join(tensors, batch_axis)`` of the tensors that it consists of.

    Arguments:
        values: Values of the same structure.
        join: Function of the tensors at the same place in all of them.
        axis: The batch axis, where a field does not say otherwise.

    Raises:
        UserError: they differ in what all samples of a record share, such as the guidance.
    """
    if len({_kind(value) for value in values}) > 1:
        raise UserError("records of which only some have a tensor or an entry cannot be joined")
    match values[0]:
        case Tensor():
            return join(values, axis)
        case list():
            return [combine(column, join, axis) for column in zip(*values, strict=True)]
        case Mapping() as named:
            return {name: combine([v[name] for v in values], join, axis) for name in named}
        case PerSample() as record:
            changes = {
                f.name: combine(
                    [getattr(v, f.name) for v in values], join, f.metadata.get("batch_axis", 0)
                )
                for f in fields(record)  # type: ignore[arg-type]  # subclasses are dataclasses
            }
            return replace(record, **changes)  # type: ignore[type-var]
        case shared:
            if others := [v for v in values[1:] if v != shared]:
                raise UserError(f"records that have {shared!r} and {others[0]!r} cannot be joined")
            return shared


def _kind(value: Any) -> object:  # noqa: ANN401
    """Return what values of the same structure have in common."""
    if isinstance(value, Mapping):
        return frozenset(value)
    return next((kind for kind in (Tensor, list, PerSample) if isinstance(value, kind)), None)
