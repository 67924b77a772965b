"""The score of reports by round: who is counted in which mean."""

import pytest

from prstack.report.rounds import score_by_round
from tests.factories import trajectory


def with_scores(*scores):
    t = trajectory(1)
    t.scores = list(scores)
    return t


def test_each_round_has_those_that_reached_it_their_gain_and_what_stands_of_all():
    rounds = score_by_round([with_scores(1.0), with_scores(0.2, 0.6), with_scores(0.0, 0.2, 0.9), with_scores()])
    assert [r.round for r in rounds] == [1, 2, 3]
    assert [r.reached.n for r in rounds] == [3, 2, 1] == [r.gain.n for r in rounds]
    assert [r.reached.mean_difference for r in rounds] == pytest.approx([0.4, 0.4, 0.9])
    assert [r.gain.mean_difference for r in rounds] == pytest.approx([0, 0.3, 0.9])
    assert [r.standing.mean_difference for r in rounds] == pytest.approx([0.3, 0.45, 2.5 / 4])
    assert [r.standing.n for r in rounds] == [4, 4, 4]


def test_intervals_hold_the_mean_and_are_the_same_each_time():
    episodes = [with_scores(n / 40, min(1.0, n / 40 + 0.1 * (n % 3))) for n in range(40)]
    first, second = score_by_round(episodes)
    assert first.reached.low < first.reached.mean_difference < first.reached.high and first.gain.low == first.gain.high == 0
    assert 0 < second.gain.low < second.gain.mean_difference < second.gain.high
    assert score_by_round(iter(episodes)) == [first, second]


def test_without_reports_there_are_no_rounds():
    assert score_by_round([]) == [] == score_by_round([with_scores()])
