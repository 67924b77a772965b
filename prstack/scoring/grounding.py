"""Grounding: does what the report claims of a product stand in a tool result?

1. A claim is supported when the product's page (or its search line, for title, price and rating; or where the page is silent, a web page that
   was read) says the same, with units converted; contradicted when it says otherwise; unknown when nothing that was seen speaks of it
   (`prstack.scoring.values`, `prstack.scoring.evidence`).
2. A bound that holds ("under 60 dB") is no claim: it says no value. Claims whose name is a word of the report itself (`why`, `note`, …) are
   none either, nor claims from prose that the product's page knows no property for. A property that is stated with support counts
   once for a product, however often and in whatever words it is stated.
3. A name is that of an attribute when it is one of its names, or words at its start or end that no other attribute has ("noise" for
   "noise level"). What owners measured and what the description states are shown as well as the list.
4. Sentences that set two products against each other claim something of each, also of an opened one that is not pitched
   (`prstack.scoring.comparisons`).
5. Recall: of what the rubric asks for and the pages of pitched products answer, the share that the report states with support.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prstack.scoring.comparisons import COMPARED, MISFIT, comparisons, named_property
from prstack.scoring.evidence import Evidence, Span
from prstack.scoring.reading.claims import OWN_WORDS, Claim
from prstack.scoring.report import Report
from prstack.scoring.values import Agreement, agreement, compare_number, compare_price
from prstack.tools.results import ProductPage
from prstack.types import Attribute, RubricItem
from prstack.world.language import hear_opinions
from prstack.world.match import in_category
from prstack.world.names import fold, usual
from prstack.world.statements import stated

OPINION = {"reviewers", "reviews", "owners", "buyers", "customers"}
_PEOPLE = re.compile(r"\b(?:reviewers?|reviews|owners?|buyers?|customers?|users?)\b")
_FIELDS = {
    name: field
    for field, names in {
        "price": "price|cost|current price|list price",
        "rating": "rating|stars|average rating|user rating|customer rating|overall rating",
        "category": "category",
        "brand": "brand",
        "title": "title",
        "availability": "availability|stock|in stock",
        "number of reviews": "number of reviews|review count",
    }.items()
    for name in names.split("|")
}
"""What a claim may call a field of the page → the field."""
_STATUS: dict[Agreement, str] = {"same": "supported", "other": "contradicted", "bound": "", "nothing": "unknown"}


@dataclass(slots=True)
class Finding:
    product_id: str
    name: str
    value: str
    status: str
    """`supported`, `contradicted` or `unknown`."""
    claim: Span | None = None
    """Where the report says it."""
    shown: Span | None = None
    """Where a tool result speaks of it."""
    compared: bool = False
    """Whether only a sentence that sets the product against another says it."""


@dataclass(slots=True)
class Grounding:
    findings: list[Finding] = field(default_factory=list)
    asked: int = 0
    """(product, property) pairs that the rubric asks for and the pages of pitched products answer."""
    stated: int = 0
    """Those of them that the report states with support."""
    compared: list[tuple[str, list[Span]]] = field(default_factory=list)
    """Property and places of the two values of each sentence that sets two products against each other, both with support."""

    def count(self, status: str) -> int:
        return sum(f.status == status for f in self.findings)

    @property
    def supported(self) -> int:
        return self.count("supported")

    @property
    def contradicted(self) -> int:
        return self.count("contradicted")

    @property
    def unknown(self) -> int:
        return self.count("unknown")

    @property
    def precision(self) -> float:
        """Supported share of the claims; 0 for a report without claims."""
        return self.supported / len(self.findings) if self.findings else 0.0

    @property
    def recall(self) -> float | None:
        """Stated share of what was asked for and answered; None where there is no such thing."""
        return self.stated / self.asked if self.asked else None


def ground(report: Report, evidence: Evidence, rubric: Iterable[RubricItem] = ()) -> Grounding:
    """Every claim of the report with its status; `rubric` says what recall is about."""
    out = Grounding()
    said: set[tuple[str, str, str]] = set()
    claimed = {p.product_id: list(p.claims) for p in report.pitches}
    pairs = comparisons(report, evidence)
    for id, claim in (item for pair in pairs for item in pair.items()):
        claimed.setdefault(id, []).append(claim)
    right: dict[tuple[str, str, str], str] = {}
    """Product, name and value of each supported claim of a sentence that compares → its property."""
    for id, all_claims in claimed.items():
        names = names_shown(id, evidence)
        claims: dict[tuple[str, str, str], Claim] = {}
        for claim in all_claims:
            claims.setdefault((claim.name, claim.value, claim.loose), claim)
        for claim in claims.values():
            name = property_of(claim, names, id in evidence.visited)
            status = _status(name, claim, id, evidence) if name and name not in OWN_WORDS else ""
            if claim.loose == MISFIT and status != "contradicted":
                continue
            if claim.loose == COMPARED and status == "supported":
                right[id, claim.name, claim.value] = usual(name)
            key = (id, name, "" if status == "supported" and name not in OPINION else fold(claim.value))
            if status and key not in said:
                said.add(key)
                at = report.span(claim.start, claim.end) if claim.start >= 0 else None
                shown = evidence.place(id, "reviews" if name in OPINION else name) if status != "unknown" else None
                out.findings.append(Finding(id, name, claim.value, status, at, shown, claim.loose in (COMPARED, MISFIT)))
    for pair in pairs:
        properties = {right.get((id, c.name, c.value), "") for id, c in pair.items()}
        if "" not in properties:
            out.compared.append((properties.pop(), [report.span(c.start, c.end) for c in pair.values()]))
    _recall(out, report, evidence, rubric)
    return out


def names_shown(product_id: str, evidence: Evidence) -> dict[str, str]:
    """The names, folded and usual, of the attributes that were shown of a product → the name there; the list's own name comes first."""
    page, names = evidence.visited.get(product_id), {}
    if page:
        names = {fold(a): a for a in page.attributes}
        names |= {usual(a): a for a in page.attributes}
        for text in (page.description, *(text for _, _, text in page.reviews)):
            for a in stated(text):
                names.setdefault(a.name, a.name)
    return {name: name for name in evidence.told.get(product_id, ())} | names


