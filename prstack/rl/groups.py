"""Groups of episodes of one query, how each ended, and dynamic sampling.

An episode is compared with the others of its group, so a group teaches something only where its rewards differ:

1. A step wants a number of groups whose rewards differ, and plays that many queries.
2. Groups that are flat (all rewards the same) are put aside. Others are played in their place, `refills` times; what is still missing then
   stays missing (Yu et al. 2025, "DAPO", section 3.2).
3. Episodes that did not come to an end of the policy's making (`VOID`) belong to no group: an engine that died, or a slow machine, says
   nothing about what was sampled.

Invariants: a step trains on no flat group and on no void episode; everything that was played is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from prstack.rl.samples import Rollout
from prstack.types import OWN_FAULTS, Trajectory

Outcome = Literal["finished", "forced", "malformed", "turns", "context", "time", "failed"]
"""`finished`: a report; `forced`: one that was asked for at the cap of tool calls; `malformed`: neither calls nor a report, several times;
`turns`, `context`: no room was left; `time`: rl.max_seconds; `failed`: the engine or the environment."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
VOID: tuple[Outcome, ...] = ("time", "failed")
FLAT = 1e-6
"""Spread of rewards below which a group is flat."""
_BY_TERMINATION: dict[str, Outcome] = {"finished": "finished", "max_tool_calls": "forced", "max_rounds": "turns", "max_tokens": "context", "time": "time"}


def outcome(t: Trajectory) -> Outcome:
    """How an episode ended, by its termination and detail."""
    if t.termination == "error":
        return "malformed" if t.detail in OWN_FAULTS else "failed"
    return _BY_TERMINATION[t.termination]


@dataclass(slots=True)
class Group:
    """The episodes of one query, void ones included."""

    task: str
    rollouts: list[Rollout]

    @property
    def counted(self) -> list[Rollout]:
        """Those that are compared with each other."""
        return [r for r in self.rollouts if r.outcome not in VOID]

    @property
    def spread(self) -> float:
        """Highest less lowest reward; 0 where nothing can be compared."""
        rewards = [r.reward for r in self.counted]
        return max(rewards) - min(rewards) if len(rewards) > 1 else 0.0

    @property
    def flat(self) -> bool:
        return self.spread < FLAT


@dataclass(slots=True)
class Filling:
    """The groups of one step: those that are to be trained on, and all that were played."""

    wanted: int
    refills: int
    kept: list[Group] = field(default_factory=list)
    played: list[Group] = field(default_factory=list)
    rounds: int = 0

    @property
    def missing(self) -> int:
        """Queries to play next; 0 when the step is full, or has been refilled often enough."""
        return self.wanted - len(self.kept) if self.rounds <= self.refills else 0

    def take(self, groups: Sequence[Group]) -> None:
        """What the last round played."""
        self.rounds += 1
        self.played += groups
        self.kept += [g for g in groups if not g.flat]

    def log(self) -> dict[str, float]:
        """For a tracker: groups that were played and kept, and how all episodes ended, as shares."""
        ends = Counter(r.outcome for g in self.played for r in g.rollouts)
        n = max(sum(ends.values()), 1)
        return {
            "groups/played": len(self.played),
            "groups/kept": len(self.kept),
            "groups/flat": sum(g.flat for g in self.played),
            "groups/spread": sum(g.spread for g in self.played) / max(len(self.played), 1),
            **{f"outcome/{name}": ends[name] / n for name in OUTCOMES},
        }
