"""The task of edits without an inversion."""

from dataclasses import replace

import pytest
import toy

from fpinv.datasets.scenes.edit_cases import SceneEdits
from fpinv.editing.flow_edit import FlowEdit
from fpinv.errors import UserError
from fpinv.tasks.flow_editing import FlowEditing
from fpinv.tasks.task import Settings

EXAMPLES = [SceneEdits(size=16)[k] for k in range(3)]


def records(examples=EXAMPLES, batch_size=2, family="flow", **settings):
    task = FlowEditing(method=FlowEdit(**settings))
    numbers = Settings(steps=4, guidance=1.0, seed=0, batch_size=batch_size)
    return list(task(toy.ToyModel(family), None, examples, numbers))


def test_records_an_edit_a_row_with_its_cost_and_its_truth():
    for record, example in zip(records(start=0.5), EXAMPLES, strict=True):
        assert record.error is None and record.texts["target"] == example.case.edit.prompt
        assert record.metrics["nfe_calls"] == 4 and record.metrics["nfe_rows"] == 8
        assert record.metrics["truth_psnr"] > 0 and record.metrics["stored_numbers"] == 0
        assert list(record.images) == ["original", "edit", "truth", "strip"]


def test_results_do_not_depend_on_the_batch():
    for together, alone in zip(records(batch_size=3), records(batch_size=1), strict=True):
        assert together.metrics["truth_psnr"] == pytest.approx(alone.metrics["truth_psnr"])


def test_other_data_and_other_models_are_refused():
    with pytest.raises(UserError, match="no edits"):
        records([replace(EXAMPLES[0], case=None)])
    with pytest.raises(UserError, match="rectified flow"):
        records(family="epsilon")