def property_of(claim: Claim, attributes: Mapping[str, str], opened: bool) -> str:
    """The property that a claim is about: an attribute that was shown (`names_shown`), or the claim's own name; empty for prose about none.
    `opened`: whether the product's page was."""
    if claim.loose in (COMPARED, MISFIT):
        return named_property(claim, attributes)
    name = re.sub(r"\s*\([^()]*\)$", "", claim.name)
    if _PEOPLE.search(name) and not re.search(r"\b(?:rating|score|count|number of|total)\b", name):
        if re.match(r"\d+(?:\s*reviews)?$", claim.value):
            return "number of reviews"
        return name if name in OPINION else "reviewers"
    if name in _FIELDS:
        return _FIELDS[name]
    words = fold(name)
    if claim.loose:
        if claim.value.rstrip("s").endswith("star"):
            return "rating" if re.search(r"\brat(?:ing|ed)\b", words) else ""
        ends = [f for f in attributes if (words.endswith(f) if claim.loose == "before" else words.startswith(f))]
        return attributes[max(ends, key=len)] if ends else "" if opened else name  # little is known of a product that was not opened
    if own := attributes.get(words) or attributes.get(usual(words)):
        return own
    near = {a for f, a in attributes.items() if f.startswith(words + " ") or f.endswith(" " + words)}
    return near.pop() if len(near) == 1 and name not in OWN_WORDS else name


def opinions_held(page: ProductPage, attribute: str) -> tuple[int, int]:
    """(reviewers who praise an attribute, reviewers who blame it), by the page's count, or else by the reviews that it shows."""
    for name, counts in page.aspects.items():
        if usual(name) == usual(attribute):
            return counts
    held = [good for _, _, text in page.reviews for a, _, good in hear_opinions(text) if a == attribute]
    return sum(held), len(held) - sum(held)


