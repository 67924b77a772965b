"""The results of an evaluation, made from what its conversations measured: `episodes.jsonl` and `results.json`.

A row of results is `prstack.evaluation.table.aggregate` of a subject's conversations: over all of them, over the greedy and
the sampled ones apart, and by slice (what training saw of the need). Differences between subjects are paired by query.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from prstack.evaluation.bootstrap import by_query, paired_by_query
from prstack.evaluation.metrics import EpisodeMetrics
from prstack.evaluation.power import POINTS, queries_needed, spread_by_query
from prstack.evaluation.table import aggregate
from prstack.evaluation.tasks import Task
from prstack.world.holdout import Slice

COMPARED = ("score", "score_given_valid", "e_prod", "precision_at_k", "valid_minus_invalid", "grounding")
"""Metrics whose differences are given."""


@dataclass(slots=True)
class Measured:
    """A conversation that was had; `n` 0 is greedy, the others are sampled."""

    id: str
    subject: str
    task: Task
    n: int
    metrics: EpisodeMetrics

    def line(self) -> dict[str, Any]:
        """Its line in `episodes.jsonl`."""
        return {"id": self.id, "subject": self.subject, "task": self.task.id, "n": self.n, "slice": self.task.slice} | asdict(self.metrics)


def summarise(measured: Sequence[Measured], subjects: Sequence[str], compare: str) -> dict[str, Any]:
    """`subjects`, `greedy`, `sampled`: subject → row; `slices`: slice → subject → row; `differences` of `compare` to the
    others; `power`: how many queries a difference of the score needs. Subjects in the given order; one without conversations of a
    kind has no row there."""
    slices = {name: _rows([m for m in measured if m.task.slice == name], subjects) for name in get_args(Slice)}
    return {
        "subjects": _rows(measured, subjects),
        "greedy": _rows([m for m in measured if m.n == 0], subjects),
        "sampled": _rows([m for m in measured if m.n > 0], subjects),
        "slices": {name: rows for name, rows in slices.items() if rows},
        "differences": list(_differences(measured, subjects, compare)),
        "power": list(_power(measured, subjects, compare)),
    }


def _rows(measured: Iterable[Measured], subjects: Sequence[str]) -> dict[str, dict[str, float | None]]:
    metrics: dict[str, list[EpisodeMetrics]] = {name: [] for name in subjects}
    for m in measured:
        metrics[m.subject].append(m.metrics)
    return {name: aggregate(found) for name, found in metrics.items() if found}


def _differences(measured: Sequence[Measured], subjects: Sequence[str], compare: str) -> Iterator[dict[str, Any]]:
    """`compare` less every other subject, for each metric that both have."""
    of = {name: [(m.task.id, m.metrics) for m in measured if m.subject == name] for name in subjects}
    for other in (name for name in subjects if compare in of and name != compare):
        for metric in COMPARED:
            ours, theirs = by_query(of[compare], metric), by_query(of[other], metric)
            if ours.keys() & theirs.keys():
                yield {"a": compare, "b": other, "metric": metric} | asdict(paired_by_query(ours, theirs))


def _power(measured: Sequence[Measured], subjects: Sequence[str], compare: str) -> Iterator[dict[str, Any]]:
    """For each pair of which the spread by query is known: the queries that a difference of `POINTS` in the score needs."""
    of = {name: by_query(((m.task.id, m.metrics) for m in measured if m.subject == name), "score") for name in subjects}
    for other in (name for name in subjects if compare in of and name != compare):
        if spread := spread_by_query(of[compare], of[other]):
            yield {"a": compare, "b": other, "metric": "score", "difference": POINTS, "spread": spread, "queries": queries_needed(spread)}
