"""The bounds of errors foretold, with margins of val."""

import numpy as np
import pytest
from scripts import load

from fpinv.reporting.experiment import Job


@pytest.fixture(scope="module")
def foretold():
    return load("studies/foretold/table")


def job(shortfalls, split="test", inverter="fpi", steps=10):
    """Return a job whose latents come back so many dB worse than the 40 dB foretold."""
    summary = {
        **{"inverter": inverter, "dataset": "scenes", "model": "scenes", "steps": steps},
        **{"guidance": 1.0, "n": len(shortfalls), "device": "cpu"},
        **{"latent_psnr": {"mean": 40 - float(np.mean(shortfalls)), "ci95": None}},
    }
    rows = [{"latent_psnr_expected": 40.0, "latent_psnr": 40.0 - value} for value in shortfalls]
    return Job("a", {}, summary, {"dataset.split": split}, rows)


def cells(text):
    """Return the cells of the rows of a table by its titles."""
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    titles, _, *rows = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(titles, row, strict=True)) for row in rows]


def test_the_margin_is_that_of_val_over_all_grids_and_inverters_have_their_own(foretold):
    val = [job([0.0, 1.0], "val"), job([2.0, 4.0], "val", steps=20), job([9.0], "val", "auto")]
    known = foretold.margins(val)
    assert known == {"fpi": pytest.approx(np.quantile([0, 1, 2, 4], 0.95)), "auto": 9.0}
    (row,) = cells(foretold.make([*val, job([-3.0, 1.0, 3.0, 5.0])]).text)
    assert row["margin, dB"] == f"{known['fpi']:.1f}"
    assert row["within the bound, %"].startswith("75")
    assert row["slack, dB"] == f"{known['fpi'] - 2:.1f}"


def test_without_jobs_of_val_nothing_is_said_of_bounds(foretold):
    (row,) = cells(foretold.make([job([0.0, 1.0])]).text)
    assert list(row) == ["inverter", "latent, dB"]