def _status(name: str, claim: Claim, product_id: str, evidence: Evidence) -> str:
    """`supported`, `contradicted`, `unknown`, or empty for what is no claim."""
    value, page, hit = claim.value, evidence.visited.get(product_id), evidence.hits.get(product_id)
    if name == "price":
        shown = page or hit
        return "unknown" if shown is None or shown.price is None else _STATUS[compare_price(value, shown.price, shown.currency)]
    if name in ("rating", "number of reviews"):
        seen, number = page or hit, re.search(r"\d+(?:\.\d+)?", value)
        if seen is None or number is None:
            return "unknown"
        shown = seen.rating if name == "rating" else seen.n_reviews
        if shown is None:
            return "contradicted"  # "no reviews", as tools write for a product without a rating
        return _STATUS[compare_number(number.group(), shown, "", 0.05)]
    if page is not None and (status := _of_field(name, value, page, claim.loose)) is not None:
        return status
    listed = page.attributes.get(name) if page else None
    found = {agreement(name, value, a) for a in (listed, *evidence.shown(product_id, name)) if a is not None}
    return next((_STATUS[a] for a in ("same", "bound", "other", "nothing") if a in found), "unknown")


def _of_field(name: str, value: str, page: ProductPage, loose: str) -> str | None:
    """The status of a claim on what is no attribute of a page; None for other claims."""
    if name in OPINION:
        return _opinion(value, page, loose)
    if name == "category":
        return "supported" if in_category(page.category, value.strip(" .")) else "contradicted"
    if name == "availability" and page.available is not None:
        out = re.search(r"\b(?:out of stock|unavailable|sold out|not available|no)\b", value, re.I)
        return "supported" if bool(out) != page.available else "contradicted"
    if own := {"brand": page.brand, "title": page.title, "shipping": page.shipping}.get(name):
        return _STATUS[agreement(name, value, Attribute(name, own))]
    return None


def _opinion(value: str, page: ProductPage, loose: str) -> str:
    claimed = hear_opinions(value)
    if not claimed:
        quoted = value.strip('". ').lower()
        return "" if loose else "supported" if quoted and any(quoted in text.lower() for _, _, text in page.reviews) else "unknown"
    statuses = {_opinion_status(page, attribute, good) for attribute, _, good in claimed}
    return next(s for s in ("contradicted", "unknown", "supported") if s in statuses)


def _opinion_status(page: ProductPage, attribute: str, good: bool) -> str:
    """Supported unless more say the opposite: of the reviews that the page shows, or of all that it counts."""
    shown = [g for _, _, text in page.reviews for a, _, g in hear_opinions(text) if a == attribute]
    counts = [(sum(shown), len(shown) - sum(shown)), opinions_held(page, attribute)]
    if not any(map(any, counts)):
        return "unknown"
    return "supported" if any(any(c) and c[not good] >= c[good] for c in counts) else "contradicted"


def _recall(out: Grounding, report: Report, evidence: Evidence, rubric: Iterable[RubricItem]) -> None:
    supported = {(f.product_id, usual(f.name)) for f in out.findings if f.status == "supported"}
    opinions = {(f.product_id, a) for f in out.findings if f.status == "supported" and f.name in OPINION for a, _, _ in hear_opinions(f.value)}
    asked = {("price" if i.type == "budget_match" else i.attribute, i.type == "review_opinion") for i in rubric if i.type not in ("entity_match", "comparison", "grounding")}
    for id in report.product_ids:
        if page := evidence.visited.get(id):
            fields = {name for name in ("price", "rating", "brand") if getattr(page, name) not in (None, "")}
            for attribute, opinion in sorted(asked):
                if opinion:
                    answered, said = any(opinions_held(page, attribute)), (id, attribute) in opinions
                else:
                    answered, said = attribute in fields or bool(evidence.shown(id, attribute)), (id, usual(attribute)) in supported
                out.asked += answered
                out.stated += answered and said
