"""The texts that tools return, written and read.

Each format is fixed line by line, so that what a text shows can be parsed back from the text alone: agents, grounding
and rewards work on tool results, never on the world. Every piece of world text is neutralised and kept on its line, so that a
description cannot forge an attribute, a review or a second result; what stands for one word (an id, a currency, a kind of page, a
date) is shown only where it is one. Long texts are cut; limits are below.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from prstack.tools.aspects import count_aspects
from prstack.tools.extract_goal import extract
from prstack.tools.neutralise import READ, cell, neutralise, one_line
from prstack.tools.schemas import MAX_ID
from prstack.types import Attribute, Page, Product, Review
from prstack.world.match import same_value
from prstack.world.names import usual
from prstack.world.units import currency, money, parse_attribute
from prstack.world.units import price as read_price

MAX_TITLE, MAX_CATEGORY, MAX_VALUE, MAX_DESCRIPTION, MAX_REVIEW, MAX_SNIPPET, MAX_PAGE = 140, 200, 120, 500, 260, 180, 3000
MAX_SHIPPING, MAX_VARIANT, MAX_EXTRACT = 120, 160, 800
"""Longest texts, in characters."""
MAX_REVIEWS, MAX_ATTRIBUTES, MAX_VARIANTS, MAX_ASPECTS, MAX_RELATED = 8, 40, 8, 8, 3
"""Most of each on a product page; an aspect is an attribute that reviewers speak of."""


@dataclass(slots=True)
class Hit:
    """A line of product search."""

    id: str
    title: str
    category: str
    price: float | None
    rating: float | None
    n_reviews: int = 0
    currency: str = "USD"


@dataclass(slots=True)
class Variant:
    """A line of a product's variants; `text` says in which attributes it differs from the product."""

    id: str
    price: float | None
    available: bool
    text: str = ""


@dataclass(slots=True)
class ProductPage:
    """What visit_product shows. `reviews`: (id, stars, text). `aspects`: attribute → (reviewers who praise it, who blame it), of all
    reviews, also those that are not shown. `related`: (id, price). `available` is None where the page does not say."""

    id: str
    title: str
    category: str = ""
    brand: str = ""
    price: float | None = None
    rating: float | None = None
    available: bool | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)
    reviews: list[tuple[str, float, str]] = field(default_factory=list)
    description: str = ""
    n_reviews: int = 0
    currency: str = "USD"
    shipping: str = ""
    variants: list[Variant] = field(default_factory=list)
    aspects: dict[str, tuple[int, int]] = field(default_factory=dict)
    related: list[tuple[str, float | None]] = field(default_factory=list)


@dataclass(slots=True)
class WebHit:
    """A result of web search."""

    id: str
    title: str
    kind: str
    published: str
    snippet: str


@dataclass(slots=True)
class WebPage:
    """What web_visit shows."""

    id: str
    title: str
    kind: str
    published: str
    text: str


# --- writing ---------------------------------------------------------------------------------------------------
def format_search(query: str, products: list[Product], page: int, hint: str = "") -> str:
    """The hits of one page of product search; `hint` is added when there are none."""
    lines = [f'{_count(len(products))} for "{_echo(query)}", page {page}']
    lines += [f"[{n}] {_id(p.id)} | {cell(p.title, MAX_TITLE)} | {cell(p.category, MAX_CATEGORY)} | {_price(p)} | {_rating(p)}" for n, p in enumerate(products, 1)]
    return "\n".join(lines if products or not hint else [*lines, hint])


def format_product(p: Product, reviews: list[Review], variants: Sequence[Product] = (), related: Sequence[Product] = ()) -> str:
    """A product's page: with all its reviews, its variants, and products like it. What there is none of takes no line."""
    lines = [
        f"{_id(p.id)} | {cell(p.title, MAX_TITLE)}",
        f"category: {cell(p.category, MAX_CATEGORY)}",
        f"brand: {one_line(p.brand, MAX_VALUE) or 'not stated'}",
        f"price: {_price(p)}",
        f"rating: {_rating(p)}",
        f"availability: {_stock(p)}",
    ]
    if shipping := one_line(p.shipping, MAX_SHIPPING):
        lines.append(f"shipping: {shipping}")
    lines.append("attributes:")
    lines += [f"- {one_line(a.name.replace(':', ' '), MAX_VALUE)}: {one_line(a.value, MAX_VALUE)}" for a in p.attributes[:MAX_ATTRIBUTES]]
    lines.append(f"description: {one_line(p.description, MAX_DESCRIPTION) or 'none'}")
    if variants:
        lines += ["variants:", *(_variant(p, v) for v in variants[:MAX_VARIANTS])]
    if aspects := count_aspects(reviews, MAX_ASPECTS):
        lines += ["reviewers on:", *(f"- {name}: {_for_and_against(*counts)}" for name, counts in aspects.items())]
    lines.append("reviews:")
    lines += [f"- {_id(r.id)}, {_stars(r.rating)}: {one_line(r.text, MAX_REVIEW)}" for r in reviews[:MAX_REVIEWS]]
    if related:
        lines.append("related: " + ", ".join(f"{_id(q.id)} ({_price(q)})" for q in related[:MAX_RELATED]))
    return "\n".join(lines)


