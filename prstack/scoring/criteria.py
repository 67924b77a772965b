"""RACE criteria of a query: dimensions with weights, and in each of them criteria with weights (arXiv 2506.11763).

They come from three places:
1. `load_criteria`: a file as DeepResearch Bench publishes it, one JSON object a line: `id`, `prompt`, `dimension_weight` (dimension →
   weight), `criterions` (dimension → list of `criterion`, `explanation`, `weight`).
2. `criteria_of_rubric`: the typed rubric of one of our own queries, the same each time. A criterion then carries its item, so that
   a judge may check it.
3. `read_criteria`: the reply of a judge that was asked for criteria (`prstack.scoring.judge.make_criteria`).

Weights sum to 1 in each dimension and over the dimensions. `absorbed` makes them do so after rounding: readability takes what is
left over, as in the published ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.types import RubricItem

DIMENSIONS = ("comprehensiveness", "insight", "instruction_following", "readability")
ABSORBS = "readability"
PLACES = 2
"""Decimal places of the published dimension weights."""
TOLERANCE = 1e-6
READABLE = 0.1
"""Weight of readability where a rubric asks nothing of it, and its one criterion there."""
LAYOUT = ("The report is easy to read", "Each product stands in a paragraph or numbered line of its own, with its price and reasons; a reader finds them at a glance.")
_EXPLAINED = {
    "entity_match": "Every recommended product is of this kind.",
    "budget_match": "Every recommended product keeps the budget, by the price that the sources show.",
    "attribute_match": "Every recommended product has this property, by what its page shows.",
    "numeric_range": "Every recommended product keeps this limit, by what its page shows, units converted.",
    "negative_attribute": "No recommended product has what the user excludes.",
    "review_opinion": "The report says so, and reviews of a recommended product do.",
    "comparison": "At least two products are compared by the same property.",
    "grounding": "What the report claims stands in the sources; nothing contradicts them.",
}


@dataclass(slots=True, frozen=True)
class Criterion:
    """`item`: the rubric item behind it, where it can be checked without a judge."""

    criterion: str
    explanation: str
    weight: float
    item: RubricItem | None = None


@dataclass(slots=True, frozen=True)
class Criteria:
    """What reports on one query are judged by. `weights`: dimension → weight; a dimension of weight 0 has no criteria."""

    id: str
    query: str
    weights: dict[str, float]
    criteria: dict[str, list[Criterion]]

    def flat(self) -> list[tuple[str, Criterion]]:
        """(dimension, criterion) in the order in which a judge sees them."""
        return [(d, c) for d in DIMENSIONS for c in self.criteria.get(d, ())]


def load_criteria(path: str | Path) -> list[Criteria]:
    """All criteria of a JSONL file. Raises UserError that names file, line and field."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: criteria cannot be read ({e})") from e
    out = []
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as e:
            raise UserError(f"{path}, line {n}: no JSON ({e})") from e
        try:
            out.append(criteria_from(row))
        except ValueError as e:
            raise UserError(f"{path}, line {n}: {e}") from e
    if not out:
        raise UserError(f"{path}: holds no criteria")
    return out


def criteria_from(row: Any, query: str = "") -> Criteria:
    """Criteria from the published form. Raises ValueError that begins with the field that is wrong."""
    row = _of(row, dict, "the record")
    weights = {d: _weight(w, f"dimension_weight.{d}") for d, w in _of(row.get("dimension_weight"), dict, "dimension_weight").items()}
    given = _of(row.get("criterions"), dict, "criterions")
    for name, found in (("dimension_weight", weights), ("criterions", given)):
        if set(found) != set(DIMENSIONS):
            raise ValueError(f"{name}: its keys must be {', '.join(DIMENSIONS)}, not {', '.join(map(str, found)) or 'none'}")
    criteria: dict[str, list[Criterion]] = {}
    for d in DIMENSIONS:
        where = f"criterions.{d}"
        criteria[d] = [_criterion(c, f"{where}[{n}]") for n, c in enumerate(_of(given[d], list, where))]
        if bool(criteria[d]) != (weights[d] > 0):
            raise ValueError(f"{where}: holds {len(criteria[d])} criteria, but the dimension weighs {weights[d]:g}")
        if criteria[d]:
            _sum_to_1([c.weight for c in criteria[d]], f"{where}: weight")
    _sum_to_1(list(weights.values()), "dimension_weight")
    prompt = _of(row.get("prompt", query), str, "prompt")
    return Criteria(str(row.get("id", "")), prompt, weights, criteria)


