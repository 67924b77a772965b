"""What an agent does after it was sent back: is the next turn approved, is it another text at all, and is it a better report?

A turn is what the agent wrote: its text and its call, without the reasoning. The next turn of a report may be a tool call, by which it searches on;
then the next report counts for `gain`, and the turn as neither approved nor repeated. Of plans it can be said whether what was said is what was changed:
`plans_after` compares the query's needs that the next plan states with those that the plan before it left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from benchmarks.supervision_gain.measure import STATES, mean
from prstack.evaluation.bootstrap import Interval
from prstack.types import State, Step, Trajectory
from prstack.world.language import hear
from prstack.world.names import usual


@dataclass(slots=True)
class Reaction:
    """Over all turns of a state that were sent back and followed by another turn. `n`: their number; `elsewhere`: those followed by another state's
    turn; shares and the change of a report's score are means over the rest."""

    n: int = 0
    elsewhere: int = 0
    approved: list[float] = field(default_factory=list)
    repeated: list[float] = field(default_factory=list)
    gain: list[float] = field(default_factory=list)

    def means(self) -> dict[str, Interval | None]:
        return {"approved": mean(self.approved), "repeated": mean(self.repeated), "gain": mean(self.gain)}


def written(step: Step) -> str:
    call = step.tool_call
    return step.content if call is None else f"{step.content}\n{call.name} {call.arguments}"


def reactions(trajectories: Sequence[Trajectory]) -> dict[State, Reaction]:
    out = {state: Reaction() for state in STATES}
    for t in trajectories:
        for state, before, after, verdict in _sent_back(t.steps):
            found = out[state]
            found.n += 1
            if after.state != state:
                found.elsewhere += 1
                continue
            found.repeated.append(float(written(before) == written(after)))
            if verdict is not None:
                found.approved.append(float(verdict))
        out["report"].gain += [b - a for a, b in zip(t.scores, t.scores[1:])]
    return out


def plans_after(trajectories: Sequence[Trajectory]) -> dict[str, Interval | None]:
    """Of the needs that a plan left out, the share that the next plan states (`taken_up`); of those that it stated, the share that the next one
    leaves out (`lost`). Means over corrected plans; the needs are those that the phrase book hears in the query."""
    taken_up, lost = [], []
    for t in trajectories:
        needs = _heard(t.query)
        for before, after in pairwise(_heard(s.content) & needs for s in t.steps if s.role == "research" and s.state == "plan"):
            if missing := needs - before:
                taken_up.append(len(missing & after) / len(missing))
            if before:
                lost.append(len(before - after) / len(before))
    return {"taken_up": mean(taken_up), "lost": mean(lost)}


def _heard(text: str) -> set[tuple[str, str, str]]:
    lines = "\n".join(line.lstrip("- ") for line in text.splitlines())  # of a list
    return {(usual(c.attribute), c.op, c.value) for c in hear(lines)}


def _sent_back(steps: Sequence[Step]) -> Iterable[tuple[State, Step, Step, bool | None]]:
    """State, turn, the turn after its correction, and whether that one was approved (None where it was not checked any more)."""
    for n, step in enumerate(steps):
        if step.verdict and step.verdict.decision == "revise" and n + 1 < len(steps):
            after = steps[n + 2].verdict if n + 2 < len(steps) else None
            yield step.state, steps[n - 1], steps[n + 1], None if after is None else after.decision == "approve"
