"""Typed rubric items, checked without a judge.

An item is `met`, `violated` or `unaddressed`:

- `entity_match`, `budget_match`, `attribute_match`, `numeric_range`, `negative_attribute` are decided by what the tools showed of the pitched
  products: met when every one of them is known to satisfy the constraint; violated when one breaks it by its page (or its
  search line, for price and category; or a web page, for an attribute on which its own page is silent); unaddressed otherwise. What
  the report says can only take away: a claim that is not what the page shows, and by which the product would break the constraint,
  violates the item.
- `review_opinion`: met when the report says of a pitched product what its reviews say and what the item asks for.
- `comparison`: met when two or more pitched products share a property that the report states for each with support, or when a sentence
  sets a pitched product against another opened one by a property, with both values supported (`prstack.scoring.comparisons`).
- `grounding`: met when at least nine tenths of the claims are supported, none is contradicted, and no pitched product is invented.

A `negative` item is met by an absence: its constraint is turned round (`=` to `!=`, `<=` to `>=`), and reviewers should not call the
product so.

The score is the weight of the met items over all weights, times `own_share`: a report that is too long, or mostly copied from tool results,
loses. A product that was neither seen nor visited breaks nothing and satisfies nothing: beside it no item is met of which every pitched
product has to be known, so inventing ids gains nothing, not even over a product of which too little was seen.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from prstack.scoring.evidence import Evidence, Span
from prstack.scoring.grounding import OPINION, OWN_WORDS, Finding, Grounding, ground, opinions_held
from prstack.scoring.originality import own_share
from prstack.scoring.report import Report, parse_report
from prstack.tools.results import ProductPage
from prstack.types import Constraint, RubricItem
from prstack.world.language import hear_opinions, opinion_of
from prstack.world.match import check, satisfies
from prstack.world.names import usual
from prstack.world.units import parse_attribute, price

CONSTRAINTS = {"entity_match", "budget_match", "attribute_match", "numeric_range", "negative_attribute"}
"""Item types that are constraints on each product."""
_TURNED = {"=": "!=", "!=": "!=", "<=": ">=", ">=": "<="}


@dataclass(slots=True)
class ItemResult:
    id: str
    status: str
    """`met`, `violated` or `unaddressed`."""
    evidence: str
    """What decided it, in words."""
    where: list[Span] = field(default_factory=list)
    """Where the report and the tool results say so."""


@dataclass(slots=True)
class RubricScore:
    score: float
    """In [0, 1]."""
    items: list[ItemResult]


def constraint_of(item: RubricItem) -> Constraint:
    """The constraint that a product-level item stands for."""
    attribute = {"budget_match": "price", "entity_match": "category"}.get(item.type, item.attribute)
    return Constraint(attribute, _TURNED[item.op] if item.negative else item.op, item.value, item.unit)


def score(report: Report | str, rubric: list[RubricItem], evidence: Evidence, grounding: Grounding | None = None) -> RubricScore:
    """Checks every item of a rubric against a report and what its trajectory saw. `grounding`: that of the report, where it is known."""
    if isinstance(report, str):
        report = parse_report(report)
    grounding = grounding or ground(report, evidence)
    results = [check_item(item, report, evidence, grounding) for item in rubric]
    total = sum(i.weight for i in rubric)
    met = sum(i.weight for i, r in zip(rubric, results, strict=True) if r.status == "met")
    return RubricScore(met / total * own_share(report, evidence) if met else 0.0, results)


def check_item(item: RubricItem, report: Report, evidence: Evidence, grounding: Grounding) -> ItemResult:
    """The result of one item."""
    if item.type in CONSTRAINTS:
        return ItemResult(item.id, *_check_constraint(constraint_of(item), report, evidence, grounding))
    if item.type == "review_opinion":
        return ItemResult(item.id, *_check_opinion(item, report, evidence))
    if item.type == "comparison":
        return ItemResult(item.id, *_check_comparison(grounding))
    return ItemResult(item.id, *_check_grounding(report, evidence, grounding))


Checked = tuple[str, str, list[Span]]


def product_satisfies(product_id: str, constraint: Constraint, evidence: Evidence) -> bool | None:
    """Whether a product keeps a constraint by what was seen of it; None when that is not known."""
    if page := evidence.visited.get(product_id):
        told = evidence.web_only(product_id, constraint.attribute)
        return check(constraint, [told.value]) if told else satisfies(constraint, page)
    hit = evidence.hits.get(product_id)
    return satisfies(constraint, hit) if hit and constraint.attribute in ("price", "category") else None


def _check_constraint(c: Constraint, report: Report, evidence: Evidence, grounding: Grounding) -> Checked:
    wanted = f"{c.attribute} {c.op} {c.value} {c.unit}".rstrip()
    pitched = set(report.product_ids)
    if lie := next((f for f in grounding.findings if f.status == "contradicted" and f.product_id in pitched and _claims_otherwise(f, c)), None):
        return "violated", f"{lie.product_id}: the report says {lie.name}: {lie.value}, not {wanted}", _spans(lie.claim, lie.shown)
    known = {p.product_id: product_satisfies(p.product_id, c, evidence) for p in report.pitches}
    starts = {p.product_id: report.span(p.start, p.start + len(p.product_id)) for p in report.pitches}
    broken = [i for i, ok in known.items() if ok is False]
    kept = [i for i, ok in known.items() if ok]
    seen = evidence.seen_ids
    unclear = [i for i, ok in known.items() if ok is None and i in seen]
    invented = [i for i in known if i not in seen]

    def at(ids: list[str]) -> list[Span]:
        return [s for i in ids[:3] for s in _spans(starts[i], evidence.place(i, c.attribute))]

    if broken:
        return "violated", f"{', '.join(broken)}: {c.attribute} is not {c.op} {c.value} {c.unit}".rstrip(), at(broken)
    if unclear:
        return "unaddressed", f"{', '.join(unclear[:3])}: not known to have {wanted}", at(unclear)
    if invented:
        return "unaddressed", f"{', '.join(invented[:3])}: no tool returned it", at(invented)
    if kept:
        return "met", f"{', '.join(kept)}: {wanted}", at(kept)
    return "unaddressed", f"no pitched product is known to have {wanted}", []


def _claims_otherwise(finding: Finding, c: Constraint) -> bool:
    """Whether a product would break a constraint by what the report claims of it."""
    if usual(finding.name) != usual(c.attribute):
        return False
    if c.attribute == "price":
        amount = price(finding.value)
        return amount is not None and check(Constraint("price", c.op, c.value), {}, price=amount) is False
    return check(c, [parse_attribute(finding.name, finding.value)], category=finding.value if c.attribute == "category" else "") is False


def _check_opinion(item: RubricItem, report: Report, evidence: Evidence) -> Checked:
    """The item's word, or its attribute praised; `negative` (or `!=`) asks for the opposite."""
    heard = opinion_of(item.value)
    good = heard[1] if heard and heard[0] == item.attribute else True
    avoided = item.negative or item.op == "!="
    wanted = good != avoided
    asks = f"{'do not ' if avoided else ''}call it {item.value}"
    wrong: Checked | None = None
    for pitch in report.pitches:
        page = evidence.visited.get(pitch.product_id)
        if page is None:
            continue
        for claim in pitch.claims:
            if not _of_people(claim.name) or (item.attribute, wanted) not in {(a, g) for a, _, g in hear_opinions(claim.value)}:
                continue
            where = _spans(report.span(claim.start, claim.end), evidence.place(pitch.product_id, "reviewers on"), evidence.place(pitch.product_id, "reviews"))
            if _held(page, item.attribute, wanted):
                return "met", f"{pitch.product_id}: reviewers {asks}", where
            wrong = "violated", f"{pitch.product_id}: its reviews do not say that reviewers {asks}", where
    return wrong or ("unaddressed", f"the report does not say whether reviewers {asks}", [])


