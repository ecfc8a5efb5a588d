"""The glossary: every metric that a run writes is in it, and is shown in good digits."""

import json
from pathlib import Path

import pytest

from fpinv.metrics.glossary import GLOSSARY, entry, headlines, with_unit
from fpinv.run.folder import is_interval
from fpinv.tasks.edit_control import EditControl
from fpinv.tasks.editing import Editing
from fpinv.tasks.flow_editing import FlowEditing
from fpinv.tasks.interpolation import Interpolation
from fpinv.tasks.rare_concept import RareConcept
from fpinv.tasks.reconstruction import Reconstruction
from fpinv.tasks.watermark import Watermark

RESULTS = sorted((Path(__file__).parents[2] / "experiments").glob("*/*/results/jobs.json"))


@pytest.mark.parametrize(
    "task",
    [Reconstruction, Editing, FlowEditing, EditControl, Interpolation, RareConcept, Watermark],
)
def test_every_metric_of_a_task_is_explained(task):
    assert [name for name in task.metrics if entry(name) is None] == []


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.parts[-3])
def test_every_metric_of_committed_results_is_explained(file):
    summaries = [job["summary"] for job in json.loads(file.read_text(encoding="utf-8"))]
    names = {name for summary in summaries for name, v in summary.items() if is_interval(v)}
    assert [name for name in names if entry(name) is None] == []


def test_name_of_its_own_comes_before_a_pattern():
    assert entry("seconds_per_image") == "seconds_per_image"
    assert entry("seconds_opt") == "seconds_*"
    assert entry("clip_scenes_direction") == "clip_*_direction"
    assert entry("unheard_of") is None


@pytest.mark.parametrize(
    ("name", "mean", "half", "text"),
    [
        ("gap", 0.0312, 0.0098, "0.031 ± 0.010 dB"),
        ("gap", 0.00002, None, "2e-05 dB"),
        ("gap", 0.0004, 0.01, "0.0004 ± 0.01 dB"),
        ("edit_success", 0.0003, 0.0002, "0.03 ± 0.02 %"),
        ("nfe_calls", 50.0, 0.0, "50.0"),
        ("edit_success", 0.625, 0.05, "62.5 ± 5.0 %"),
        ("psnr", None, None, "-"),
        ("unheard_of", 1.5, None, "1.500"),
    ],
)
def test_number_has_its_unit_and_good_digits(name, mean, half, text):
    assert with_unit(name, {"mean": mean, "ci95": half}) == text


def test_intervals_of_shares_at_an_end_and_of_fewer_examples_say_so():
    assert with_unit("accuracy", {"mean": 1.0, "ci95": 0.25}) == "100.0 − 25.0 %"
    assert with_unit("accuracy", {"mean": 0.0, "ci95": 0.25}) == "0.0 + 25.0 %"
    assert with_unit("psnr", {"mean": 1.0, "ci95": 0.25, "n": 3}) == "1.00 ± 0.25 dB (n = 3)"
    assert entry("clip_ViT-L-14-quickgelu_openai") == "clip_*"


def test_headlines_are_in_the_order_of_the_glossary():
    assert headlines(["nfe_calls", "ssim", "psnr", "unheard_of"]) == ["psnr", "nfe_calls"]
    assert len(set(map(entry, GLOSSARY))) == len(GLOSSARY)
