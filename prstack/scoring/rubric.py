"""Typed rubric items, checked without a judge.

An item is `met`, `violated` or `unaddressed`:

- `entity_match`, `budget_match`, `attribute_match`, `numeric_range`, `negative_attribute`: violated when a pitched
  product breaks the constraint by what its page shows (or its search line, for price and category); met when at least one
  pitched product is known to satisfy it and none breaks it; unaddressed otherwise.
- `review_opinion`: met when the report says of a pitched product what its reviews say and what the item asks for.
- `comparison`: met when two or more pitched products share a claimed property.
- `grounding`: met when at least nine tenths of the claims are supported and none is contradicted.

The score is the weight of the met items over all weights. A product that was neither seen nor visited breaks nothing and
satisfies nothing, so inventing ids gains nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from prstack.scoring.evidence import Evidence
from prstack.scoring.grounding import OPINION, OWN_WORDS, Grounding, ground
from prstack.scoring.report import Report, parse_report
from prstack.types import Constraint, RubricItem
from prstack.world.language import hear_opinions
from prstack.world.match import satisfies

CONSTRAINTS = {"entity_match", "budget_match", "attribute_match", "numeric_range", "negative_attribute"}
"""Item types that are constraints on each product."""


@dataclass(slots=True)
class ItemResult:
    id: str
    status: str
    """`met`, `violated` or `unaddressed`."""
    evidence: str
    """What decided it, in words."""


@dataclass(slots=True)
class RubricScore:
    score: float
    """In [0, 1]."""
    items: list[ItemResult]


def constraint_of(item: RubricItem) -> Constraint:
    """The constraint that a product-level item stands for."""
    attribute = {"budget_match": "price", "entity_match": "category"}.get(item.type, item.attribute)
    return Constraint(attribute, item.op, item.value, item.unit)


def score(report: Report | str, rubric: list[RubricItem], evidence: Evidence) -> RubricScore:
    """Checks every item of a rubric against a report and what its trajectory saw."""
    if isinstance(report, str):
        report = parse_report(report)
    grounding = ground(report, evidence)
    results = [check_item(item, report, evidence, grounding) for item in rubric]
    total = sum(i.weight for i in rubric)
    met = sum(i.weight for i, r in zip(rubric, results, strict=True) if r.status == "met")
    return RubricScore(met / total if total else 0.0, results)


def check_item(item: RubricItem, report: Report, evidence: Evidence, grounding: Grounding) -> ItemResult:
    if item.type in CONSTRAINTS:
        status, why = _check_constraint(constraint_of(item), report, evidence)
    elif item.type == "review_opinion":
        status, why = _check_opinion(item, report, evidence)
    elif item.type == "comparison":
        status, why = _check_comparison(report, evidence)
    else:
        status, why = _check_grounding(grounding)
    return ItemResult(item.id, status, why)


def product_satisfies(product_id: str, constraint: Constraint, evidence: Evidence) -> bool | None:
    """Whether a product keeps a constraint by what was seen of it; None when that is not known."""
    if page := evidence.visited.get(product_id):
        return satisfies(constraint, page)
    hit = evidence.hits.get(product_id)
    return satisfies(constraint, hit) if hit and constraint.attribute in ("price", "category") else None


def _check_constraint(c: Constraint, report: Report, evidence: Evidence) -> tuple[str, str]:
    known = {p.product_id: product_satisfies(p.product_id, c, evidence) for p in report.pitches}
    broken = [i for i, ok in known.items() if ok is False]
    kept = [i for i, ok in known.items() if ok]
    if broken:
        return "violated", f"{', '.join(broken)}: {c.attribute} is not {c.op} {c.value} {c.unit}".rstrip()
    if kept:
        return "met", f"{', '.join(kept)}: {c.attribute} {c.op} {c.value} {c.unit}".rstrip()
    return "unaddressed", f"no pitched product is known to have {c.attribute} {c.op} {c.value} {c.unit}".rstrip()


def _check_opinion(item: RubricItem, report: Report, evidence: Evidence) -> tuple[str, str]:
    wrong = ""
    for pitch in report.pitches:
        page = evidence.visited.get(pitch.product_id)
        said = {(a, good) for c in pitch.claims if c.name in OPINION for a, _, good in hear_opinions(c.value)}
        if page is None or (item.attribute, True) not in said:
            continue
        held = [good for _, _, text in page.reviews for a, _, good in hear_opinions(text) if a == item.attribute]
        if held and sum(held) * 2 > len(held):
            return "met", f"{pitch.product_id}: reviewers call it {item.value}"
        wrong = pitch.product_id
    if wrong:
        return "violated", f"{wrong}: its reviews do not call it {item.value}"
    return "unaddressed", f"the report does not say whether reviewers find it {item.value}"


def _check_comparison(report: Report, evidence: Evidence) -> tuple[str, str]:
    names = Counter(n for p in report.pitches if p.product_id in evidence.seen_ids for n in {c.name for c in p.claims} - OWN_WORDS)
    shared = sorted(n for n, count in names.items() if count >= 2)
    if shared:
        return "met", f"products are compared by {', '.join(shared[:3])}"
    return "unaddressed", "no two products are compared by the same property"


def _check_grounding(g: Grounding) -> tuple[str, str]:
    if g.contradicted:
        bad = next(f for f in g.findings if f.status == "contradicted")
        return "violated", f"{bad.product_id}: {bad.name}: {bad.value} is not what the tools showed"
    if g.findings and g.precision >= 0.9:
        return "met", f"{g.supported} of {len(g.findings)} claims supported"
    return "unaddressed", f"{g.supported} of {len(g.findings)} claims supported"
