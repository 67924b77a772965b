"""Percentile bootstrap intervals over queries.

A query is the unit that is drawn, since two subjects answer the same queries and several seeds of one query are not
independent: average over the seeds first (`by_query`), then compare (`paired_by_query`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CHUNK = 1_000_000
"""Values that are drawn at a time: 8 MB of indices."""


@dataclass(slots=True, frozen=True)
class Interval:
    """A mean difference (for `mean_interval`: the mean itself) with its interval, over `n` queries."""

    mean_difference: float
    low: float
    high: float
    n: int


def paired(a: Sequence[float], b: Sequence[float], draws: int = 10_000, seed: int = 0, level: float = 0.95) -> Interval:
    """The mean of a − b, where a[i] and b[i] belong to the same query.

    Raises ValueError for different lengths, no values, values that are not finite, or a level outside (0, 1).
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired")
    return mean_interval(np.asarray(a, float) - np.asarray(b, float), draws, seed, level)


def mean_interval(values: Sequence[float], draws: int = 10_000, seed: int = 0, level: float = 0.95) -> Interval:
    """The mean of some values. Raises ValueError as `paired` does."""
    x = np.asarray(values, float)
    if x.ndim != 1 or not x.size:
        raise ValueError("there are no values to draw from")
    if not np.isfinite(x).all():
        raise ValueError("a value is missing or not finite")
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws must be positive and level between 0 and 1, not {draws} and {level}")
    rng, means = np.random.default_rng(seed), np.empty(draws)
    rows = max(1, CHUNK // x.size)
    for start in range(0, draws, rows):
        part = means[start : start + rows]
        part[:] = x[rng.integers(0, x.size, (part.size, x.size))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(x.mean()), float(low), float(high), int(x.size))


def by_query(rows: Iterable[tuple[str, Any]], key: str) -> dict[str, float]:
    """Query id → mean of a metric over the seeds that have it; queries where none has it are left out.

    `rows`: (query id, EpisodeMetrics or mapping) of each episode. Raises AttributeError or KeyError for an unknown metric.
    """
    values: dict[str, list[float]] = {}
    for query, metrics in rows:
        value = metrics[key] if isinstance(metrics, Mapping) else getattr(metrics, key)
        if value is not None:
            values.setdefault(query, []).append(float(value))
    return {query: sum(v) / len(v) for query, v in values.items()}


def paired_by_query(a: Mapping[str, float], b: Mapping[str, float], draws: int = 10_000, seed: int = 0, level: float = 0.95) -> Interval:
    """`paired` over the queries for which both have a value; `n` says how many. Raises ValueError when there are none."""
    both = sorted(a.keys() & b.keys())
    return paired([a[q] for q in both], [b[q] for q in both], draws, seed, level)


def crossed(a: Sequence[Mapping[str, float]], b: Sequence[Mapping[str, float]], draws: int = 10_000, seed: int = 0, level: float = 0.95) -> Interval:
    """The mean difference of two recipes that were each trained several times: `a` and `b` hold query → value for each training.

    A draw takes queries, the same for both, and trainings, of each recipe by itself, both with replacement; so the interval holds what another
    set of queries and what another training would change. With few trainings it is too narrow: of three, a draw sees 2.1 different ones
    on average. Compared are the queries that all trainings have. Raises ValueError as `paired_by_query` does.
    """
    common = sorted(set.intersection(*(set(values) for values in [*a, *b])) if a and b else ())
    x, y = (np.asarray([[values[q] for q in common] for values in trained], float) for trained in (a, b))
    mean_interval((x.mean(axis=0) - y.mean(axis=0)) if common else [], 1, seed, level)  # refuses what cannot be compared
    rng, means = np.random.default_rng(seed), np.empty(draws)
    rows = max(1, CHUNK // (len(common) * max(len(x), len(y))))
    for start in range(0, draws, rows):
        part = means[start : start + rows]
        queries = rng.integers(0, len(common), (part.size, len(common)))
        drawn = (v[rng.integers(0, len(v), (part.size, len(v)))].mean(axis=1) for v in (x, y))
        part[:] = np.take_along_axis(next(drawn) - next(drawn), queries, axis=1).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(x.mean() - y.mean()), float(low), float(high), len(common))
