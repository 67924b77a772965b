"""Search over products and pages: BM25 with field boosts and filters, in tantivy.

1. A query is cut into stemmed terms by the analyser that made the index, so that it may hold any characters; the query
   language of the engine is not used. A document scores the boosted sum over its fields; one matching term is enough.
2. Filters (category, price, rating) exclude and do not score. Within a category the terms rank only; without one, a
   product must match at least one term. A category is named by its whole path, the start of one, or
   one level (`prstack.world.match.in_category`). A product without a price or rating fails a filter on it.
3. Equal scores (to two decimals) are ordered by a hash of query and id: the same query always gives the same order, and
   different queries do not always show the same ones of many equal products.

Attributes and reviews are not indexed: what decides is on the product's page. Whole records are stored in the index and
read by id, so that opening a world reads nothing and any number of processes share one copy through the page cache.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import tantivy
from tantivy import FieldType, Filter, Occur, Query, TextAnalyzerBuilder, Tokenizer

from prstack.errors import UserError
from prstack.types import Page, Product
from prstack.world.match import category_key, category_keys

PRODUCT_BOOSTS = {"title": 3.0, "category_text": 2.0, "brand": 2.0, "description": 1.0}
PAGE_BOOSTS = {"title": 2.0, "text": 1.0}
SNIPPET = 180
"""Length of a page's snippet, in characters."""
_MAX_TERMS, _MAX_DESCRIPTION, _TIES = 32, 4000, 60
_HEAP = 128 << 20
_ANALYSER = "shop"


def _analyser() -> tantivy.TextAnalyzer:
    chain = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(40)).filter(Filter.lowercase())
    return chain.filter(Filter.ascii_fold()).filter(Filter.stopword("english")).filter(Filter.stemmer("english")).build()


def _schema(texts: Iterable[str], numbers: Iterable[str] = ()) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("category", tokenizer_name="raw", index_option="basic")
    for name in texts:
        builder.add_text_field(name, tokenizer_name=_ANALYSER, index_option="freq")
    for name in numbers:
        builder.add_float_field(name, indexed=True, fast=True)
    builder.add_bytes_field("body", stored=True)
    return builder.build()


