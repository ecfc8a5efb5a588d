"""Batches on their way through the stages of a task."""

import pytest

from fpinv.datasets.example import EditCase, Example
from fpinv.editing.request import Edit
from fpinv.errors import UserError
from fpinv.run.folder import RunFolder, read_rows
from fpinv.tasks.record import Record
from fpinv.tasks.stages import alike, batches, each, past_errors, run_stages


def examples(count, **options):
    return [Example(f"e{k}", f"prompt {k}", **options) for k in range(count)]


def test_batches_hold_examples_of_one_kind_up_to_the_size():
    mixed = [*examples(3, seed=1), *examples(2, image="a.png"), *examples(1, seed=2)]
    assert [len(batch) for batch in batches(mixed, 2)] == [2, 1, 2, 1]
    assert [example for batch in batches(mixed, 2) for example in batch] == mixed


@pytest.mark.parametrize("size", [1, 2, 5])
def test_error_of_a_stage_costs_its_example_alone(size):
    batch_sizes = []

    def odd(example):
        if example.id == "e1":
            raise UserError("e1 is odd")
        return example.id

    def measured(ids):
        batch_sizes.append(len(ids))
        for name in ids:
            yield UserError("e3 diverged") if name == "e3" else Record(name, "", {"psnr": 1.0})

    records = list(run_stages(examples(5, seed=1), size, each(odd), measured))
    assert [record.id for record in records] == [f"e{k}" for k in range(5)]
    assert [record.error for record in records] == [None, "e1 is odd", None, "e3 diverged", None]
    assert sum(batch_sizes) == 4 and records[3].prompt == "prompt 3"


def test_other_exceptions_of_a_stage_end_the_run():
    with pytest.raises(ZeroDivisionError):
        list(run_stages(examples(2, seed=1), 2, each(lambda example: 1 / 0)))


def test_past_errors_calls_no_function_without_sound_items():
    errors = [UserError("a"), UserError("b")]
    assert past_errors(errors, lambda items: 1 / 0) == errors


def test_items_of_one_key_go_together_and_come_back_in_order():
    calls = []
    stage = alike(len, lambda words: calls.append(words) or [word.upper() for word in words])
    assert stage(["a", "bb", "c", "ddd", "ee"]) == ["A", "BB", "C", "DDD", "EE"]
    assert calls == [["a", "c"], ["ddd"], ["bb", "ee"]]


@pytest.mark.parametrize(
    ("id", "prompt", "message"),
    [
        ("caf\udce9", "a cat", r"'caf\udce9' is no text in UTF-8"),
        ("a", "a \ud800 cat", r"'a \ud800 cat' is no text in UTF-8"),
        ("..", "a cat", "the id '..' cannot name a file"),
        ("", "a cat", "the id '' cannot name a file"),
        ("x" * 201, "a cat", f"the id '{'x' * 40}' cannot name a file"),
        ("\u00e9" * 99, "a cat", "cannot name a file"),
    ],
)
def test_an_example_that_cannot_be_recorded_fails_alone(tmp_path, id, prompt, message):
    items = [Example("e0", "a"), Example(id, prompt), Example("e1", "b")]
    records = list(run_stages(items, 3, lambda batch: (Record(e.id, e.prompt) for e in batch)))
    assert [record.error is None for record in records] == [True, False, True]
    assert message in records[1].error
    folder = RunFolder(tmp_path)
    for record in records:
        folder.append(record)
    assert [row["error"] for row in read_rows(tmp_path)] == [None, records[1].error, None]


def test_an_edit_that_cannot_be_recorded_fails_alone():
    case = EditCase(Edit("a \ud800 dog"), "one")
    (record,) = run_stages([Example("e0", "a", case=case)], 3, lambda batch: batch)
    assert r"'a \ud800 dog' is no text in UTF-8" in record.error
