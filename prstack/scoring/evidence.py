"""What a trajectory's tools showed: the ground on which its report is checked.

1. Search lines, product pages and web pages are read off the texts of successful tool results.
2. Of web pages, lab tests and brands' data sheets tell values of products: in sentences that stand, on one line, behind the product's
   name with its id in brackets ("Aurel Kettle (P12). We measured 58 dB for the noise level."). One that calls itself archived tells
   nothing; where two differ, the one that was published later counts.
3. A product's own page comes first (`prstack.world.match.known` says in which order it is read). What web pages tell counts for an
   attribute on which that page is silent, and for a product whose page was not opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prstack.scoring.reading.claims import PRODUCT_ID
from prstack.tools import results
from prstack.tools.results import Hit, ProductPage, WebPage
from prstack.types import Attribute, Step
from prstack.world.match import known
from prstack.world.names import usual
from prstack.world.statements import stated

TELLING = ("lab_test", "brand")
"""Kinds of web pages that tell values of products; guides and forums give advice and opinions."""
_ARCHIVED = re.compile(r"\barchived?\b", re.I)
_PRODUCT = re.compile(rf"\({PRODUCT_ID.pattern}\)\.(?=\s|$)")
_HEADING = 3
"""Lines above the text of a web page."""


@dataclass(slots=True, frozen=True)
class Span:
    """A place: characters `start` to `end` of `source`, which is "report" (`Report.text`) or the id of the tool call whose result's
    text it is; `line` is its line there, from 1."""

    source: str
    start: int
    end: int
    line: int


@dataclass(slots=True, frozen=True)
class Told:
    """A value that a web page tells of a product. `published`: the page's date, empty for none; `where`: its line."""

    value: Attribute
    published: str
    where: Span


@dataclass(slots=True)
class Evidence:
    """`hits`: products that a search listed; `visited`: products whose page was opened; `pages`: ids of web pages; `told`: product → usual
    name of an attribute → what web pages tell of it.

    `texts`: the tool results by the id of their call. `seen_in`: product → the results that show it, its page last.
    """

    hits: dict[str, Hit] = field(default_factory=dict)
    visited: dict[str, ProductPage] = field(default_factory=dict)
    pages: set[str] = field(default_factory=set)
    told: dict[str, dict[str, Told]] = field(default_factory=dict)
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
            for id, told in _told(web, source, text):
                of = self.told.setdefault(id, {})
                held = of.get(told.value.name)
                if held is None or told.published > held.published:
                    of[told.value.name] = told

    def web_only(self, product_id: str, name: str) -> Told | None:
        """What a web page tells of an attribute on which the product's own page is silent, or which was not opened."""
        told = self.told.get(product_id, {}).get(usual(name))
        page = self.visited.get(product_id)
        return None if told is None or (page is not None and known(page, name)) else told

    def shown(self, product_id: str, name: str) -> list[Attribute]:
        """What was shown of an attribute: by the product's own page, or else by a web page."""
        told, page = self.web_only(product_id, name), self.visited.get(product_id)
        return [told.value] if told else known(page, name) if page else []

    def place(self, product_id: str, name: str = "") -> Span | None:
        """Where a product's page shows a property (`price`, `category`, an attribute), where only a web page tells it, or where a search
        lists the product."""
        if told := self.web_only(product_id, name):
            return told.where
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


def _told(page: WebPage, source: str, text: str) -> Iterator[tuple[str, Told]]:
    """(product, value) of everything that a web page tells; `text`: the tool result that shows it."""
    if page.kind not in TELLING or _ARCHIVED.search(page.title):
        return
    at = 0
    for n, line in enumerate(text.split("\n"), 1):
        _, *parts = _PRODUCT.split(line) if n > _HEADING else ("",)
        for id, said in zip(parts[::2], parts[1::2], strict=True):
            for value in stated(said):
                yield id, Told(value, page.published, Span(source, at, at + len(line), n))
        at += len(line) + 1
