"""The notebook experiments/tutorial.ipynb: its cells run in order, and show what the text says."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

NOTEBOOK = Path(__file__).parents[1] / "experiments" / "tutorial.ipynb"
STEPS = 20


@pytest.fixture(scope="module")
def cells():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


@pytest.fixture(scope="module")
def names(cells, tmp_path_factory):
    """Return what the cells define when they have run at fewer steps."""
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("notebook"))
        plt.switch_backend("agg")
        for cell in cells:
            if cell["cell_type"] == "code":
                text = "".join(cell["source"]).replace("steps = 50", f"steps = {STEPS}")
                exec(compile(text, NOTEBOOK.name, "exec"), names)
        plt.close("all")
    return names


def test_no_outputs_are_committed(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(not c["outputs"] and c["execution_count"] is None for c in code)


def test_cells_ran_at_fewer_steps(names):
    assert names["found"].steps == STEPS


def test_further_evaluations_lower_the_residual(names):
    first, *_, last = names["found"].inversion.trace[:, :, 0].median(dim=1).values
    assert last < first / 10


def test_noise_is_less_random_than_noise(names):
    assert names["correlation"] > 0.1


def test_fixed_points_lie_nearer_to_the_ceiling(names):
    assert names["gaps"]["fpi"] < names["gaps"]["ddim"]


def test_edit_is_another_picture(names):
    assert names["edited"].tobytes() != names["found"].reconstruct().tobytes()


def test_path_begins_and_ends_at_the_two_seeds(names):
    seeds, ends = names["seeds"], names["ends"]
    assert torch.equal(seeds[0], ends[0][0]) and torch.equal(seeds[-1], ends[1][0])
    assert len(names["path"]) == 5 and names["path"].isfinite().all()


def test_file_brings_the_noise_back(names):
    assert torch.equal(names["loaded"].noise, names["found"].noise)
