"""What engine and trainer say of the same tokens: the numbers, the bound, the correction."""

import numpy as np
import pytest

from prstack.rl.mismatch import Disagreement, check, measure, truncated


def test_the_same_numbers_disagree_in_nothing():
    lp = np.log(np.array([0.5, 0.25, 0.9]))
    found = measure([lp[:1], lp[1:]], [lp[:1], lp[1:]])
    assert (found.mean, found.largest, found.kl, found.max_ratio, found.tokens) == (0, 0, 0, 1, 3)


def test_k3_is_unbiased_for_the_kl_and_never_negative():
    engine, trainer = np.array([0.7, 0.2, 0.1]), np.array([0.5, 0.3, 0.2])
    drawn = np.random.default_rng(0).choice(3, 200_000, p=engine)
    found = measure([np.log(trainer[drawn])], [np.log(engine[drawn])])
    assert found.kl == pytest.approx(float((engine * np.log(engine / trainer)).sum()), rel=0.03)
    assert found.max_ratio == pytest.approx(2.0) and found.largest == pytest.approx(np.log(2))
    for shift in (-3.0, -1e-4, 1e-4, 3.0):
        assert measure([np.array([shift])], [np.zeros(1)]).kl > 0


def test_beyond_the_bound_it_stops_and_says_what_was_found():
    found = measure([np.array([-1.0, -2.0])], [np.array([-1.1, -2.0])])
    check(found, 0.06)
    with pytest.raises(Disagreement, match=r"engine and trainer disagree beyond rl\.max_mismatch=0\.04.*mean \|Δ log p\| 5\.00e-02"):
        check(found, 0.04)
    with pytest.raises(Disagreement):
        check(measure([np.array([np.nan])], [np.zeros(1)]), 1e9)


def test_arrays_that_are_not_parallel_are_a_defect():
    with pytest.raises(ValueError, match="parallel"):
        measure([np.zeros(2)], [np.zeros(3)])
    with pytest.raises(ValueError, match="no sampled tokens"):
        measure([], [])


def test_importance_weights_are_truncated_from_above_only():
    got = truncated(np.log([0.1, 0.5, 0.9]), np.log([0.2, 0.5, 0.1]), 2.0)
    assert got == pytest.approx([0.5, 1.0, 2.0]) and got.dtype == np.float32
