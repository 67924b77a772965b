"""Counts and shares: recall, precision and false alarms with Wilson intervals.

- Recall of a kind: mutants that were sent back, of all of them. `named`: those of them with a finding of a kind that names the fault.
- False alarms: clean (or harmless) moments that were sent back.
- Precision of a kind: what share of the moments that are sent back are wrong, where half of all moments are mutants of this kind and half are
  clean ones of the same state: recall / (recall + false alarms).
- Balanced accuracy of a state: over all its mutants, clean and harmless moments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.supervision.harness import Judged
from benchmarks.supervision.kinds import Kind

Z = 1.959964
"""Of an interval that holds the share in 95 of 100 cases."""


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The Wilson interval of a share; (0, 1) where nothing was counted."""
    if not n:
        return 0.0, 1.0
    p, z = hits / n, Z * Z / n
    middle, half = p + z / 2, Z * math.sqrt(p * (1 - p) / n + z / (4 * n))
    return max(0.0, (middle - half) / (1 + z)), min(1.0, (middle + half) / (1 + z))


@dataclass(slots=True)
class Share:
    """`hits` of `n`."""

    hits: int = 0
    n: int = 0

    @property
    def value(self) -> float:
        return self.hits / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.hits, self.n)

    def __add__(self, other: Share) -> Share:
        return Share(self.hits + other.hits, self.n + other.n)

    def text(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} [{low:.2f}, {high:.2f}]" if self.n else "–"

    def row(self) -> dict:
        return {"hits": self.hits, "n": self.n, "share": round(self.value, 4) if self.n else None, "interval": [round(v, 4) for v in self.interval]}


@dataclass(slots=True)
class Result:
    """A kind's mutants, judged. `sent_back`: recall, or false alarms of a harmless kind."""

    kind: Kind
    sent_back: Share
    named: Share

    @property
    def group(self) -> str:
        if self.kind.harmless:
            return "harmless, held out" if self.kind.held_out else "harmless"
        return "planned" if self.kind.planned else "held out" if self.kind.held_out else "other"

    def precision(self, false_alarms: Share) -> float:
        total = self.sent_back.value + false_alarms.value
        return self.sent_back.value / total if total else math.nan


def sent_back(judged: Iterable[Judged]) -> Share:
    answered = [j for j in judged if j.verdict is not None]
    return Share(sum(j.sent_back for j in answered), len(answered))


def result(kind: Kind, judged: Sequence[Judged]) -> Result:
    caught = [j for j in judged if j.sent_back]
    return Result(kind, sent_back(judged), Share(sum(j.names(kind.findings) for j in caught), len(caught)))


def balanced(recall: Share, false_alarms: Share) -> tuple[float, float, float]:
    """Balanced accuracy, the mean of recall and of the share of right moments that pass, with its 95 % interval (Newcombe's, from
    those of the two shares). 0.5 is chance: what an engine gets that does not look at the moment. NaN where either is unknown."""
    value = (recall.value + 1 - false_alarms.value) / 2
    (low, high), (low_alarm, high_alarm) = recall.interval, false_alarms.interval
    below = math.hypot(recall.value - low, high_alarm - false_alarms.value) / 2
    above = math.hypot(high - recall.value, false_alarms.value - low_alarm) / 2
    return value, value - below, value + above


@dataclass(slots=True)
class State:
    """All verdicts on moments of a state. `alarms`: right moments (clean and harmless) that were sent back; `unreadable`: replies without a
    verdict, which count as sent back."""

    recall: Share
    alarms: Share
    unreadable: int

    def row(self) -> dict:
        accuracy = [round(v, 4) if math.isfinite(v) else None for v in balanced(self.recall, self.alarms)]
        return {"recall": self.recall.row(), "false_alarms": self.alarms.row(), "balanced_accuracy": accuracy, "unreadable": self.unreadable}


def of_state(judged: Iterable[Judged], kinds: Iterable[Kind], state: str) -> State:
    faults = {k.name for k in kinds if not k.harmless}
    here = [j for j in judged if j.moment.state == state]
    wrong, right = ([j for j in here if (j.moment.kind in faults) is is_wrong] for is_wrong in (True, False))
    return State(sent_back(wrong), sent_back(right), sum(j.unreadable for j in here))


def total(shares: Iterable[Share]) -> Share:
    return sum(shares, Share())


def mean(results: Sequence[Result]) -> float:
    """The mean of the kinds' shares, each kind counting the same."""
    known = [r.sent_back.value for r in results if r.sent_back.n]
    return sum(known) / len(known) if known else math.nan
