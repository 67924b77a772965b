"""What a trajectory's tools showed: the ground on which its report is checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from prstack.tools import results
from prstack.tools.results import Hit, ProductPage
from prstack.types import Step


@dataclass(slots=True, frozen=True)
class Span:
    """A place: characters `start` to `end` of `source`, which is "report" (`Report.text`) or the id of the tool call whose result's
    text it is; `line` is its line there, from 1."""

    source: str
    start: int
    end: int
    line: int


@dataclass(slots=True)
class Evidence:
    """`hits`: products that a search listed; `visited`: products whose page was opened; `pages`: ids of web pages.

    `texts`: the tool results by the id of their call. `seen_in`: product → the results that show it, its page last.
    """

    hits: dict[str, Hit] = field(default_factory=dict)
    visited: dict[str, ProductPage] = field(default_factory=dict)
    pages: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    seen_in: dict[str, str] = field(default_factory=dict)

    @property
    def seen_ids(self) -> set[str]:
        return set(self.hits) | set(self.visited)

    @staticmethod
    def from_texts(texts: Iterable[str]) -> Evidence:
        """From the texts of successful tool results; their ids are "1", "2", …"""
        evidence = Evidence()
        for n, text in enumerate(texts, 1):
            evidence.add(str(n), text)
        return evidence

    @staticmethod
    def from_steps(steps: Iterable[Step]) -> Evidence:
        evidence = Evidence()
        for step in steps:
            if step.tool_result is not None and step.tool_result.ok:
                evidence.add(step.tool_result.call_id, step.tool_result.text)
        return evidence

    def add(self, source: str, text: str) -> None:
        """Takes in the text of one successful tool result."""
        if source in self.texts:
            source = f"{source}#{len(self.texts) + 1}"
        self.texts[source] = text
        if page := results.parse_product(text):
            self.visited[page.id] = page
            self.seen_in[page.id] = source
        elif hits := results.parse_search(text):
            for hit in hits:
                if hit.id not in self.hits:
                    self.hits[hit.id] = hit
                    self.seen_in.setdefault(hit.id, source)
        elif web := results.parse_web_page(text):
            self.pages.add(web.id)

    def place(self, product_id: str, name: str = "") -> Span | None:
        """Where a product's page shows a property (`price`, `category`, an attribute), or where a search lists the product."""
        source = self.seen_in.get(product_id)
        if source is None:
            return None
        wanted = (f"{name}: ", f"- {name}: ") if product_id in self.visited else ()
        at, first = 0, None
        for n, line in enumerate(self.texts[source].split("\n"), 1):
            span = Span(source, at, at + len(line), n)
            if line.startswith(wanted) if wanted else f"] {product_id} | " in line:
                return span
            first = first or span
            at += len(line) + 1
        return first if product_id in self.visited else None
