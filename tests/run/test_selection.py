"""Choosing the best job of a sweep by its results."""

import json

import pytest

from fpinv.errors import UserError
from fpinv.run.selection import best


@pytest.fixture
def folder_of(tmp_path):
    def make(name, mean=None, failed=0, ssim=0.5, missing=0):
        folder = tmp_path / name
        folder.mkdir()
        metric = None if mean is None else {"mean": mean, "ci95": 0.1}
        (folder / "summary.json").write_text(
            json.dumps(
                {
                    "n": 10 - failed - missing,
                    "failed": failed,
                    "total": 10,
                    "psnr": metric,
                    "ssim": {"mean": ssim},
                }
            )
        )
        return folder

    return make


def test_highest_mean_wins_and_the_first_of_equals(folder_of):
    folders = [folder_of(str(k), mean) for k, mean in enumerate((20.0, 23.0, 23.0, -5.0))]
    assert best(folders, ["psnr"], finished=True) == 1


def test_second_criterion_decides_between_equals(folder_of):
    folders = [
        folder_of("a", 20.0),
        folder_of("b", 20.0, ssim=0.7),
        folder_of("c", 19.0, ssim=0.9),
    ]
    assert best(folders, ["psnr", "ssim"], finished=True) == 1
    assert best(folders, ["ssim", "psnr"], finished=True) == 2


def test_job_that_fails_where_examples_are_hard_does_not_win_by_its_mean(folder_of):
    folders = [
        folder_of("a", 30.0, failed=2),
        folder_of("b", 20.0),
        folder_of("c", 25.0, failed=1),
    ]
    assert best(folders, ["psnr"], finished=True) == 1


def test_job_that_crashed_early_does_not_win_by_its_mean(folder_of):
    folders = [folder_of("a", 30.0, missing=8), folder_of("b", 20.0)]
    assert best(folders, ["psnr"], finished=True) == 1


def test_job_without_results_is_an_error_once_all_should_be_there(folder_of, tmp_path):
    folders = [tmp_path / "missing", folder_of("unmeasured"), folder_of("done", -3.0)]
    assert best(folders, ["psnr"], finished=False) == 2
    assert best(folders[:2], ["psnr"], finished=False) == 0
    for some in (folders, folders[1:]):
        with pytest.raises(UserError, match="has no psnr, by which settings are chosen"):
            best(some, ["psnr"], finished=True)
    with pytest.raises(UserError, match="hydra.sweeper.criteria is empty"):
        best(folders, [], finished=True)