def absorbed(weights: Mapping[str, float], places: int = PLACES) -> dict[str, float]:
    """Dimension weights scaled to sum to 1, rounded, with readability taking what is left over.

    Where rounding would leave readability below 0, the heaviest other dimension gives it up. Raises ValueError for weights that are
    negative, not finite or all 0, and for other dimensions than the four.
    """
    if set(weights) != set(DIMENSIONS) or not all(math.isfinite(w) and w >= 0 for w in weights.values()):
        raise ValueError(f"weights must be finite, not negative, and of {', '.join(DIMENSIONS)}: {dict(weights)}")
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("all weights are 0")
    out = {d: round(weights[d] / total, places) for d in DIMENSIONS if d != ABSORBS}
    rest = round(1 - sum(out.values()), places)
    if rest < 0:
        heaviest = max(out, key=lambda d: out[d])
        out[heaviest], rest = round(out[heaviest] + rest, places), 0.0
    return out | {ABSORBS: rest}


def mean_weights(trials: Sequence[Mapping[str, float]], places: int = PLACES) -> dict[str, float]:
    """The dimension weights of several generations as one: their mean, `absorbed`. Raises ValueError as it does, and for none."""
    if not trials:
        raise ValueError("there are no weights")
    return absorbed({d: sum(t[d] for t in trials) / len(trials) for d in DIMENSIONS}, places)


def criteria_of_rubric(query: str, rubric: Sequence[RubricItem], id: str = "") -> Criteria:
    """The criteria of a typed rubric: a dimension weighs what its items weigh together. The same rubric gives the same criteria.

    Readability gets a criterion of its own and `READABLE` of the weight where the rubric asks nothing of it. Raises ValueError for a
    rubric without an item of positive weight.
    """
    by: dict[str, list[RubricItem]] = {d: [] for d in DIMENSIONS}
    for item in rubric:
        if item.weight > 0:
            by["insight" if item.dimension == "depth" else item.dimension].append(item)
    sums = {d: sum(i.weight for i in items) for d, items in by.items()}
    if not sum(sums.values()):
        raise ValueError("the rubric has no item of positive weight")
    criteria = {d: [Criterion(i.text, _EXPLAINED.get(i.type, ""), i.weight / sums[d], i) for i in items] for d, items in by.items()}
    if not by[ABSORBS]:
        total = sum(sums.values())
        sums = {d: w / total * (1 - READABLE) for d, w in sums.items()} | {ABSORBS: READABLE}
        criteria[ABSORBS] = [Criterion(*LAYOUT, 1.0)]
    weights = absorbed(sums, 4)
    return Criteria(id, query, weights, {d: c if weights[d] else [] for d, c in criteria.items()})


def _criterion(value: Any, where: str) -> Criterion:
    value = _of(value, dict, where)
    text = _of(value.get("criterion"), str, f"{where}.criterion")
    explanation = _of(value.get("explanation"), str, f"{where}.explanation")
    if not text.strip():
        raise ValueError(f"{where}.criterion: is empty")
    return Criterion(text, explanation, _weight(value.get("weight"), f"{where}.weight"))


def _of(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{where}: {'is missing' if value is None else f'must be {kind.__name__}, not {type(value).__name__}'}")
    return value


def _weight(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{where}: must be a number from 0 to 1, not {value!r}")
    return float(value)


def _sum_to_1(weights: Sequence[float], where: str) -> None:
    total = math.fsum(weights)
    if abs(total - 1) > TOLERANCE:
        raise ValueError(f"{where}: the weights sum to {total:.6g}, not 1")
