"""What reviewers hold of a product, and whether a report that speaks for them is right.

1. An opinion ("reviewers: quiet") is supported unless more reviewers say the opposite, of those that the page shows or of all it counts.
2. A count as the page writes it ("noise level: 3 good, 1 bad") is supported when the page counts the same, contradicted when it counts
   otherwise. It is a claim about reviewers: it states no value of the attribute.
3. Where no reviewer speaks of it, both are unknown.
"""

from __future__ import annotations

import re

from prstack.tools.results import ProductPage
from prstack.world.language import hear_opinions
from prstack.world.names import usual

COUNT = re.compile(r"(?=\d)(?:(\d+) good)?(?:, )?(?:(\d+) bad)?")
"""How many reviewers praise and how many blame, as a product page says it."""


def opinions_held(page: ProductPage, attribute: str) -> tuple[int, int]:
    """(reviewers who praise an attribute, reviewers who blame it), by the page's count, or else by the reviews that it shows."""
    for name, counts in page.aspects.items():
        if usual(name) == usual(attribute):
            return counts
    held = [good for _, _, text in page.reviews for a, _, good in hear_opinions(text) if a == attribute]
    return sum(held), len(held) - sum(held)


def count_status(value: str, page: ProductPage, attribute: str) -> str:
    """The status of a claimed `COUNT` of an attribute."""
    held, m = opinions_held(page, attribute), COUNT.fullmatch(value)
    if m is None or not any(held):
        return "unknown"
    return "supported" if held == (int(m[1] or 0), int(m[2] or 0)) else "contradicted"


def opinion_status(value: str, page: ProductPage, loose: str) -> str:
    """The status of what a report lets reviewers say; empty where it is prose without an opinion."""
    claimed = hear_opinions(value)
    if not claimed:
        quoted = value.strip('". ').lower()
        return "" if loose else "supported" if quoted and any(quoted in text.lower() for _, _, text in page.reviews) else "unknown"
    statuses = {_held(page, attribute, good) for attribute, _, good in claimed}
    return next(s for s in ("contradicted", "unknown", "supported") if s in statuses)


def _held(page: ProductPage, attribute: str, good: bool) -> str:
    shown = [g for _, _, text in page.reviews for a, _, g in hear_opinions(text) if a == attribute]
    counts = [(sum(shown), len(shown) - sum(shown)), opinions_held(page, attribute)]
    if not any(map(any, counts)):
        return "unknown"
    return "supported" if any(any(c) and c[not good] >= c[good] for c in counts) else "contradicted"
