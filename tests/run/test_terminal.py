"""Lines of a run about its own time."""

import logging

import pytest
from diffusers import DDIMScheduler

from fpinv.models.samplers import grids
from fpinv.run.terminal import Pace, duration, quiet, take_terminal


@pytest.mark.parametrize(
    ("seconds", "words"), [(70, "70 s"), (720, "12 min"), (5_400, "90 min"), (12_600, "3.5 h")]
)
def test_durations_are_in_the_unit_that_one_thinks_in(seconds, words):
    assert duration(seconds) == words


def test_the_rest_takes_as_long_for_each_example_as_the_first_batch():
    pace = Pace(32, 8, begun=0.0, done=8)
    assert pace.estimate(240.0) == "about 12 min left: 8 of 32 examples took 4 min"


@pytest.mark.parametrize(("total", "spent"), [(32, 19.0), (8, 9_999.0)])
def test_short_work_and_a_single_batch_need_no_estimate(total, spent):
    assert Pace(total, 8, begun=0.0, done=8).estimate(spent) == ""


def test_the_estimate_is_one_line_after_the_first_batch(monkeypatch, capsys):
    monkeypatch.delenv("FPINV_TERMINAL", raising=False)
    Pace(4, 1, begun=-1e6).advance()
    assert capsys.readouterr().err == "", "a worker does not speak"
    monkeypatch.setenv("FPINV_TERMINAL", "")
    take_terminal()
    pace = Pace(9, 2, "job 3", begun=-1e6)
    pace.advance()
    assert capsys.readouterr().err == "", "the batch has another example"
    for _ in range(8):
        pace.advance()
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("job 3: about ") and ": 2 of 9 examples took " in captured.err


def test_of_the_warnings_of_a_run_the_terminal_shows_notices_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FPINV_TERMINAL", "")
    take_terminal()
    grids._warn_of_signal.cache_clear()
    with quiet(tmp_path / "run.log"):
        logging.getLogger("some.library").warning("a detail")
        scheduler = DDIMScheduler(clip_sample=False, steps_offset=1, set_alpha_to_one=False)
        grids.ddim_grid(scheduler, 501)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("steps=501 ends at timestep 501 of 1000")
    written = (tmp_path / "run.log").read_text()
    assert "a detail" in written and "steps=501" in written