def _variant(p: Product, v: Product) -> str:
    """A variant with its price and stock, and what else differs: attributes, or else the title."""
    differs = [f"{a.name} {a.value}" for a in v.attributes if not any(usual(a.name) == usual(b.name) and same_value(a, b) for b in p.attributes)]
    text = one_line("; ".join(d.replace(";", ",") for d in differs) or (v.title if v.title != p.title else ""), MAX_VARIANT)
    return f"- {_id(v.id)}, {_price(v)}, {_stock(v)}" + (f": {text}" if text else "")


def _stock(p: Product) -> str:
    return "in stock" if p.available else "out of stock"


def _for_and_against(good: int, bad: int) -> str:
    return ", ".join(f"{n} {word}" for n, word in ((good, "good"), (bad, "bad")) if n)


def format_web_search(query: str, hits: list[tuple[Page, str]], hint: str = "") -> str:
    """(page, snippet) pairs of web search."""
    lines = [f'{_count(len(hits))} for "{_echo(query)}"']
    for n, (page, snippet) in enumerate(hits, 1):
        lines.append(f"[{n}] {_id(page.id)} | {cell(page.title, MAX_TITLE)} | {_kind(page)} | {_published(page)}")
        lines.append(f"    {one_line(snippet, MAX_SNIPPET)}")
    return "\n".join(lines if hits or not hint else [*lines, hint])


def format_web_page(page: Page, goal: str | None = None) -> str:
    """A web page; with a goal, only what fits it, or the page's beginning below a line that says that nothing does."""
    text = page_text(page.text)
    if goal is not None:
        found = _cut(extract(page_text(page.text, READ), goal, MAX_EXTRACT), MAX_EXTRACT + 2)
        text = found or f'nothing on this page fits "{_echo(goal)}"; it begins:\n{_cut(text, MAX_EXTRACT)}'
    return f"{_id(page.id)} | {cell(page.title, MAX_TITLE)}\nkind: {_kind(page)}\npublished: {_published(page)}\n{text}"


def page_text(text: str, limit: int = MAX_PAGE) -> str:
    """Text of several lines, neutralised and cut at a word near `limit` characters."""
    return _cut("\n".join(" ".join(line.split()) for line in neutralise(text[:READ]).splitlines()).strip(), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit].rsplit(None, 1)[0] + " …"


def _count(n: int) -> str:
    return "1 result" if n == 1 else f"{n} results"


def _echo(query: str) -> str:
    return one_line(query, 120).replace('"', "'")


def _id(text: str) -> str:
    """An id as it is, when it is one word as worlds take them; in others each character that does not fit becomes "_"."""
    return re.sub(r"[^\w.:#/@+-]|:\Z", "_", text[:MAX_ID]) or "_"


def _kind(page: Page) -> str:
    return page.kind if re.fullmatch(r"\w{1,32}", page.kind) else "article"


def _published(page: Page) -> str:
    return page.published if re.fullmatch(r"[\w.:/+-]{1,32}", page.published) else "undated"


def _price(p: Product) -> str:
    """The price; a currency that is no code becomes XXX, the code of none."""
    currency = p.currency if re.fullmatch(r"[A-Z]{3}", p.currency) else "XXX"
    return money(p.price, currency) if p.price is not None else "no price"


def _rating(p: Product) -> str:
    if p.rating is None:
        return "no reviews"
    return f"{p.rating:.1f} stars, {p.n_reviews} {'review' if p.n_reviews == 1 else 'reviews'}"


def _stars(rating: float) -> str:
    return "1 star" if rating == 1 else f"{rating:g} stars"


