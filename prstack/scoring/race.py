"""RACE: a report beside a reference, criterion by criterion (DeepResearch Bench, arXiv 2506.11763).

1. A judge gives target and reference 0 to 10 on every criterion (`Marks`).
2. A dimension's score of a report is the mean of its marks by criterion weight; its total is the mean of those by dimension weight.
3. The result is target / (target + reference), in each dimension and overall: 0.5 where both are as good. Where both have 0 it is 0,
   as in the published evaluation.

One pair is judged several times: `repeats` times, in both orders, by several judges (`prstack.scoring.judge`). `combine` makes one result
of it: the mean over repeats, then orders, then judges, so that a reply that could not be read shifts no weight from one order or judge
to another; and what it rests on:

- `spread`: standard deviation between repeats of the same judge and order, pooled; `judge_spread`: between the judges' means;
- `position_bias`: the target's score when it stands first less its score when it stands second. 0: the order makes no difference;
- `unjudged`: replies that could not be read even when asked again. They are never a score; a pair without any score has none (None);
- `self_reference`: "same text" or "same model" where target and reference are that. 0.5 then says nothing of the target.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prstack.scoring.criteria import DIMENSIONS, Criteria

LOWEST, HIGHEST = 0.0, 10.0

Marks = Mapping[str, Sequence[float]]
"""Dimension → a mark of 0 to 10 for each of its criteria, in their order."""


@dataclass(slots=True, frozen=True)
class Weighted:
    """One report's scores from 0 to 10: by dimension, and over all."""

    total: float
    dimensions: dict[str, float]


@dataclass(slots=True, frozen=True)
class RaceScore:
    """Target / (target + reference), overall and by dimension, with what it was made of."""

    overall: float
    dimensions: dict[str, float]
    target: Weighted
    reference: Weighted


@dataclass(slots=True, frozen=True)
class Judged:
    """One judgement of a pair. `score` is None where it could not be read; `order`: what stood first."""

    judge: str
    order: str
    repeat: int
    score: RaceScore | None


@dataclass(slots=True)
class RaceResult:
    """One pair of reports over all its judgements (module docstring). Numbers are None where nothing gives them."""

    overall: float | None
    dimensions: dict[str, float]
    judges: dict[str, float]
    """Judge → its mean; judges without a readable reply are left out."""
    judged: int
    unjudged: int
    spread: float | None = None
    judge_spread: float | None = None
    position_bias: float | None = None
    self_reference: str = ""
    detail: list[dict[str, Any]] = field(default_factory=list)
    """Every judgement: judge, order, repeat, overall."""


def weigh(criteria: Criteria, marks: Marks) -> Weighted:
    """A report's scores from its marks. Raises ValueError where marks are missing, too many, or not from 0 to 10."""
    dimensions = {}
    for d in DIMENSIONS:
        given, found = criteria.criteria.get(d, []), list(marks.get(d, ()))
        if len(found) != len(given):
            raise ValueError(f"{d}: {len(found)} marks for {len(given)} criteria")
        if bad := [m for m in found if isinstance(m, bool) or not (math.isfinite(m) and LOWEST <= m <= HIGHEST)]:
            raise ValueError(f"{d}: {bad[0]!r} is no mark from 0 to 10")
        if given:
            dimensions[d] = math.fsum(c.weight * m for c, m in zip(given, found, strict=True)) / math.fsum(c.weight for c in given)
    whole = math.fsum(criteria.weights[d] for d in dimensions)
    return Weighted(math.fsum(criteria.weights[d] * s for d, s in dimensions.items()) / whole, dimensions)


def race(criteria: Criteria, target: Marks, reference: Marks) -> RaceScore:
    """The score of one judgement. Raises ValueError as `weigh` does."""
    a, b = weigh(criteria, target), weigh(criteria, reference)
    return RaceScore(share(a.total, b.total), {d: share(a.dimensions[d], b.dimensions[d]) for d in a.dimensions}, a, b)


def combine(judged: Sequence[Judged], self_reference: str = "") -> RaceResult:
    """One result of all judgements of a pair."""
    read = [j for j in judged if j.score is not None]
    judges = {name: _balanced([j for j in read if j.judge == name], lambda s: s.overall) for name in dict.fromkeys(j.judge for j in read)}
    names = [d for d in DIMENSIONS if any(d in j.score.dimensions for j in read)]
    by_judge = {d: [_balanced([j for j in read if j.judge == name], lambda s, d=d: s.dimensions[d]) for name in judges] for d in names}
    return RaceResult(
        overall=statistics.fmean(judges.values()) if judges else None,
        dimensions={d: statistics.fmean(values) for d, values in by_judge.items()},
        judges=judges,
        judged=len(read),
        unjudged=len(judged) - len(read),
        spread=_spread(read),
        judge_spread=statistics.stdev(judges.values()) if len(judges) > 1 else None,
        position_bias=_position_bias(read),
        self_reference=self_reference,
        detail=[{"judge": j.judge, "order": j.order, "repeat": j.repeat, "overall": j.score.overall if j.score else None} for j in judged],
    )


def self_reference(target: str, reference: str, target_model: str = "", reference_model: str = "") -> str:
    """Says "same text" or "same model" where a report is held against itself or its own maker, "" otherwise."""
    if " ".join(target.split()) == " ".join(reference.split()):
        return "same text"
    return "same model" if target_model and target_model == reference_model else ""


def summarise(results: Iterable[RaceResult]) -> dict[str, Any]:
    """The results of many queries as one row: means over those that have a score, counts over all."""
    results = list(results)
    scored = [r for r in results if r.overall is not None]
    row: dict[str, Any] = {"queries": len(scored), "overall": _mean(r.overall for r in scored)}
    row |= {d: _mean(r.dimensions.get(d) for r in scored) for d in DIMENSIONS}
    row |= {name: _mean(getattr(r, name) for r in scored) for name in ("spread", "judge_spread", "position_bias")}
    counts = {"judged": sum(r.judged for r in results), "unjudged": sum(r.unjudged for r in results)}
    return row | counts | {"self_reference": sum(bool(r.self_reference) for r in results)}


def share(target: float, reference: float) -> float:
    """Target / (target + reference); 0 where both are 0."""
    return target / (target + reference) if target + reference > 0 else 0.0


def _balanced(judged: Sequence[Judged], value: Any) -> float:
    """The mean over orders of the mean over repeats."""
    orders = dict.fromkeys(j.order for j in judged)
    return statistics.fmean(statistics.fmean(value(j.score) for j in judged if j.order == order) for order in orders)


def _groups(read: Sequence[Judged]) -> dict[tuple[str, str], list[float]]:
    out: dict[tuple[str, str], list[float]] = {}
    for j in read:
        out.setdefault((j.judge, j.order), []).append(j.score.overall)
    return out


def _spread(read: Sequence[Judged]) -> float | None:
    groups = [g for g in _groups(read).values() if len(g) > 1]
    if not groups:
        return None
    squares = sum(statistics.variance(g) * (len(g) - 1) for g in groups)
    return math.sqrt(squares / sum(len(g) - 1 for g in groups))


def _position_bias(read: Sequence[Judged]) -> float | None:
    means = {key: statistics.fmean(g) for key, g in _groups(read).items()}
    pairs = [means[judge, "target"] - means[judge, "reference"] for judge, order in means if order == "target" and (judge, "reference") in means]
    return statistics.fmean(pairs) if pairs else None


def _mean(values: Iterable[float | None]) -> float | None:
    found = [v for v in values if v is not None]
    return statistics.fmean(found) if found else None