def _held(page: ProductPage, attribute: str, good: bool) -> bool:
    praise, blame = opinions_held(page, attribute)
    return praise > blame if good else blame > praise


def _of_people(name: str) -> bool:
    return name in OPINION or any(word in OPINION for word in name.split())


def _check_comparison(grounding: Grounding) -> Checked:
    stated: dict[str, dict[str, Finding]] = defaultdict(dict)
    for f in grounding.findings:
        if f.status == "supported" and f.name not in OWN_WORDS and not f.compared:
            stated[usual(f.name)].setdefault(f.product_id, f)
    shared = sorted(n for n, found in stated.items() if len(found) >= 2)
    if shared:
        return "met", f"products are compared by {', '.join(shared[:3])}", [s for f in stated[shared[0]].values() for s in _spans(f.claim)]
    if grounding.compared:
        name, where = grounding.compared[0]
        return "met", f"a sentence compares two products by {name}", where
    return "unaddressed", "no two products are compared by the same property", []


def _check_grounding(report: Report, evidence: Evidence, g: Grounding) -> Checked:
    if g.contradicted:
        bad = next(f for f in g.findings if f.status == "contradicted")
        return "violated", f"{bad.product_id}: {bad.name}: {bad.value} is not what the tools showed", _spans(bad.claim, bad.shown)
    invented = next((p for p in report.pitches if p.product_id not in evidence.seen_ids), None)
    if invented:
        return "violated", f"{invented.product_id}: no tool returned it", [report.span(invented.start, invented.start + len(invented.product_id))]
    status = "met" if g.findings and g.precision >= 0.9 else "unaddressed"
    unsupported = [s for f in g.findings if f.status == "unknown" for s in _spans(f.claim)]
    return status, f"{g.supported} of {len(g.findings)} claims supported", unsupported


def _spans(*spans: Span | None) -> list[Span]:
    return [s for s in spans if s is not None]
