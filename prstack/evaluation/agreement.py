"""How far a judge agrees with the verifiable score: Spearman, Kendall (tau-b), and the share of pairs that both order alike.

All three are read off two matrices of signs, S of the judge and T of the truth, where S[i, j] = sign(x[i] - x[j]). With w[i] the number
of times that report i was drawn:

- Spearman: ranks about their mean are (S w) / 2, ties included, so it is the correlation of S w and T w under the weights w;
- Kendall: sum(w w' S T) / sqrt(sum(w w' S²) sum(w w' T²));
- pairwise accuracy: over the pairs that the truth tells apart, how many the judge orders alike; a tie of the judge is half.

A bootstrap draw is then a vector of counts, and two copies of one report are a tie in both. Reports on one query are not independent:
with `groups` (their queries) whole queries are drawn, and accuracy counts pairs within a query only, as RACE compares no others.

An agreement with a scripted judge (engine `expert`) says that the path works; it says nothing about language models as judges.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prstack.evaluation.bootstrap import Interval

ROWS = 128
"""Draws at a time."""


@dataclass(slots=True, frozen=True)
class Agreement:
    """Each with its interval; None where it is not defined: a side that is all ties, or no pair of one query that truth tells apart.

    `n` of an interval is the number of what was drawn: queries with `groups`, reports without.
    """

    reports: int
    spearman: Interval | None
    kendall: Interval | None
    pairwise_accuracy: Interval | None

    def row(self) -> dict[str, Any]:
        """As JSON: metric → value, low, high, n; None where it is not defined."""
        named = {name: getattr(self, name) for name in ("spearman", "kendall", "pairwise_accuracy")}
        return {"reports": self.reports} | {k: v and {"value": v.mean_difference, "low": v.low, "high": v.high, "n": v.n} for k, v in named.items()}


def agreement(
    judge: Sequence[float], truth: Sequence[float], groups: Sequence[Hashable] | None = None, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Agreement:
    """The agreement over reports: judge[i] and truth[i] are of report i, and groups[i] is its query.

    Raises ValueError for different lengths, fewer than two reports, and values that are not finite.
    """
    x, y = np.asarray(judge, float), np.asarray(truth, float)
    if x.shape != y.shape or x.ndim != 1 or (groups is not None and len(groups) != x.size):
        raise ValueError(f"{len(judge)} scores of a judge, {len(truth)} true ones and {len(groups or truth)} groups do not belong together")
    if x.size < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("an agreement needs two reports or more, and finite scores")
    keys = list(groups) if groups is not None else list(range(x.size))
    index = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    group = np.array([index[key] for key in keys])
    counted = np.ones((x.size, x.size)) if groups is None else group[:, None] == group[None, :]

    s, t = (np.sign(v[:, None] - v[None, :]).astype(np.float32) for v in (x, y))
    apart = (np.abs(t) * counted).astype(np.float32)
    matrices = s, t, s * t, np.abs(s), np.abs(t), apart, s * apart * t
    drawn = np.random.default_rng(seed).multinomial(len(index), np.full(len(index), 1 / len(index)), size=draws)
    found = np.concatenate([_measures(drawn[at : at + ROWS, group].astype(np.float32), *matrices) for at in range(0, draws, ROWS)])
    values = _measures(np.ones((1, x.size), np.float32), *matrices)[0]
    return Agreement(int(x.size), *(_interval(v, column, len(index), level) for v, column in zip(values, found.T, strict=True)))


def _measures(w: np.ndarray, s: np.ndarray, t: np.ndarray, st: np.ndarray, ss: np.ndarray, tt: np.ndarray, apart: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """(draws, 3): Spearman, Kendall and pairwise accuracy under the weights of each draw; nan where not defined."""

    def pairs(matrix: np.ndarray) -> np.ndarray:
        return ((w @ matrix) * w).sum(axis=1, dtype=np.float64)

    a, b = w @ s.T, w @ t.T

    def product(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return (w * u * v).sum(axis=1, dtype=np.float64)

    with np.errstate(divide="ignore", invalid="ignore"):
        spearman = product(a, b) / np.sqrt(product(a, a) * product(b, b))
        kendall = pairs(st) / np.sqrt(pairs(ss) * pairs(tt))
        accuracy = (1 + pairs(alike) / pairs(apart)) / 2
    return np.stack([spearman, kendall, accuracy], axis=1)


def _interval(value: float, drawn: np.ndarray, n: int, level: float) -> Interval | None:
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not drawn.size:
        return None
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high), n)
