"""What each training gained over the model that it began with: differences over the same held-out queries, with intervals.

A training is called `<algorithm>-<seed>`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.students import recipe
from prstack.evaluation.bootstrap import Interval, by_query, crossed, paired_by_query

COMPARED = ("reward", "score", "e_prod", "e_prod_merit", "precision_at_k", "finished", "grounding", "calls", "tokens")


@dataclass(slots=True)
class Gain:
    """Metric → its difference to the start; None where no query has a value on both sides."""

    name: str
    trainings: int
    differences: dict[str, Interval | None]
    pooled: bool = False
    """Over all trainings of an algorithm."""


def gains(rows: dict[str, list[dict]], start: str) -> list[Gain]:
    """Of each training over `start`, then of each algorithm over all its trainings, the start's one training on the other side."""
    values = {name: {m: by_query(((row["task"], row) for row in of), m) for m in COMPARED} for name, of in rows.items()}
    trainings: dict[str, list[str]] = {}
    for name in rows:
        if algorithm := recipe(name):
            trainings.setdefault(algorithm, []).append(name)
    single = [
        Gain(name, 1, {m: _paired(values[name][m], values[start][m]) for m in COMPARED}) for names in trainings.values() for name in names
    ]
    return single + [
        Gain(algorithm, len(names), {m: _crossed([values[n][m] for n in names], values[start][m]) for m in COMPARED}, True)
        for algorithm, names in trainings.items()
    ]


def curve(file: Path, of: str = "reward") -> list[float]:
    """What each update played, in the mean: its reward, or another number of its line in `rl/steps.jsonl`; of the updates that have it."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [round(line[of], 4) for line in lines if "reward" in line and of in line]


def _paired(a: dict[str, float], b: dict[str, float]) -> Interval | None:
    return paired_by_query(a, b) if a.keys() & b.keys() else None


def _crossed(a: list[dict[str, float]], b: dict[str, float]) -> Interval | None:
    return crossed(a, [b]) if set.intersection(*map(set, [*a, b])) else None
