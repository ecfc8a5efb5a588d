"""Rows of control: pictures that no inverter makes, measured as edits are."""

from dataclasses import replace

import pytest
import toy

from fpinv.datasets.scenes.edit_cases import SceneEdits
from fpinv.errors import UserError
from fpinv.images import square
from fpinv.metrics.pixels import psnr
from fpinv.tasks.edit_control import EditControl
from fpinv.tasks.task import Settings

EXAMPLES = [SceneEdits(size=16)[k] for k in range(6)]
SETTINGS = Settings(steps=3, guidance=1.0, seed=0, batch_size=4)


class TrueReader:
    """Reads the attributes of a target off its picture, and of a source off any other."""

    def __call__(self, images):
        truths = {to_key(e.case.truth()): e.case.attributes for e in EXAMPLES}
        sources = {to_key(e.open()): e.attributes for e in EXAMPLES}
        return [(sources | truths)[key(image)] for image in images]


def key(image):
    return image.mul(127.5).round().short().numpy().tobytes()


def to_key(picture):
    return key(square(picture, 16))


def measured(picture, **measures):
    records = list(
        EditControl(picture=picture, **measures)(toy.ToyModel(), None, EXAMPLES, SETTINGS)
    )
    assert [record.error for record in records] == [None] * 6
    return records


def test_perfect_edit_is_the_truth_and_an_unedited_picture_the_original():
    for record in measured("perfect", reader=TrueReader()):
        m = record.metrics
        assert (m["edit_accuracy"], m["kept_accuracy"], m["edit_success"]) == (1, 1, 1)
        assert record.row()["truth_psnr"] is None, "infinite"
        assert record.images["edit"].tobytes() == record.images["truth"].tobytes()
    for record, example in zip(measured("unedited", reader=TrueReader()), EXAMPLES, strict=True):
        m = record.metrics
        assert (m["edit_accuracy"], m["kept_accuracy"], m["edit_success"]) == (0, 1, 0)
        expected = psnr(*(square(p, 16)[None] for p in (example.open(), example.case.truth())))
        assert m["truth_psnr"] == pytest.approx(expected.item(), abs=1e-3)
        assert m["background_mse"] == 0 and list(record.images)[-1] == "strip"


def test_decoded_truth_is_what_the_autoencoder_makes_of_it():
    model = toy.ToyModel()
    for record, example in zip(measured("decoded"), EXAMPLES, strict=True):
        truth = square(example.case.truth(), 16)[None]
        expected = psnr(model.decode(model.encode(truth)), truth).item()
        assert record.metrics["truth_psnr"] == pytest.approx(expected, abs=1e-3)


def test_unknown_truth_costs_one_example_and_an_unknown_picture_the_run():
    blind = replace(EXAMPLES[0], case=replace(EXAMPLES[0].case, truth=None))
    examples = [blind, EXAMPLES[1]]
    first, second = EditControl()(toy.ToyModel(), None, examples, SETTINGS)
    assert "its true edit is unknown: use task.picture=unedited" in first.error
    assert second.error is None
    unedited = EditControl(picture="unedited")(toy.ToyModel(), None, examples, SETTINGS)
    assert [record.error for record in unedited] == [None, None]
    with pytest.raises(
        UserError, match="task.picture=ideal is unknown: choose perfect or decoded"
    ):
        EditControl(picture="ideal")
    with pytest.raises(UserError, match="the data set has no edits"):
        list(EditControl()(toy.ToyModel(), None, [replace(blind, case=None)], SETTINGS))
