"""Agreement of a judge with the truth: values by hand, ties, queries, and intervals that cover."""

import numpy as np
import pytest

from prstack.evaluation.agreement import agreement


def values(judge, truth, groups=None):
    a = agreement(judge, truth, groups, draws=50)
    return tuple(None if i is None else i.mean_difference for i in (a.spearman, a.kendall, a.pairwise_accuracy))


def test_by_hand():
    assert values([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx((1, 1, 1))
    assert values([4, 3, 2, 1], [10, 20, 30, 40]) == pytest.approx((-1, -1, 0))
    # one neighbouring pair swapped: rho = 1 - 6 · 2 / (4 · 15), tau = (5 - 1) / 6, 5 of 6 pairs
    assert values([1, 2, 4, 3], [1, 2, 3, 4]) == pytest.approx((0.8, 4 / 6, 5 / 6))


def test_ties_are_shared_ranks_and_half_a_pair():
    # ranks 1, 2.5, 2.5, 4 beside 1, 2, 3, 4: rho = 4.5 / sqrt(4.5 · 5); tau-b = 5 / sqrt(5 · 6); 5 pairs alike and a half
    assert values([1, 2, 2, 4], [1, 2, 3, 4]) == pytest.approx((4.5 / (4.5 * 5) ** 0.5, 5 / 30**0.5, 5.5 / 6))
    assert values([1, 2, 3, 4], [1, 2, 2, 4])[2] == 1.0, "pairs that the truth does not tell apart do not count"


def test_pairs_of_one_query_alone_count_where_queries_are_given():
    judge, truth, queries = [1, 2, 9, 8], [3, 4, 1, 2], ["q1", "q1", "q2", "q2"]
    assert values(judge, truth)[2] == pytest.approx(1 / 6) and values(judge, truth, queries)[2] == 0.5
    assert agreement(judge, truth, queries).pairwise_accuracy.n == 2 and agreement(judge, truth).pairwise_accuracy.n == 4
    assert values([1, 2], [3, 4], ["q1", "q2"])[2] is None, "there is no pair of one query"


def test_what_is_not_defined_is_none():
    a = agreement([5, 5, 5], [1, 2, 3])
    assert a.spearman is None and a.kendall is None and a.pairwise_accuracy.mean_difference == 0.5
    assert a.row()["spearman"] is None and a.row()["pairwise_accuracy"]["value"] == 0.5 and a.row()["reports"] == 3
    assert agreement([1, 2, 3], [5, 5, 5]).pairwise_accuracy is None


def test_the_interval_covers_and_narrows():
    rng = np.random.default_rng(0)

    def drawn(n):
        truth = rng.normal(size=n)
        return agreement(truth + rng.normal(size=n), truth, draws=400)

    expected = 6 / np.pi * np.arcsin(2**-0.5 / 2)  # Spearman of normals whose correlation is sqrt(1/2)
    covered = sum(a.spearman.low <= expected <= a.spearman.high for a in (drawn(60) for _ in range(60)))
    assert covered >= 50, "about 95 % of 60"
    small, large = drawn(30), drawn(300)
    for name in ("spearman", "kendall", "pairwise_accuracy"):
        s, t = getattr(small, name), getattr(large, name)
        assert s.low <= s.mean_difference <= s.high and t.high - t.low < s.high - s.low


def test_whole_queries_are_drawn():
    """Ten reports on each of six queries that share all their noise: an interval over reports is far too narrow."""
    rng = np.random.default_rng(1)
    queries = np.repeat(np.arange(6), 10)
    truth, judge = rng.normal(size=6)[queries], rng.normal(size=6)[queries]
    by_query, by_report = (agreement(judge, truth, g).spearman for g in (queries.tolist(), None))
    assert by_query.mean_difference == pytest.approx(by_report.mean_difference)
    assert by_query.high - by_query.low > 1.5 * (by_report.high - by_report.low)


def test_a_draw_with_copies_is_as_if_the_copies_were_reports():
    """The weights of the bootstrap against the plain values of a sample that holds reports several times."""
    from prstack.evaluation import agreement as module

    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 6, 12).astype(float), rng.integers(0, 6, 12).astype(float)
    counts = rng.integers(0, 4, 12)
    s, t = (np.sign(v[:, None] - v[None, :]).astype(np.float32) for v in (x, y))
    weighted = module._measures(counts[None, :].astype(np.float32), s, t, s * t, abs(s), abs(t), abs(t), s * t)[0]
    assert values(np.repeat(x, counts), np.repeat(y, counts)) == pytest.approx(tuple(weighted), abs=1e-5)


@pytest.mark.parametrize(("judge", "truth", "groups"), [([1], [1], None), ([1, 2], [1], None), ([1, 2], [1, 2], ["q"]), ([1, float("nan")], [1, 2], None), ([], [], None)])
def test_what_makes_no_sense_is_refused(judge, truth, groups):
    with pytest.raises(ValueError, match=r"belong together|two reports"):
        agreement(judge, truth, groups)
