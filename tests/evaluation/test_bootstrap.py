"""Intervals: coverage, degenerate cases, pairing by query."""

import numpy as np
import pytest

from prstack.evaluation.bootstrap import by_query, crossed, mean_interval, paired, paired_by_query
from prstack.evaluation.metrics import Truth, measure
from tests.factories import trajectory


def test_coverage_of_the_true_difference():
    rng, held = np.random.default_rng(7), 0
    for n in range(200):
        hardness = rng.normal(0, 3, 60)  # common to both, so that only pairing sees the difference
        interval = paired(hardness + rng.normal(0.5, 1, 60), hardness + rng.normal(0, 1, 60), draws=500, seed=n)
        held += interval.low <= 0.5 <= interval.high
    assert 0.89 <= held / 200 <= 0.99


def test_the_interval_is_about_as_wide_as_the_normal_one():
    x = np.random.default_rng(0).normal(2, 1, 400)
    interval = mean_interval(x)
    assert interval.mean_difference == pytest.approx(x.mean()) and interval.n == 400
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * x.std() / 20, rel=0.05)
    assert mean_interval(x, level=0.5).high < interval.high
    assert mean_interval(x) == interval != mean_interval(x, seed=1)


def test_chunks_give_the_number_of_draws(monkeypatch):
    monkeypatch.setattr("prstack.evaluation.bootstrap.CHUNK", 7)
    interval = mean_interval([0.0, 1.0] * 4, draws=1001)
    assert 0 <= interval.low < 0.5 < interval.high <= 1


def test_degenerate_values():
    assert paired([1, 2, 3], [0, 1, 2]) == paired([1, 2, 3], [0, 1, 2], draws=1)
    one = paired([2], [0.5])
    assert (one.mean_difference, one.low, one.high, one.n) == (1.5, 1.5, 1.5, 1)


@pytest.mark.parametrize(
    ("a", "b", "options"),
    [([1], [1, 2], {}), ([], [], {}), ([float("nan")], [1], {}), ([None], [1], {}), ([1], [1], {"level": 1.0}), ([1], [1], {"draws": 0})],
)
def test_what_cannot_be_compared(a, b, options):
    with pytest.raises(ValueError):
        paired(a, b, **options)


def test_seeds_are_averaged_and_only_common_queries_compared():
    a = by_query([("q1", {"score": 1.0}), ("q1", {"score": 0.5}), ("q2", {"score": None}), ("q3", {"score": 1.0})], "score")
    b = by_query([("q1", {"score": 0.25}), ("q2", {"score": 0.5}), ("q1", {"score": None})], "score")
    assert a == {"q1": 0.75, "q3": 1.0} and b == {"q1": 0.25, "q2": 0.5}
    interval = paired_by_query(a, b)
    assert (interval.mean_difference, interval.n) == (0.5, 1)
    with pytest.raises(ValueError, match="no values"):
        paired_by_query(a, {"q9": 1.0})


def test_by_query_reads_episode_metrics():
    m = measure(trajectory(1), Truth(frozenset()))
    assert by_query([("q", m), ("q", m)], "score") == {"q": m.score}
    with pytest.raises(AttributeError):
        by_query([("q", m)], "no_such_metric")


def test_trainings_are_drawn_as_well_as_queries():
    rng = np.random.default_rng(3)
    hardness, held = rng.normal(0, 3, 40), []

    def trained(gain: float, spread: float) -> list[dict]:
        return [{f"q{i}": h + gain + shift for i, h in enumerate(hardness)} for shift in rng.normal(0, spread, 8)]

    for n in range(60):
        interval = crossed(trained(0.5, 1.0), trained(0.0, 1.0), draws=60, seed=n)
        held.append(interval.low <= 0.5 <= interval.high)
        assert interval.n == 40
    assert 0.8 <= np.mean(held) <= 1
    alike = crossed(trained(0.5, 0.0), trained(0.0, 0.0), draws=200)
    assert (alike.low, alike.mean_difference, alike.high) == pytest.approx((0.5, 0.5, 0.5))  # queries are paired: their hardness cancels


def test_trainings_that_cannot_be_compared():
    assert crossed([{"q": 1.0, "r": 3.0}], [{"q": 0.0}], draws=9) == crossed([{"q": 1.0}], [{"q": 0.0}], draws=9)
    for a, b in (([], [{"q": 1.0}]), ([{"q": 1.0}], [{"r": 1.0}]), ([{"q": float("nan")}], [{"q": 1.0}])):
        with pytest.raises(ValueError):
            crossed(a, b)
