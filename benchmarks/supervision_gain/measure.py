"""Means of episodes with bootstrap intervals (95 %, drawn over episodes): approval, rounds, scores and products of first and last reports.

1. An episode without a report scores 0 and has no products, first and last alike.
2. Rounds of a state are the turns that it took for one that was approved, or with which the rounds were spent: turns over those of round 0.
3. Scores by report round are those of `prstack.report.rounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from prstack.evaluation.bootstrap import Interval, mean_interval, paired_by_query
from prstack.scoring.evidence import Evidence
from prstack.scoring.products import e_prod, pitched_on_merit
from prstack.scoring.report import parse_report
from prstack.types import State, Trajectory

STATES: tuple[State, ...] = ("plan", "toolcall", "report")
Means = dict[str, Interval | None]
"""Metric → its mean over episodes; None where no episode has it."""


@dataclass(slots=True)
class Report:
    """A round's report: its verifiable score, E.Prod, and those products that are known to satisfy every constraint of the rubric."""

    score: float = 0.0
    e_prod: int = 0
    on_merit: int = 0


def reports(t: Trajectory) -> list[Report]:
    """The reports of an episode, each measured by what the tools had shown until then."""
    at = [n for n, s in enumerate(t.steps) if s.role == "research" and s.state == "report"]
    out = []
    for n, score in zip(at, t.scores, strict=True):
        report, evidence = parse_report(t.steps[n].content), Evidence.from_steps(t.steps[:n])
        out.append(Report(score, len(e_prod(report, evidence)), len(pitched_on_merit(report, evidence, t.rubric))))
    return out


def approval(t: Trajectory, state: State) -> float | None:
    """The share of a state's checks that approve; None without any."""
    verdicts = [s.verdict.decision == "approve" for s in t.steps if s.verdict and s.state == state]
    return sum(verdicts) / len(verdicts) if verdicts else None


def at_once(t: Trajectory, state: State) -> float | None:
    """The share of a state's turns that are no answer to a correction and are approved; None where none was checked."""
    verdicts = [s.verdict.decision == "approve" for s in t.steps if s.verdict and s.state == state and s.round == 0]
    return sum(verdicts) / len(verdicts) if verdicts else None


def rounds(t: Trajectory, state: State) -> float | None:
    """Turns of a state to each that was approved or let go; None without any."""
    turns = [s.round for s in t.steps if s.role == "research" and s.state == state]
    return len(turns) / turns.count(0) if turns else None


def first_and_last(t: Trajectory) -> tuple[Report, Report]:
    found = reports(t) or [Report()]
    return found[0], found[-1]


METRICS: dict[str, Callable[[Trajectory], float | None]] = {
    "approved": lambda t: float(t.termination == "approved"),
    "with_report": lambda t: float(bool(t.reports)),
    **{f"approved_{s}": lambda t, s=s: approval(t, s) for s in STATES},
    **{f"at_once_{s}": lambda t, s=s: at_once(t, s) for s in STATES},
    **{f"rounds_{s}": lambda t, s=s: rounds(t, s) for s in STATES},
    "tool_calls": lambda t: float(sum(s.tool_call is not None for s in t.steps)),
    "score_first": lambda t: first_and_last(t)[0].score,
    "score_last": lambda t: first_and_last(t)[1].score,
    "e_prod_first": lambda t: float(first_and_last(t)[0].e_prod),
    "e_prod_last": lambda t: float(first_and_last(t)[1].e_prod),
    "on_merit_first": lambda t: float(first_and_last(t)[0].on_merit),
    "on_merit_last": lambda t: float(first_and_last(t)[1].on_merit),
}


def means(trajectories: Sequence[Trajectory]) -> Means:
    """Every metric's mean."""
    return {name: mean([of(t) for t in trajectories]) for name, of in METRICS.items()}


def mean(values: Sequence[float | None]) -> Interval | None:
    known = [v for v in values if v is not None]
    return mean_interval(known) if known else None


def differences(a: Sequence[Trajectory], b: Sequence[Trajectory], metrics: Sequence[str]) -> dict[str, Interval]:
    """a − b, paired by episode. Raises ValueError where they have no episode in common."""
    values = lambda ts, of: {t.id: v for t in ts if (v := of(t)) is not None}  # noqa: E731
    return {m: paired_by_query(values(a, METRICS[m]), values(b, METRICS[m])) for m in metrics}


def plain(found: Mapping[str, Interval | None]) -> dict[str, dict | None]:
    """For JSON."""
    return {name: i and {k: round(v, 4) for k, v in asdict(i).items()} for name, i in found.items()}


def text(i: Interval | None, sign: str = "") -> str:
    return f"{i.mean_difference:{sign}.2f} [{i.low:{sign}.2f}, {i.high:{sign}.2f}]" if i else "–"
