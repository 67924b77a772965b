"""The score of reports by round: what each correction of the supervisor gains.

For round r, where 1 is an episode's first report:

- `reached`: mean score of the r-th reports. From round 2 on these are of the episodes that were sent back: a selected lot.
- `gain`: mean of r-th minus first score, within those same episodes.
- `standing`: mean over all episodes of what stands after r rounds: the r-th report, the last one of an episode that ended before, 0
  without any report. This is the curve that compares with a run's final scores.

Scores are the verifiable ones (`Trajectory.scores`). Intervals are percentile bootstraps over episodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prstack.evaluation.bootstrap import Interval, mean_interval, paired
from prstack.types import Trajectory


@dataclass(slots=True, frozen=True)
class RoundScore:
    """One round; `n` of `reached` and `gain` is the number of episodes that reached it."""

    round: int
    reached: Interval
    gain: Interval
    standing: Interval


def score_by_round(trajectories: Iterable[Trajectory]) -> list[RoundScore]:
    """Every round that an episode reached, from 1 on; nothing when there is no report."""
    episodes = [t.scores for t in trajectories]
    return [_round(r, episodes) for r in range(1, max(map(len, episodes), default=0) + 1)]


def _round(r: int, episodes: list[list[float]]) -> RoundScore:
    reached = [scores for scores in episodes if len(scores) >= r]
    return RoundScore(
        round=r,
        reached=mean_interval([scores[r - 1] for scores in reached]),
        gain=paired([scores[r - 1] for scores in reached], [scores[0] for scores in reached]),
        standing=mean_interval([scores[min(r, len(scores)) - 1] if scores else 0.0 for scores in episodes]),
    )
