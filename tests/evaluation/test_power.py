"""How many queries a difference needs: the formula against simulated evaluations."""

import numpy as np
import pytest

from prstack.evaluation.power import detectable, queries_needed, spread_by_query


def found(draw, n: int, times: int = 4000) -> float:
    """Share of simulated evaluations of `n` queries whose mean difference is significant at 5 %."""
    differences = draw((times, n))
    error = differences.std(axis=1, ddof=1) / np.sqrt(n)
    return float((np.abs(differences.mean(axis=1)) > 1.96 * error).mean())


def test_a_known_sample_size():
    assert queries_needed(0.3, 0.02) == 1766  # (1.95996 + 0.84162)² · 225 = 1765.99
    assert queries_needed(1.0, 0.5) == 32 and queries_needed(1.0, 0.5, power=0.9) == 43  # the tables' 31.4 and 42.03
    assert queries_needed(0.3, -0.02) == queries_needed(0.3, 0.02) and queries_needed(0.0) == 2


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_so_many_queries_find_it_as_often_as_said(power):
    spread, d = 0.25, 0.04
    n = queries_needed(spread, d, power)
    rng = np.random.default_rng(0)
    assert found(lambda size: rng.normal(d, spread, size), n) == pytest.approx(power, abs=0.03)


def test_it_holds_for_differences_as_they_are_measured():
    """Most queries equal, some a whole item apart: what rubric scores give."""
    rng = np.random.default_rng(1)
    measured = rng.choice([-0.3, 0.0, 0.0, 0.0, 0.3, 0.5], size=400)
    spread, d = float(measured.std(ddof=1)), 0.05
    n = queries_needed(spread, d)
    assert found(lambda size: rng.choice(measured, size) - measured.mean() + d, n) == pytest.approx(0.8, abs=0.03)


def test_what_so_many_queries_find_is_the_inverse():
    n = queries_needed(0.3, 0.02)
    assert detectable(0.3, n) <= 0.02 < detectable(0.3, n - 1)


def test_the_spread_is_over_the_queries_that_both_have():
    assert spread_by_query({"q1": 1.0, "q2": 0.5, "q3": 9.0}, {"q1": 0.0, "q2": 0.5, "q4": 7.0}) == pytest.approx(np.std([1.0, 0.0], ddof=1))
    assert spread_by_query({"q1": 1.0}, {"q1": 0.0}) is None


@pytest.mark.parametrize("wrong", [{"spread": -1.0}, {"difference": 0.0}, {"power": 1.0}, {"level": 0.0}, {"spread": float("nan")}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"not 0|between 0 and 1"):
        queries_needed(**({"spread": 0.3, "difference": 0.02} | wrong))
    with pytest.raises(ValueError, match="queries must be positive"):
        detectable(0.3, 0)
