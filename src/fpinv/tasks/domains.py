"""Kinds of pictures: a model or a measure of scenes says nothing about photographs.

A model, a data set or a measure that knows one kind of pictures only has its name as ``domain``;
all others have None or no such attribute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from fpinv.errors import UserError

if TYPE_CHECKING:
    from fpinv.models.model import Model
    from fpinv.tasks.task import Task


WORDS = {"scenes": "scenes of rendered shapes"}
"""The words for each domain in messages."""


def domain_of(part: object) -> str | None:
    """Return the only kind of pictures that a part of a run knows; None for any kind."""
    return getattr(part, "domain", None)


def foreign_pictures(model: Model, dataset: object) -> str | None:
    """Return a line about a model that does not know the pictures of a data set, or None."""
    domain = domain_of(model)
    if domain is None or domain == domain_of(dataset):
        return None
    return (
        f"model {model.name} knows {WORDS.get(domain, domain)} only, not photographs or other "
        "pictures: for those choose another, e.g. model=sd15"
    )


def without_misfits(task: Task, model: Model, dataset: object) -> tuple[Task, str | None]:
    """Return the task without measures that do not know its pictures, and a line about those.

    A measure of one domain measures pictures of a model and a data set of that domain alone.

    Raises:
        UserError: the task cannot do without such a measure.
    """
    misfits = [
        (key, field)
        for key, field, measure in _measures(task, "task")
        if domain_of(measure) and {domain_of(measure)} != {domain_of(model), domain_of(dataset)}
    ]
    if not misfits:
        return task, None
    foreign = f"model {model.name}" if domain_of(model) is None else "this data set"
    for key, field in misfits:
        if field.default is MISSING or key != f"task.{field.name}":  # a part's own
            raise UserError(
                f"{key} knows scenes only, which {foreign} does not keep to: choose another, "
                "e.g. classifier=imagenet clip=open_clip"
            )
    keys = " and ".join(key for key, _ in misfits)
    line = (
        f"not measured: {keys}, which {'know' if len(misfits) > 1 else 'knows'} scenes only; "
        f"{foreign} has other pictures; to measure these: clip=open_clip task/perceptual=lpips"
    )
    return replace(task, **{field.name: None for _, field in misfits}), line  # type: ignore[type-var]


def _measures(part: Any, key: str) -> Iterator[tuple[str, Field[Any], object]]:  # noqa: ANN401
    """Yield the arguments of a task and of its parts: key, field and value."""
    if not is_dataclass(part):
        return
    for field in fields(part):
        path, value = f"{key}.{field.name}", getattr(part, field.name)
        yield path, field, value
        yield from _measures(value, path)
