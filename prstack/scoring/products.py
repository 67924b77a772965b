"""E.Prod: the products of a report that count (paper, section on evaluation: effective products)."""

from __future__ import annotations

from collections.abc import Iterable

from prstack.scoring.evidence import Evidence
from prstack.scoring.report import Report
from prstack.scoring.rubric import CONSTRAINTS, constraint_of, product_satisfies
from prstack.types import RubricItem


def e_prod(report: Report, evidence: Evidence) -> list[str]:
    """Distinct pitched ids that a tool of this trajectory returned, in the report's order.

    A tool only returns what the catalogue holds, so an id that was returned also resolves.
    """
    seen = evidence.seen_ids
    return [p.product_id for p in report.pitches if p.product_id in seen]


def pitched_on_merit(report: Report, evidence: Evidence, rubric: Iterable[RubricItem]) -> list[str]:
    """Those of `e_prod` that are known, by what the tools showed, to satisfy every constraint of the rubric and not to be sold out."""
    constraints = [constraint_of(i) for i in rubric if i.type in CONSTRAINTS]
    out = []
    for id in e_prod(report, evidence):
        page = evidence.visited.get(id)
        if (page is None or page.available is not False) and all(product_satisfies(id, c, evidence) for c in constraints):
            out.append(id)
    return out
