"""Search over products and pages: BM25 with field boosts and filters, in tantivy (`prstack.world.index`).

1. A query is cut into stemmed terms by the analyser that made the index, so that it may hold any characters; the query
   language of the engine is not used. A document scores the boosted sum over its fields; one matching term is enough.
2. Filters (category, brand, price, rating) exclude and do not score. Within a category the terms rank only; without one, a
   product must match at least one term. A category is named by its whole path, the start of one, or
   one level (`prstack.world.match.in_category`); a brand by its whole name, without regard to case. A product without a price or
   rating fails a filter on it.
3. Equal scores (to two decimals) are ordered by a hash of query and id: the same query always gives the same order, and
   different queries do not always show the same ones of many equal products. Of more than 60 that are equal, the first ones of
   the catalogue take part. In another order than by relevance everything that matches takes part (`prstack.world.order`).

Attributes and reviews are not indexed: what decides is on the product's page.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import math
from pathlib import Path

from tantivy import FieldType, Occur, Query

from prstack.world.index import Index, PieceWriter, clean, schema
from prstack.world.match import category_key, category_keys, fold
from prstack.world.order import ordered

PRODUCT_BOOSTS = {"title": 3.0, "category_text": 2.0, "brand": 2.0, "description": 1.0}
PAGE_BOOSTS = {"title": 2.0, "text": 1.0}
SNIPPET = 180
"""Length of a page's snippet, in characters."""
_MAX_TERMS, _MAX_DESCRIPTION, _TIES, _BRANDS, _RAREST, _ALIKE = 32, 4000, 60, 2000, 6, 128
_PRODUCTS = schema(PRODUCT_BOOSTS, ("price", "rating"), ("record", "reviews"), ("parent", "brand_name"), ("n_reviews",))
SORTS = {"price_low": ("price", False), "price_high": ("price", True), "rating": ("rating", True), "reviews": ("n_reviews", True)}
"""Orders besides relevance → the number that counts, and whether the highest comes first."""
_PAGES = schema(PAGE_BOOSTS)


def product_writer(folder: Path, first: int = 0) -> PieceWriter:
    """A piece of the index of products, whose first product has the number `first`."""
    return PieceWriter(folder, _PRODUCTS, first)


def page_writer(folder: Path) -> PieceWriter:
    return PieceWriter(folder, _PAGES)


def product_fields(p: dict, record: str, reviews: str) -> dict:
    """The fields under which a product (a row) is found, with its record and its reviews as JSON."""
    fields: dict = {
        "category": sorted(clean(k) for k in category_keys(p["category"])),
        "category_text": clean(p["category"].replace(">", " ")),
        "title": clean(p["title"]),
        "brand": clean(p["brand"]),
        "description": clean(p["description"][:_MAX_DESCRIPTION]),
        "record": record.encode(),
        "reviews": reviews.encode(),
    }
    if p["price"] is not None:
        fields["price"] = float(p["price"])
    if p["rating"] is not None:
        fields["rating"] = float(p["rating"])
    if p["parent_id"]:
        fields["parent"] = clean(p["parent_id"])
    if brand := fold(fields["brand"]):
        fields["brand_name"] = brand
    fields["n_reviews"] = float(p["n_reviews"])
    return fields


def page_fields(p: dict, record: str) -> dict:
    return {"title": clean(p["title"]), "text": clean(p["text"]), "record": record.encode()}


