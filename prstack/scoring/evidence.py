"""What a trajectory's tools showed: the ground on which its report is checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from prstack.tools import results
from prstack.tools.results import Hit, ProductPage
from prstack.types import Step


@dataclass(slots=True)
class Evidence:
    """`hits`: products that a search listed; `visited`: products whose page was opened; `pages`: ids of web pages."""

    hits: dict[str, Hit] = field(default_factory=dict)
    visited: dict[str, ProductPage] = field(default_factory=dict)
    pages: set[str] = field(default_factory=set)

    @property
    def seen_ids(self) -> set[str]:
        return set(self.hits) | set(self.visited)

    @staticmethod
    def from_texts(texts: Iterable[str]) -> Evidence:
        """From the texts of successful tool results."""
        evidence = Evidence()
        for text in texts:
            if page := results.parse_product(text):
                evidence.visited[page.id] = page
            elif hits := results.parse_search(text):
                for hit in hits:
                    evidence.hits.setdefault(hit.id, hit)
            elif web := results.parse_web_page(text):
                evidence.pages.add(web.id)
        return evidence

    @staticmethod
    def from_steps(steps: Iterable[Step]) -> Evidence:
        return Evidence.from_texts(s.tool_result.text for s in steps if s.tool_result is not None and s.tool_result.ok)