def clean(text: str) -> str:
    """Text that the index takes: no lone surrogates, no null characters."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")


class _Index:
    """One tantivy index in a folder."""

    def __init__(self, folder: Path, schema: tantivy.Schema, boosts: dict[str, float], create: bool = False):
        self.schema, self.boosts, self.analyser = schema, boosts, _analyser()
        if create:
            folder.mkdir(parents=True, exist_ok=True)
            self.index = tantivy.Index(schema, str(folder))
        else:
            self.index = self._open(folder)
        self.index.register_tokenizer(_ANALYSER, self.analyser)
        self.searcher = self.index.searcher()

    def _open(self, folder: Path) -> tantivy.Index:
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no search index; run `prstack world` first")
        if not os.access(folder, os.W_OK):  # opening takes a lock file, so a read-only folder is opened through links
            self._links = tempfile.TemporaryDirectory(prefix="prstack-index-")
            for file in folder.iterdir():
                if not file.name.endswith(".lock"):
                    os.symlink(file.resolve(), os.path.join(self._links.name, file.name))
            folder = Path(self._links.name)
        try:
            return tantivy.Index.open(str(folder))
        except ValueError as e:
            raise UserError(f"{folder}: the search index cannot be opened ({e}); remove the world and run `prstack world` again") from e

    def write(self, documents: Iterable[tantivy.Document]) -> int:
        writer, n = self.index.writer(heap_size=_HEAP, num_threads=1), 0
        for n, document in enumerate(documents, 1):  # noqa: B007
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        self.index.reload()
        self.searcher = self.index.searcher()
        return n

    def body(self, id: str) -> bytes | None:
        """The stored record of an id."""
        hits = self.searcher.search(Query.term_query(self.schema, "id", clean(id), "basic"), 1, count=False).hits
        return bytes(self.searcher.doc(hits[0][1]).get_first("body")) if hits else None

    def terms(self, query: str) -> list[str]:
        return list(dict.fromkeys(self.analyser.analyze(clean(query))))[:_MAX_TERMS]

    def text_query(self, query: str) -> Query | None:
        parts = []
        for term in self.terms(query):
            for field, boost in self.boosts.items():
                parts.append((Occur.Should, Query.boost_query(Query.term_query(self.schema, field, term, "freq"), boost)))
        return Query.boolean_query(parts) if parts else None

    def ranked(self, query: Query, salt: str, limit: int, offset: int) -> list[str]:
        """Ids of the hits from `offset` on, ties broken."""
        hits = self.searcher.search(query, limit + offset + _TIES, count=False).hits
        ids = [(round(score, 2), self.searcher.doc(address).get_first("id")) for score, address in hits]
        ids.sort(key=lambda h: (-h[0], hashlib.blake2b(f"{salt}\0{h[1]}".encode(), digest_size=8).digest()))
        return [i for _, i in ids[offset : offset + limit]]

    def all_ids(self, query: Query) -> list[str]:
        hits = self.searcher.search(query, max(1, self.searcher.num_docs), count=False).hits
        return sorted(self.searcher.doc(address).get_first("id") for _, address in hits)


class SearchIndex:
    """The search of a world. `build` writes it; `SearchIndex(folder)` opens it for reading."""

    def __init__(self, folder: Path, *, create: bool = False):
        products = _schema(PRODUCT_BOOSTS, ("price", "rating"))
        self._products = _Index(folder / "products", products, PRODUCT_BOOSTS, create)
        self._pages = _Index(folder / "pages", _schema(PAGE_BOOSTS), PAGE_BOOSTS, create)

    @staticmethod
    def build(folder: Path, products: Iterable[tuple[Product, bytes]], pages: Iterable[tuple[Page, bytes]]) -> SearchIndex:
        """Indexes (record, body) pairs; the body is what `product_body` and `page_body` give back."""
        index = SearchIndex(folder, create=True)
        index._products.write(_product_document(p, body) for p, body in products)
        index._pages.write(_page_document(p, body) for p, body in pages)
        return index

    def products(
        self,
        query: str,
        *,
        category: str | None = None,
        min_price: float | None = None,
        max_price: float | None = None,
        min_rating: float | None = None,
        limit: int = 10,
        offset: int = 0,
    ) -> list[str]:
        """Product ids, best first. Without a usable term, everything that passes the filters (if there are any)."""
        filters = []
        if category is not None:
            filters.append(Query.term_query(self._products.schema, "category", category_key(clean(category)), "basic"))
        if min_price is not None or max_price is not None:
            filters.append(self._range("price", min_price, max_price))
        if min_rating is not None:
            filters.append(self._range("rating", min_rating, None))
        text = self._products.text_query(query)
        if text is None and not filters:
            return []
        parts = [(Occur.Must, Query.boost_query(f, 0.0)) for f in filters]
        if text is not None:
            parts.append((Occur.Should if category is not None else Occur.Must, text))
        full = Query.boolean_query(parts)
        return self._products.ranked(full, query, limit, offset)

    def pages(self, query: str, *, limit: int = 10) -> list[str]:
        """Page ids, best first."""
        text = self._pages.text_query(query)
        return self._pages.ranked(text, query, limit, 0) if text is not None else []

    def product_body(self, id: str) -> bytes | None:
        return self._products.body(id)

    def page_body(self, id: str) -> bytes | None:
        return self._pages.body(id)

    def in_category(self, category: str) -> list[str]:
        """Sorted ids of all products of a category."""
        return self._products.all_ids(Query.term_query(self._products.schema, "category", category_key(clean(category)), "basic"))

    def _range(self, field: str, lower: float | None, upper: float | None) -> Query:
        bounds = {"lower_bound": None if lower is None else float(lower), "upper_bound": None if upper is None else float(upper)}
        return Query.range_query(self._products.schema, field, FieldType.Float, **bounds)

    def snippet(self, query: str, text: str) -> str:
        """The sentence with most of the query's terms, the first one among equals."""
        wanted = set(self._pages.terms(query))
        sentences = [s for line in text[:6000].splitlines() for s in line.replace("? ", "?\n").replace(". ", ".\n").splitlines() if s.strip()]
        best = max(sentences, key=lambda s: len(wanted & set(self._pages.analyser.analyze(clean(s)))), default="")
        return best[:SNIPPET]


def _product_document(p: Product, body: bytes) -> tantivy.Document:
    fields: dict = {
        "id": clean(p.id),
        "category": sorted(clean(k) for k in category_keys(p.category)),
        "category_text": clean(p.category.replace(">", " ")),
        "title": clean(p.title),
        "brand": clean(p.brand),
        "description": clean(p.description[:_MAX_DESCRIPTION]),
        "body": body,
    }
    if p.price is not None:
        fields["price"] = float(p.price)
    if p.rating is not None:
        fields["rating"] = float(p.rating)
    return tantivy.Document(**fields)


def _page_document(p: Page, body: bytes) -> tantivy.Document:
    return tantivy.Document(id=clean(p.id), title=clean(p.title), text=clean(p.text), body=body)
