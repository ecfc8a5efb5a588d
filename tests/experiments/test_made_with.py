"""All committed results were made by the weights that are shipped."""

import json
from pathlib import Path

import pytest

import fpinv.models.scenes
from fpinv.models.origin import digest

SHIPPED = digest(Path(fpinv.models.scenes.__path__[0]))
RESULTS = sorted((Path(__file__).parents[2] / "experiments").glob("*/*/results/jobs.json"))


def test_there_are_results():
    assert len(RESULTS) >= 20


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.parts[-3])
def test_committed_results_were_made_by_the_shipped_weights(file):
    jobs = json.loads(file.read_text(encoding="utf-8"))
    assert {job["summary"]["model_digest"] for job in jobs} == {SHIPPED}
