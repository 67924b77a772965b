"""The best of several draws of a report (`agents.best_of`).

1. A turn that turns out to be a report is drawn again at the same place of the conversation, with other seeds.
2. Each draw gets its verifiable rubric score against what the tools have shown so far.
3. The highest score wins, the first draw among equals. The others stay with it, for whoever wants pairs of better and worse.

Reports alone are drawn several times: what a plan is worth shows only when it is followed, and a tool call does something.
"""

from __future__ import annotations

from prstack.scoring.evidence import Evidence
from prstack.scoring.report import parse_report
from prstack.scoring.rubric import score
from prstack.types import Alternative, RubricItem, Step


def best(draws: list[Step], steps: list[Step], rubric: list[RubricItem]) -> tuple[Step, float]:
    """The best report and its score in [0, 1], on the evidence of the `steps` before it. The other draws become its alternatives, in
    their order."""
    evidence = Evidence.from_steps(steps)
    points = [round(score(parse_report(step.content), rubric, evidence).score, 4) for step in draws]
    chosen = points.index(max(points))
    step = draws[chosen]
    step.alternatives = [Alternative(s.content, p, s.reasoning) for n, (s, p) in enumerate(zip(draws, points, strict=True)) if n != chosen]
    return step, points[chosen]
