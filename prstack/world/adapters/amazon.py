"""Amazon Reviews, the release of 2023 and the one of 2018, as a world: products from meta files, reviews, and what their authors
bought as histories.

- Files of the folder: `meta_*.jsonl` or `meta_*.json`, a product a line; every other `*.jsonl` or `*.json`, a review a line; all also
  as `.gz`. The release is told from each record: `parent_asin` stands in those of 2023, `asin` alone in those of 2018.
- A product of 2023 is a parent: its reviews name it in `parent_asin`. The category is the path of `categories`, the shop's
  department where there is none, else "Other". The brand is the `store`, else the brand of the details.
- A price that is no single amount ("$12.99 - $24.99", scraps of the page) is left open, and counted as `prices_unread`.
- Attributes are what `details` says in short; ranks, dates and codes are left out.
- Reviews of products that the meta files do not hold are counted as `reviews_unlisted`. The others are sorted by user and time on disk, where
  the same review again stands beside the first: it is merged, or quarantined if its stars differ.
- A user's history is their reviews, oldest first, a purchase before each verified one. Users with fewer than `world.min_events`
  events have none; they are counted as `users_skipped`.

Sources: Hou et al. 2024, "Bridging Language and Items for Retrieval and Recommendation" (2023); Ni, Li, McAuley 2019, "Justifying
Recommendations using Distantly-Labeled Reviews and Fine-Grained Aspects" (2018). The data is not part of prstack.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.store.records import Bad, read_json_lines
from prstack.types import Event, History, Product, Review
from prstack.world.adapters.fields import (
    NO_CATEGORY,
    FieldError,
    about,
    again,
    attributes,
    brand,
    clean,
    files,
    get,
    identifier,
    made,
    number,
    take,
    text,
)
from prstack.world.material import Material
from prstack.world.ondisk import Dictionary, Sorter
from prstack.world.units import price as read_price

ENDINGS = ("*.jsonl", "*.jsonl.gz", "*.json", "*.json.gz")
MAX_DESCRIPTION = 4000
_NOT_ATTRIBUTES = {
    "best sellers rank", "amazon best sellers rank", "asin", "upc", "date first available", "domestic shipping", "international shipping", "shipping weight",
    "customer reviews", "average customer review", "is discontinued by manufacturer", "brand", "brand name",
}  # fmt: skip


def read(config: WorldConfig, folder: Path, material: Material, scratch: Path) -> None:
    """Raises UserError when the folder holds no meta file, or (as it is read) a packed file is cut off."""
    meta = files(folder, *(f"meta_{e}" for e in ENDINGS))
    if not meta:
        raise UserError(f"{folder}: there is no meta_*.jsonl(.gz) or meta_*.json(.gz) here; Amazon Reviews keeps its products in such files")
    products: Dictionary[str, Product] = Dictionary(scratch)
    make = partial(_product, material.counts)
    material.products = chain.from_iterable(take(material, "products", path, partial(read_json_lines, path), make, lambda p: p.id, products) for path in meta)
    said = Sorter(scratch)
    material.reviews = _reviews(material, [path for path in files(folder, *ENDINGS) if path not in meta], products, said, Sorter(scratch))
    material.histories = lambda world: _histories(config, material, products, said)


def _product(counts: dict[str, int], row: dict) -> Product:
    id = identifier(row, "parent_asin" if "parent_asin" in row else "asin")
    details = row.get("details")
    if isinstance(details, str):  # as in the Parquet files of 2023
        try:
            details = json.loads(details)
        except ValueError as e:
            raise FieldError("details", f"expected a JSON object, found {details!r}"[:120]) from e
    details = details if isinstance(details, dict) else {}
    details = {k.strip(" :\n\t\u200e"): v for k, v in details.items() if isinstance(k, str)}
    named = {k.casefold(): v for k, v in details.items() if isinstance(v, str)}
    amount = row.get("price")
    if isinstance(amount, str):
        amount = read_price(amount)
    if row.get("price") not in (None, "", "None") and amount is None:
        counts["prices_unread"] = counts.get("prices_unread", 0) + 1
    if amount is not None and (isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < 1e9):
        raise FieldError("price", f"expected a price, found {row['price']!r}"[:120])
    said = [text(row, f) for f in ("features" if "features" in row else "feature", "description")]
    return Product(
        id=id,
        title=text(row, "title", required=True),
        category=_category(row),
        brand=brand(text(row, "store") or text(row, "brand") or clean(named.get("brand") or named.get("brand name") or named.get("manufacturer") or "")),
        price=float(amount) if amount is not None else None,
        rating=number(row, "average_rating", 0, 5) or None,
        n_reviews=int(number(row, "rating_number", 0, 1e9) or 0),
        description=" ".join(filter(None, said))[:MAX_DESCRIPTION],
        attributes=attributes(details.items(), without=_NOT_ATTRIBUTES),
    )


def _category(row: dict) -> str:
    path = row.get("categories") or row.get("category") or []
    path = path[0] if path and isinstance(path[0], list) else path  # 2014 and parts of 2018: a list of paths
    if not isinstance(path, list) or not all(isinstance(level, str) for level in path):
        raise FieldError("categories", f"expected a list of texts, found {path!r}"[:120])
    levels = [clean(level).replace(">", "/") for level in path if len(level) < 80 and "<" not in level]
    return " > ".join(filter(None, levels)) or text(row, "main_category") or text(row, "main_cat") or NO_CATEGORY


class _Said(NamedTuple):
    """A review as its file has it; the time in milliseconds."""

    user: str
    time: int
    product: str
    rating: float
    text: str
    verified: bool


def _review(products: Collection[str], row: dict) -> _Said | None:
    """None for a review of a product that is not listed."""
    new = "rating" in row
    product = identifier(row, "parent_asin" if "parent_asin" in row else "asin")
    user = identifier(row, "user_id" if new else "reviewerID")
    rating = number(row, "rating" if new else "overall", 1, 5)
    if rating is None:
        raise FieldError("rating" if new else "overall", "expected a number, found nothing")
    time = get(row, "timestamp" if new else "unixReviewTime", (int, float))
    milliseconds = int(time if new else time * 1000)
    if not 0 <= milliseconds < 4e12:
        raise FieldError("timestamp" if new else "unixReviewTime", f"expected a time, found {time}")
    head, body = text(row, "title" if new else "summary"), text(row, "text" if new else "reviewText")
    if product not in products:
        return None
    joined = body if not head or body.startswith(head) else f"{head}. {body}" if head[-1] not in ".!?" else f"{head} {body}"
    verified = row.get("verified_purchase" if new else "verified") is True
    return _Said(user, milliseconds, product, rating, joined.strip(), verified)


def _reviews(material: Material, paths: list[Path], products: Collection[str], said: Sorter, kept: Sorter) -> Iterator[Review]:
    """The reviews of the files, in their order, each once: sorted into `said`, which serves the histories too, and back in `kept`."""
    n = 0
    for at, path in enumerate(paths):
        for line, review in made(material, "reviews", path, partial(read_json_lines, path), partial(_review, products)):
            n += 1
            said.add((review.user, review.time), (n, at, line, tuple(review)))
    material.counts.setdefault("reviews_merged", 0)

    def on_again(at: int, line: int, review: _Said, first: _Said) -> None:
        key = (review.user, review.product, review.time, review.text)
        again(material, "reviews", Bad(str(paths[at]), line, "id", "", review.text[:200]), key, review.rating == first.rating)

    for n, review in _distinct(said, on_again):
        kept.add(n, tuple(review))
    for n, (_, fields) in enumerate(kept, 1):
        review = _Said._make(fields)
        yield Review(f"R{n}", review.product, review.rating, review.text, review.user)


def _distinct(said: Sorter, on_again: Callable[[int, int, _Said, _Said], None] = lambda *_: None) -> Iterator[tuple[int, _Said]]:
    """(number, review) of the first review of each user, product, time and text, by user and time; the others go to `on_again` with
    the number of their file, their line, and the first."""
    for _, at_once in groupby(said, key=itemgetter(0)):
        seen: dict[tuple[str, str], _Said] = {}
        for _, (n, at, line, fields) in at_once:
            review = _Said._make(fields)
            first = seen.setdefault((review.product, review.text), review)
            if first is review:
                yield n, review
            else:
                on_again(at, line, review, first)


def _histories(config: WorldConfig, material: Material, products: Mapping[str, Product], said: Sorter) -> Iterator[History]:
    """By user id. Counts `users_skipped`."""
    material.counts["users_skipped"] = 0
    for user, group in groupby((review for _, review in _distinct(said)), key=lambda review: review.user):
        reviews = list(group)
        if len(reviews) + sum(review.verified for review in reviews) < config.min_events:
            material.counts["users_skipped"] += 1
            continue
        events: list[Event] = []
        for review in reviews:
            day = datetime.fromtimestamp(review.time / 1000, UTC).date().isoformat()
            of = about(products[review.product])
            if review.verified:
                events.append(Event(f"{user}-e{len(events) + 1}", "purchase", day, **of))
            events.append(Event(f"{user}-e{len(events) + 1}", "review", day, rating=review.rating, text=review.text, **of))
        yield History(user, events)