class SearchIndex:
    """The search of a world, opened for reading. Raises UserError when there is none."""

    def __init__(self, folder: Path):
        self._products = Index(folder / "products", _PRODUCTS)
        self._pages = Index(folder / "pages", _PAGES)

    def products(
        self,
        query: str,
        *,
        category: str | None = None,
        min_price: float | None = None,
        max_price: float | None = None,
        min_rating: float | None = None,
        brand: str | None = None,
        sort: str = "relevance",
        limit: int = 10,
        offset: int = 0,
    ) -> list[str]:
        """Product ids, best first, or in one of SORTS. Without a usable term, everything that passes the filters (if there are any)."""
        found = self.product_query(query, category=category, min_price=min_price, max_price=max_price, min_rating=min_rating, brand=brand)
        if found is None:
            return []
        if sort == "relevance":
            return _ranked(self._products, found, query, limit, offset)
        return ordered(self._products, found, *SORTS[sort], limit, offset)

    def product_query(
        self, query: str, *, category: str | None = None, min_price: float | None = None, max_price: float | None = None, min_rating: float | None = None, brand: str | None = None
    ) -> Query | None:
        """What `products` asks of the engine; None when nothing can match."""
        filters = []
        if category is not None:
            filters.append(self._of_category(category))
        if min_price is not None or max_price is not None:
            filters.append(self._range("price", min_price, max_price))
        if min_rating is not None:
            filters.append(self._range("rating", min_rating, None))
        if brand is not None:
            filters.append(self._term("brand_name", fold(clean(brand))))
        text = _text_query(self._products, PRODUCT_BOOSTS, query)
        if text is None and not filters:
            return None
        parts = [(Occur.Must, Query.boost_query(f, 0.0)) for f in filters]
        if text is not None:
            parts.append((Occur.Should if category is not None else Occur.Must, text))
        return Query.boolean_query(parts)

    def pages(self, query: str, *, limit: int = 10) -> list[str]:
        """Page ids, best first."""
        text = _text_query(self._pages, PAGE_BOOSTS, query)
        return _ranked(self._pages, text, query, limit, 0) if text is not None else []

    def product(self, id: str) -> tuple[bytes, bytes] | None:
        """The record of a product and its reviews, as JSON."""
        found = self._products.stored(id)
        return (found.get_first("record"), found.get_first("reviews")) if found else None

    def page(self, id: str) -> bytes | None:
        """The record of a page, as JSON."""
        found = self._pages.stored(id)
        return found.get_first("record") if found else None

    def in_category(self, category: str, limit: int) -> list[str]:
        """Sorted ids of the products of a category; of more than `limit`, of the first ones in the catalogue."""
        return self._products.first_ids(self._of_category(category), limit)

    @functools.cached_property
    def whole(self) -> bool:
        """False for an index of an older prstack, which knows neither brands as a whole nor variants nor counts of reviews."""
        return self._products.has("brand_name")

    def has_brand(self, brand: str) -> bool:
        return self._products.searcher.doc_freq("brand_name", fold(clean(brand))) > 0

    def near_brands(self, brand: str, limit: int = 3) -> list[str]:
        """Brands that are spelled nearly so, as products spell them, the nearest first; compared with the largest brands and with
        those that begin with the same letters."""
        wanted, searcher = fold(clean(brand)), self._products.searcher
        known = dict(searcher.terms_with_prefix("brand_name", "", limit=_BRANDS) + searcher.terms_with_prefix("brand_name", wanted[:2], limit=_BRANDS))
        return [self._spelled(name) for name in difflib.get_close_matches(wanted, sorted(known), n=limit, cutoff=0.6)]

    def largest_brands(self, limit: int = 3) -> list[str]:
        """Those with the most products."""
        return [self._spelled(name) for name, _ in self._products.searcher.terms_with_prefix("brand_name", "", limit=limit)]

    def _spelled(self, brand: str) -> str:
        hits = self._products.searcher.search(self._term("brand_name", brand), 1, count=False).hits
        return json.loads(self._products.searcher.doc(hits[0][1]).get_first("record"))["brand"]

    def variants(self, parent_id: str, limit: int) -> list[str]:
        """Sorted ids of the products of a parent; of more than `limit`, of the first ones in the catalogue."""
        return self._products.first_ids(self._term("parent", clean(parent_id)), limit) if self.whole else []

    def alike(self, title: str, category: str, brand: str, price: float | None, parent_id: str, limit: int) -> list[str]:
        """Ids of the products of a category whose titles share most with one, the brand aside; of equal ones, those whose price is
        nearest. None of `parent_id`. Of more than 128 that are equal, the first ones of the catalogue take part."""
        index = self._products
        aside = set(index.analyser.analyze(clean(brand)))
        found = {t: index.searcher.doc_freq("title", t) for t in _terms(index, title) if t not in aside and not t.isdigit()}
        rarest = sorted((t for t, count in found.items() if count > 1), key=found.__getitem__)[:_RAREST]
        parts = [(Occur.Must, Query.boost_query(self._of_category(category), 0.0))]
        parts += [(Occur.Should, Query.term_query(index.schema, "title", t, "freq")) for t in rarest]
        if parent_id and self.whole:
            parts.append((Occur.MustNot, self._term("parent", clean(parent_id))))
        hits = index.searcher.search(Query.boolean_query(parts), _ALIKE, count=False).hits
        prices = index.searcher.fast_field_values("price", [address for _, address in hits]) if hits else []
        far = [abs(other - price) if None not in (other, price) else math.inf for other in prices]
        keyed = sorted((-round(score, 2), distance, id, address) for (score, address), distance, id in zip(hits, far, index.ids(hits)))
        return [index.found(id.decode(), address) for _, _, id, address in keyed[:limit]]

    def _of_category(self, category: str) -> Query:
        return self._term("category", category_key(clean(category)))

    def _term(self, field: str, value: str) -> Query:
        return Query.term_query(self._products.schema, field, value, "basic")

    def _range(self, field: str, lower: float | None, upper: float | None) -> Query:
        bounds = {"lower_bound": None if lower is None else float(lower), "upper_bound": None if upper is None else float(upper)}
        return Query.range_query(self._products.schema, field, FieldType.Float, **bounds)

    def snippet(self, query: str, text: str) -> str:
        """The sentence with most of the query's terms, the first one among equals."""
        wanted = set(_terms(self._pages, query))
        sentences = [s for line in text[:6000].splitlines() for s in line.replace("? ", "?\n").replace(". ", ".\n").splitlines() if s.strip()]
        best = max(sentences, key=lambda s: len(wanted & set(self._pages.analyser.analyze(clean(s)))), default="")
        return best[:SNIPPET]


def _terms(index: Index, query: str) -> list[str]:
    return list(dict.fromkeys(index.analyser.analyze(clean(query))))[:_MAX_TERMS]


def _text_query(index: Index, boosts: dict[str, float], query: str) -> Query | None:
    parts = []
    for term in _terms(index, query):
        for field, boost in boosts.items():
            parts.append((Occur.Should, Query.boost_query(Query.term_query(index.schema, field, term, "freq"), boost)))
    return Query.boolean_query(parts) if parts else None


def _ranked(index: Index, query: Query, salt: str, limit: int, offset: int) -> list[str]:
    """Ids of the hits from `offset` on, ties broken. Hits behind the last score that is shown are not looked at."""
    hits = index.searcher.search(query, limit + offset + _TIES, count=False).hits
    rounded = {score: round(score, 2) for score in {score for score, _ in hits}}
    last = rounded[hits[min(len(hits), limit + offset) - 1][0]] if hits else 0.0
    hits = [hit for hit in hits if rounded[hit[0]] >= last]
    salted, keyed = hashlib.blake2b(f"{salt}\0".encode("utf-8", "replace"), digest_size=8), []
    for (score, address), id in zip(hits, index.ids(hits)):
        digest = salted.copy()
        digest.update(id)
        keyed.append((-rounded[score], digest.digest(), id, address))
    keyed.sort()
    return [index.found(id.decode(), address) for _, _, id, address in keyed[offset : offset + limit]]
