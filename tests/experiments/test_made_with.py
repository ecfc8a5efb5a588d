"""All committed results were made by the weights that are shipped."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

import fpinv.models.scenes
from fpinv.models.origin import digest

SCENES = Path(fpinv.models.scenes.__path__[0])
SHIPPED = digest(SCENES)
JUDGES = {"classifier": "54a8370c88aa0e54", "clip": "f466de4d7a6c6aa5"}
"""The networks that judged the committed results, which a model's digest leaves out. Once one of
them changes, the tables of seeds and edits have to be made again."""
RESULTS = sorted((Path(__file__).parents[2] / "experiments").glob("*/*/results/jobs.json"))


def test_there_are_results():
    assert len(RESULTS) >= 20


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.parts[-3])
def test_committed_results_were_made_by_the_shipped_weights(file):
    jobs = json.loads(file.read_text(encoding="utf-8"))
    assert {job["summary"]["model_digest"] for job in jobs} == {SHIPPED}


@pytest.mark.parametrize("judge", JUDGES)
def test_committed_results_were_judged_by_the_shipped_networks(judge):
    weights = (SCENES / judge / "model.safetensors").read_bytes()
    assert sha256(weights).hexdigest().startswith(JUDGES[judge])
