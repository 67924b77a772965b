"""Grounding: does what the report claims of a product stand in a tool result?

A claim is supported when the product's page (or its search line, for title, price and rating) says the same, with
units converted; contradicted when it says otherwise; unknown when nothing that was seen speaks of it. Claims whose name is
a word of the report itself (`why`, `note`, …) are not claims about the product.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from prstack.scoring.evidence import Evidence
from prstack.scoring.report import Report
from prstack.world.language import hear_opinions
from prstack.world.match import same_value
from prstack.world.units import parse_attribute, price

OWN_WORDS = {"why", "note", "notes", "verdict", "summary", "comparison", "trade-off", "best for", "pros", "cons", "caveat", "source", "sources"}
OPINION = {"reviewers", "reviews", "owners", "buyers", "customers"}


@dataclass(slots=True)
class Finding:
    product_id: str
    name: str
    value: str
    status: str
    """`supported`, `contradicted` or `unknown`."""


@dataclass(slots=True)
class Grounding:
    findings: list[Finding] = field(default_factory=list)

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


def ground(report: Report, evidence: Evidence) -> Grounding:
    """Every claim of the report with its status."""
    out = Grounding()
    for pitch in report.pitches:
        for claim in pitch.claims:
            if claim.name not in OWN_WORDS:
                out.findings.append(Finding(pitch.product_id, claim.name, claim.value, _status(pitch.product_id, claim.name, claim.value, evidence)))
    return out


def _status(product_id: str, name: str, value: str, evidence: Evidence) -> str:
    page, hit = evidence.visited.get(product_id), evidence.hits.get(product_id)
    if name == "price":
        said = price(value)
        shown = page.price if page else hit.price if hit else None
        if said is None or shown is None:
            return "unknown"
        return "supported" if abs(said - shown) < 0.005 else "contradicted"
    if name == "rating":
        shown = page.rating if page else hit.rating if hit else None
        number = re.search(r"\d+(?:\.\d+)?", value)
        if shown is None or number is None:
            return "unknown"
        return "supported" if abs(float(number.group()) - shown) < 0.05 else "contradicted"
    if page is None:
        return "unknown"
    if name in OPINION:
        claimed = hear_opinions(value)
        said = {(a, good) for _, _, text in page.reviews for a, _, good in hear_opinions(text)}
        if not claimed:
            return "supported" if any(value.strip('". ').lower() in text.lower() for _, _, text in page.reviews) else "unknown"
        if all((a, good) in said for a, _, good in claimed):
            return "supported"
        return "contradicted" if any((a, not good) in said for a, _, good in claimed) else "unknown"
    for own, shown in (("category", page.category), ("brand", page.brand), ("title", page.title)):
        if name == own:
            return "supported" if shown.lower() == value.lower().strip() else "contradicted"
    attribute = page.attributes.get(name)
    if attribute is None:
        return "unknown"
    return "supported" if same_value(parse_attribute(name, value), attribute) else "contradicted"
