"""Means and shares with intervals, against scipy and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from fpinv.metrics.intervals import DRAWS, bootstrap, mean_ci95, percent


def test_interval_is_student_t() -> None:
    values = [20.1, 22.4, 22.1, 25.0, 19.3]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    expected = {"mean": pytest.approx(np.mean(values)), "ci95": pytest.approx((high - low) / 2)}
    assert mean_ci95(values) == expected
    assert mean_ci95([values[0], None, *values[1:]]) == expected | {"n": 5}


def test_interval_covers_the_mean_95_times_in_100() -> None:
    draws = np.random.default_rng(0).normal(3, 2, size=(2000, 4))
    summaries = [mean_ci95(row.tolist()) for row in draws]
    covered = np.mean([abs(s["mean"] - 3) <= s["ci95"] for s in summaries])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_summary_of_few_or_unusual_values() -> None:
    assert mean_ci95([]) is None
    assert mean_ci95([None, math.inf]) is None
    assert mean_ci95([3, None]) == {"mean": 3, "ci95": None, "n": 1}
    assert mean_ci95([5, 5, 5]) == {"mean": 5, "ci95": 0}
    assert mean_ci95([2, math.nan, 2, -math.inf]) == {"mean": 2, "ci95": 0, "n": 2}


def test_copies_of_a_measurement_do_not_narrow_its_interval() -> None:
    values = [1.0, 2.0, 4.0]
    once = mean_ci95(values)
    copies = mean_ci95(values * 6, clusters=["a", "b", "c"] * 6)
    assert copies == pytest.approx(once)
    assert mean_ci95([5, 5, 5], clusters=["a"] * 3) == {"mean": 5, "ci95": None}
    assert mean_ci95([1, None, 3], clusters=["a", "b", "c"]) == mean_ci95([1, 3]) | {"n": 2}


def test_the_interval_of_clusters_covers_the_mean_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), rng.integers(1, 5, size=20)).tolist()
    covered = []
    for _ in range(1000):
        shared, own = rng.normal(size=20), rng.normal(size=len(labels))
        summary = mean_ci95((3 + shared[labels] + 0.3 * own).tolist(), labels)
        covered.append(abs(summary["mean"] - 3) <= summary["ci95"])
    assert np.mean(covered) == pytest.approx(0.94, abs=0.025)


def test_a_share_of_0_or_1_has_an_interval_all_the_same() -> None:
    half = mean_ci95([1.0] * 8, share=True)["ci95"]
    assert (1 - half) ** 8 == pytest.approx(0.025)
    assert mean_ci95([0, 0], share=True)["ci95"] == pytest.approx(1 - 0.025**0.5)
    assert mean_ci95([0], share=True) == {"mean": 0, "ci95": None}
    assert mean_ci95([1.0] * 8)["ci95"] == 0
    assert bootstrap([0.0] * 8) == f"0.0 [0.0, {100 * half:.1f}]"
    assert bootstrap([1.0] * 8) == f"100.0 [{100 - 100 * half:.1f}, 100.0]"
    assert bootstrap([0.0] * 8, least=-1) == f"0.0 [-{100 * half:.1f}, {100 * half:.1f}]"


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
