"""Splits of the world as data sets."""

from typing import Any

import pytest

from fpinv.datasets.scenes import Scenes
from fpinv.errors import UserError


def test_dataset_is_a_sequence_of_examples() -> None:
    data = Scenes(split="val", size=48, objects=2, shapes=["crown", "fish"], length=5)
    examples = list(data)
    assert len(data) == len(examples) == 5
    assert examples[3].id == "scenes-0-val-000003"
    assert all(example.open().size == (48, 48) for example in examples)
    assert {item["shape"] for e in examples for item in e.attributes["objects"]} == {
        "crown",
        "fish",
    }
    with pytest.raises(IndexError):
        data[5]


@pytest.mark.parametrize("options", [{"split": "dev"}, {"objects": 4}, {"shapes": ["teapot"]}])
def test_an_unknown_argument_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"dev|4|teapot"):
        Scenes(**options)
