"""The way of a batch of examples through the stages of a task."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, TypeVar
from urllib.parse import quote

from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.tasks.record import Record

LONGEST_NAME = 200  # bytes of an id in a file's name of at most 255, beside endings and digests
NAMED = 40  # letters of such an id in a message

Result = TypeVar("Result")


def batches(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    """Yield consecutive groups of at most ``size`` examples, all with an image or all without."""
    for _, kind in groupby(examples, key=lambda example: example.image is None):
        while group := list(islice(kind, size)):
            yield group


def run_stages(
    examples: Iterable[Example], size: int, *stages: Callable[[list[Any]], Iterable[Any]]
) -> Iterator[Record]:
    """Yield one record an example, in order.

    An example of which a stage makes an error gets a record with that error and is in no further
    stage; the others of its batch go on.

    Arguments:
        examples: The examples.
        size: Examples of a batch at most.
        stages: Functions from the results of a batch to those of the next stage, each a value or a
            UserError. The first gets examples, the last makes records.
    """
    for batch in batches(examples, size):
        results: list[Any] = list(each(_recordable)(batch))
        for stage in stages:
            results = past_errors(results, stage)
        for example, result in zip(batch, results, strict=True):
            failed = isinstance(result, UserError)
            yield _failure(example, result) if failed else result


def _recordable(example: Example) -> Example:
    """Return the example.

    Raises:
        UserError: its texts cannot be encoded, or its name cannot be that of a file.
    """
    names, prompts = [example.id], [example.prompt]
    if example.case is not None:
        names, prompts = [*names, example.case.image], [*prompts, example.case.edit.prompt]
    for text in (*names, *prompts):
        require_encodable(text)
    for name in names:
        if name in ("", ".", "..") or len(quote(name, safe="")) > LONGEST_NAME:
            raise UserError(
                f"the id {name[:NAMED]!r} cannot name a file: give one of 1 to {LONGEST_NAME} "
                "letters that is not . or .."
            )
    return example


def require_encodable(text: str) -> None:
    """Raise UserError for a text that UTF-8 cannot encode, as of a file name that is no UTF-8."""
    if (shown := printable(text)) != text:
        raise UserError(f"'{shown}' is no text in UTF-8: mend its encoding")


def printable(text: str) -> str:
    """Return a text with an escape for every character that UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()


def _failure(example: Example, error: UserError) -> Record:
    """Return the record of an example that failed, whose texts may be what failed it."""
    return Record(printable(example.id), printable(example.prompt), error=printable(str(error)))


def each(function: Callable[[Any], Any]) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """Return the stage that calls ``function`` for each item, with a UserError as its result."""

    def stage(items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            try:
                yield function(item)
            except UserError as error:
                yield error

    return stage


def alike(
    key: Callable[[Any], Hashable], work: Callable[[list[Any]], Iterable[Any]]
) -> Callable[[list[Any]], list[Any]]:
    """Return the stage that does ``work`` to the items of one key together, key after key.

    Pictures of several sizes make no batch. The key of the last item comes last, so that what
    the next batch continues is what ``work`` saw last.
    """

    def stage(items: list[Any]) -> list[Any]:
        last = {key(item): place for place, item in enumerate(items)}
        results: dict[int, Any] = {}
        for value in sorted(last, key=last.__getitem__):
            places = [k for k, item in enumerate(items) if key(item) == value]
            done = work([items[k] for k in places])
            results |= dict(zip(places, done, strict=True))
        return [results[k] for k in range(len(items))]

    return stage


def past_errors(
    items: Sequence[Any], work: Callable[[list[Any]], Iterable[Result | UserError]]
) -> list[Result | UserError]:
    """Return the items with ``work`` done to all but the errors, together."""
    sound = [item for item in items if not isinstance(item, UserError)]
    results = iter(work(sound) if sound else ())
    return [item if isinstance(item, UserError) else next(results) for item in items]
