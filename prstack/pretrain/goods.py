"""Categories that no world sells, with attributes of their own: breadth for a model that would otherwise know fourteen.

`invent` draws a category: a name, four numeric attributes with a unit and a range, two attributes of kind
(`prstack.pretrain.names`). `stock` fills its shelf as the generated world fills its own.
"""

from __future__ import annotations

import random

from prstack.pretrain import names
from prstack.types import Page, Product, Review
from prstack.world.catalogue import BRANDS, CATEGORIES, Category, Kind, Numeric
from prstack.world.holdout import held_out_category
from prstack.world.pages import shelf_pages as world_pages
from prstack.world.stock import make_shelf

USES = ("weekends", "small flats", "beginners", "busy families", "the garden", "the workshop", "students", "holidays", "winter", "early mornings", "presents", "daily use")
SOLD_SHARE = 0.3
"""Share of shelves that are of a world's own categories (but for those held out)."""


def invent(rng: random.Random) -> Category:
    """A category that no world sells."""
    noun = names.goods(rng)
    numeric: dict[str, Numeric] = {}
    while len(numeric) < 4:
        name, m = names.numeric(rng)
        span = (m.high - m.low) * rng.uniform(0.3, 1.0)
        start = round(rng.uniform(m.low, m.high - span) / m.step) * m.step
        high = start + max(m.step * 4, round(span / m.step) * m.step)
        numeric.setdefault(name, Numeric(name, m.unit, round(start, 4), round(high, 4), m.step, m.better, "owners ask for it"))
    kinds: dict[str, Kind] = {}
    while len(kinds) < 2:
        name, values = names.kind(rng)
        if name not in numeric and len(values) > 1:
            kinds.setdefault(name, Kind(name, values, "a matter of taste"))
    low = rng.uniform(8, 300)
    return Category(_plural(noun), noun, (low, low * rng.uniform(2, 9)), tuple(numeric.values()), tuple(kinds.values()), tuple(rng.sample(USES, 8)))


def _plural(noun: str) -> str:
    if noun.endswith(("x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("shelf"):
        return f"{noun[:-1]}ves"
    return noun if noun.endswith("s") else f"{noun.removesuffix('fe')}ves" if noun.endswith("fe") else f"{noun}s"


def _category(rng: random.Random) -> Category:
    sold = [c for c in CATEGORIES if not held_out_category(c.name)]
    return rng.choice(sold) if rng.random() < SOLD_SHARE else invent(rng)


def brands(rng: random.Random) -> list[str]:
    """Names of makers: some known, some of syllables."""
    made = [names.coined(rng).capitalize() for _ in range(6)]
    return [*rng.sample(BRANDS, 4), *made]


def shelf_pages(rng: random.Random) -> list[Page]:
    """Guides, lab tests and threads about a shelf."""
    shelf, _ = make_shelf(rng.randrange(1 << 30), _category(rng), 8, brands(rng))
    pages = list(world_pages(rng.randrange(1 << 30), shelf))
    for p in pages:
        p.id = f"W{rng.randrange(1, 900)}"
    return pages


def stock(rng: random.Random, products: int) -> tuple[Category, list[Product], list[Review]]:
    """A shelf of `products` products and their reviews, under ids that are drawn anew for each shelf."""
    category = _category(rng)
    shelf, reviews = make_shelf(rng.randrange(1 << 30), category, products, brands(rng))
    numbers = rng.sample(range(100, 10_000) if rng.random() < 0.7 else range(10_000, 1_000_000), products)
    ids = {p.id: f"P{n}" for p, n in zip(shelf.products, numbers, strict=True)}
    first = rng.randrange(1, 9000)
    for n, r in enumerate(reviews):
        r.id, r.product_id = f"R{first + n}", ids[r.product_id]
    for p in shelf.products:
        p.id = ids[p.id]
    return category, shelf.products, reviews
