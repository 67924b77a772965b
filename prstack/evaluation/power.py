"""How many queries does a difference need? Before an evaluation is paid for, and beside one that found nothing.

For paired differences with mean d and standard deviation s, a two-sided test at `level` finds d with probability `power` when it sees
about n = ((z(level) + z(power)) s / d)² queries (the sample size of a paired test, e.g. Cohen, *Statistical Power Analysis*, ch. 2; for
evaluations of language models: Miller, *Adding Error Bars to Evals*, arXiv 2411.00640, section 5). z(level) is the normal quantile at
(1 + level) / 2, z(power) the one at power: 1.96 and 0.84 by default, so n is about 7.85 (s / d)².

s is what was measured: the spread of the differences by query, each averaged over its seeds. More seeds make s smaller, but never
smaller than the spread between the queries themselves.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from statistics import NormalDist

POINTS = 0.02
"""The difference that a summary speaks of: 2 points of 100."""


def queries_needed(spread: float, difference: float = POINTS, power: float = 0.8, level: float = 0.95) -> int:
    """Queries that a difference needs. Raises ValueError for a spread below 0, a difference of 0, and shares outside (0, 1)."""
    if not (math.isfinite(spread) and spread >= 0 and math.isfinite(difference) and difference):
        raise ValueError(f"the spread must not be negative and the difference not 0: {spread}, {difference}")
    return max(2, math.ceil((_z(power, level) * spread / difference) ** 2))


def detectable(spread: float, queries: int, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest difference that so many queries find: the inverse of `queries_needed`. Raises ValueError as it does."""
    if queries < 1 or not (math.isfinite(spread) and spread >= 0):
        raise ValueError(f"queries must be positive and the spread not negative: {queries}, {spread}")
    return _z(power, level) * spread / math.sqrt(queries)


def spread_by_query(a: Mapping[str, float], b: Mapping[str, float]) -> float | None:
    """The standard deviation of a − b over the queries that both have; None for fewer than two."""
    both = a.keys() & b.keys()
    return _deviation([a[q] - b[q] for q in sorted(both)])


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _z(power: float, level: float) -> float:
    if not (0 < power < 1 and 0 < level < 1):
        raise ValueError(f"power and level lie between 0 and 1, not {power} and {level}")
    return NormalDist().inv_cdf((1 + level) / 2) + NormalDist().inv_cdf(power)
