"""E.Prod: the products of a report that count (paper, section on evaluation: effective products)."""

from __future__ import annotations

from prstack.scoring.evidence import Evidence
from prstack.scoring.report import Report


def e_prod(report: Report, evidence: Evidence) -> list[str]:
    """Distinct pitched ids that a tool of this trajectory returned, in the report's order.

    A tool only returns what the catalogue holds, so an id that was returned also resolves.
    """
    seen = evidence.seen_ids
    return [p.product_id for p in report.pitches if p.product_id in seen]
