"""A trajectory's steps as turns: what the research agent did, with the verdict on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from prstack.types import Step, Trajectory, Verdict


@dataclass(slots=True)
class Turn:
    """One research step and the supervisor's verdict on it (None where the episode was cut off before it)."""

    step: Step
    verdict: Verdict | None = None

    @property
    def corrected(self) -> bool:
        return self.verdict is not None and self.verdict.decision == "revise"


def turns(trajectory: Trajectory) -> list[Turn]:
    """Research steps in order, each with the verdict of the supervisor step right after it."""
    out: list[Turn] = []
    for step in trajectory.steps:
        if step.role == "research":
            out.append(Turn(step))
        elif step.role == "supervisor" and out and out[-1].verdict is None:
            out[-1].verdict = step.verdict
    return out


def tool_steps(trajectory: Trajectory) -> list[Step]:
    """The research steps that called a tool and got a result."""
    return [s for s in trajectory.steps if s.role == "research" and s.tool_call and s.tool_result]


def last_of(trajectory: Trajectory, state: str) -> Step | None:
    """The last research step in a state: the plan that was followed, the report that stands."""
    return next((s for s in reversed(trajectory.steps) if s.role == "research" and s.state == state), None)


def groups(acts: list[Turn]) -> list[list[int]]:
    """The positions of the steps that stand in one assistant turn, for each of them."""
    found: list[list[int]] = []
    for i, act in enumerate(acts):
        if not found or not act.step.joined:
            found.append([])
        found[-1].append(i)
    return found


def correction_keys(done: list[Turn]) -> dict[int, str]:
    """For each turn, by its `id()`: its state and its number among the turns of that state, such as `plan-0`. It names what a correction is
    about, and stays the same when the reports of an episode are exchanged (`prstack.distill.preferences`)."""
    counts: Counter[str] = Counter()
    keys: dict[int, str] = {}
    for turn in done:
        keys[id(turn)] = f"{turn.step.state}-{counts[turn.step.state]}"
        counts[turn.step.state] += 1
    return keys