# --- reading ---------------------------------------------------------------------------------------------------
_SEARCH_HEAD = re.compile(r'\d+ results? for "[^"\n]*", page \d+')
_WEB_HEAD = re.compile(r'\d+ results? for "[^"\n]*"')
_HIT = re.compile(r"\[\d+\] (\S+) \| ([^|]*) \| ([^|]*) \| ([^|]*) \| ([^|]*)")
_WEB_HIT = re.compile(r"\[\d+\] (\S+) \| ([^|]*) \| (\w+) \| (\S*)")
_TITLE = re.compile(r"(\S+) \| ([^|]*)")
_RATING = re.compile(r"([\d.]+) stars, (\d+) reviews?")
_REVIEW = re.compile(r"- (\S+), ([\d.]+) stars?: (.*)")
_VARIANT = re.compile(r"- ([^\s,]+), ([^:]*), (in|out of) stock(?:: (.*))?")
_ASPECT = re.compile(r"- ([^:]+): (?:(\d+) good)?(?:, )?(?:(\d+) bad)?")
_RELATED = re.compile(r"([^\s,]+) \(([^)]*)\)")


def parse_search(text: str) -> list[Hit]:
    """The hits of a product search; [] for other texts."""
    head, *rest = text.split("\n")
    if not _SEARCH_HEAD.fullmatch(head):
        return []
    hits = []
    for line in rest:
        if m := _HIT.fullmatch(line):
            rating, n = _read_rating(m[5])
            hits.append(Hit(m[1], m[2], m[3], read_price(m[4]), rating, n, currency(m[4]) or "USD"))
    return hits


def parse_product(text: str) -> ProductPage | None:
    """A product page; None for other texts."""
    lines = text.split("\n")
    title = _TITLE.fullmatch(lines[0])
    if not title or len(lines) < 7 or not lines[1].startswith("category: ") or "attributes:" not in lines:
        return None
    page, part = ProductPage(title[1], title[2]), ""
    for line in lines[1:]:
        key, _, value = line.partition(": ")
        if line in ("attributes:", "variants:", "reviewers on:", "reviews:"):
            part = line
        elif part == "attributes:" and line.startswith("- "):
            page.attributes.setdefault(key[2:], parse_attribute(key[2:], value))
        elif part == "reviews:" and (m := _REVIEW.fullmatch(line)):
            page.reviews.append((m[1], float(m[2]), m[3]))
        elif part == "variants:" and (m := _VARIANT.fullmatch(line)):
            page.variants.append(Variant(m[1], read_price(m[2]), m[3] == "in", m[4] or ""))
        elif part == "reviewers on:" and (m := _ASPECT.fullmatch(line)):
            page.aspects[m[1]] = (int(m[2] or 0), int(m[3] or 0))
        elif key == "related":
            page.related = [(m[1], read_price(m[2])) for m in _RELATED.finditer(value)]
        elif key == "shipping":
            page.shipping = value
        elif key == "description":
            page.description, part = value, ""
        elif key == "category":
            page.category = value
        elif key == "brand":
            page.brand = "" if value == "not stated" else value
        elif key == "price":
            page.price, page.currency = read_price(value), currency(value) or "USD"
        elif key == "rating":
            page.rating, page.n_reviews = _read_rating(value)
        elif key == "availability":
            page.available = value == "in stock"
    return page


def parse_web_search(text: str) -> list[WebHit]:
    """The hits of a web search; [] for other texts."""
    head, *rest = text.split("\n")
    if not _WEB_HEAD.fullmatch(head):
        return []
    hits = []
    for line, after in zip(rest, [*rest[1:], ""]):
        if m := _WEB_HIT.fullmatch(line):
            hits.append(WebHit(m[1], m[2], m[3], "" if m[4] == "undated" else m[4], after.strip()))
    return hits


def parse_web_page(text: str) -> WebPage | None:
    """A web page; None for other texts."""
    lines = text.split("\n", 3)
    title = _TITLE.fullmatch(lines[0])
    if not title or len(lines) < 3 or not lines[1].startswith("kind: ") or not lines[2].startswith("published: "):
        return None
    published = lines[2].removeprefix("published: ")
    return WebPage(title[1], title[2], lines[1].removeprefix("kind: "), "" if published == "undated" else published, lines[3] if len(lines) > 3 else "")


def _read_rating(text: str) -> tuple[float | None, int]:
    m = _RATING.fullmatch(text)
    return (float(m[1]), int(m[2])) if m else (None, 0)
