"""Means and shares with intervals, against scipy and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from fpinv.metrics.intervals import DRAWS, bootstrap, mean_ci95, percent


def test_interval_is_student_t() -> None:
    values = [20.1, 22.4, 22.1, 25.0, 19.3]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    summary = mean_ci95([values[0], None, *values[1:]])
    assert summary == {
        "mean": pytest.approx(np.mean(values)),
        "ci95": pytest.approx((high - low) / 2),
    }


def test_interval_covers_the_mean_95_times_in_100() -> None:
    draws = np.random.default_rng(0).normal(3, 2, size=(2000, 4))
    summaries = [mean_ci95(row.tolist()) for row in draws]
    covered = np.mean([abs(s["mean"] - 3) <= s["ci95"] for s in summaries])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_summary_of_few_or_unusual_values() -> None:
    assert mean_ci95([]) is None
    assert mean_ci95([None, None]) is None
    assert mean_ci95([3, None]) == {"mean": 3, "ci95": None}
    assert mean_ci95([5, 5, 5]) == {"mean": 5, "ci95": 0}
    assert mean_ci95([5, 5, 5], distinct=True) == {"mean": 5, "ci95": None}
    assert mean_ci95([4, 4, 4, 6], distinct=True) == mean_ci95([4, 6]) | {"mean": 4.5}
    assert mean_ci95([math.inf]) == {"mean": None, "ci95": None, "nonfinite": 1}
    assert mean_ci95([2, math.nan, 2, -math.inf]) == {"mean": 2, "ci95": 0, "nonfinite": 2}


def test_the_bootstrap_covers_a_known_share():
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(20):
        text = bootstrap(list(random.binomial(1, 0.3, size=80).astype(float)))
        low, high = map(float, text.split("[")[1].rstrip("]").split(", "))
        hits += low <= 30 <= high
    assert hits >= 16
    assert bootstrap([0.4] * 5) == "40.0 [40.0, 40.0]" and bootstrap([]) == "-"


def test_an_interval_leaves_out_a_fortieth_at_each_end():
    assert percent(0.5, np.linspace(0, 1, DRAWS + 1)) == "50.0 [2.5, 97.5]"
