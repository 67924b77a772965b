"""What a world holds: `prstack world stats`. One pass over its Parquet files; memory grows with prices, not with records."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

from prstack.types import Product
from prstack.world.diversity import Diversity, diversity
from prstack.world.names import common
from prstack.world.world import World

SAMPLE = 2000
"""Products whose texts are compared, and products of a category whose numbers are kept."""


@dataclass(slots=True)
class CategoryStats:
    """`currency` is that of most prices; `prices` are in it, ascending."""

    name: str
    products: int = 0
    available: int = 0
    brands: Counter[str] = field(default_factory=Counter)
    prices: list[float] = field(default_factory=list)
    currency: str = ""
    attributes: Counter[str] = field(default_factory=Counter)
    numeric: int = 0
    """Attribute values that are numbers."""
    numbers: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """(attribute, unit) → values, of at most `SAMPLE` products."""

    def price_at(self, share: float) -> float | None:
        """The price below which `share` of the products lie."""
        return self.prices[min(len(self.prices) - 1, int(share * len(self.prices)))] if self.prices else None


@dataclass(slots=True)
class Stats:
    products: int
    reviews: int
    pages: dict[str, int]
    """Pages by kind."""
    users: int
    events: dict[str, int]
    """Events by type."""
    ratings: dict[int, int]
    """Reviews by stars, rounded."""
    reviewed: dict[int, int]
    """Products by how many reviews their listing counts, up to 20 (which is more)."""
    unrated: int
    """Products without a rating."""
    categories: list[CategoryStats]
    """The largest first."""
    texts: Diversity | None
    """Of titles and descriptions; None for fewer than two products."""


def describe(world: World, seed: int = 0) -> Stats:
    categories: dict[str, CategoryStats] = {}
    currencies: dict[str, Counter[str]] = {}
    sample: list[str] = []
    reviewed: Counter[int] = Counter()
    rng, products, unrated = random.Random(seed), 0, 0
    for products, p in enumerate(world.products(), 1):
        stats = categories.setdefault(p.category, CategoryStats(p.category))
        _count(stats, p)
        currencies.setdefault(p.category, Counter())[p.currency] += p.price is not None
        reviewed[min(20, p.n_reviews)] += 1
        unrated += p.rating is None
        if len(sample) < SAMPLE:
            sample.append(f"{p.title}. {p.description}")
        elif (at := rng.randrange(products)) < SAMPLE:
            sample[at] = f"{p.title}. {p.description}"
    for name, stats in categories.items():
        stats.currency = currencies[name].most_common(1)[0][0]
        stats.prices.sort()
        _fold(stats)
    ratings: Counter[int] = Counter()
    for review in world.reviews():
        ratings[round(review.rating)] += 1
    events: Counter[str] = Counter()
    users = 0
    for users, history in enumerate(world.histories(), 1):  # noqa: B007
        events.update(e.type for e in history.events)
    return Stats(
        products=products,
        reviews=ratings.total(),
        pages=dict(Counter(p.kind for p in world.pages())),
        users=users,
        events=dict(events.most_common()),
        ratings={stars: ratings[stars] for stars in sorted(ratings)},
        reviewed=dict(reviewed),
        unrated=unrated,
        categories=sorted(categories.values(), key=lambda c: (-c.products, c.name)),
        texts=diversity(sample, seed) if len(sample) > 1 else None,
    )


def _fold(stats: CategoryStats) -> None:
    """Makes one attribute of what sellers call differently."""
    shown, attributes, numbers = common(stats.attributes), stats.attributes, stats.numbers
    stats.attributes, stats.numbers = Counter(), {}
    for name, count in attributes.items():
        stats.attributes[shown[name]] += count
    for (name, unit), values in numbers.items():
        stats.numbers.setdefault((shown[name], unit), []).extend(values)


def _count(stats: CategoryStats, p: Product) -> None:
    stats.products += 1
    stats.available += p.available
    if p.brand:
        stats.brands[p.brand] += 1
    if p.price is not None:
        stats.prices.append(p.price)
    for a in islice(p.attributes, 40):
        stats.attributes[a.name] += 1
        stats.numeric += a.number is not None
        if a.number is not None and stats.products <= SAMPLE:
            stats.numbers.setdefault((a.name, a.unit), []).append(a.number)
