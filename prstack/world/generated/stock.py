"""Products, false listings and reviews of the generated world, each from its own random stream (`prstack.world.generated.source`)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np

from prstack.types import Attribute, Product, Review
from prstack.world.generated.catalogue import COLOURS, EXTRAS, SERIES, Category
from prstack.world.generated.shelf import ROW, Shelf, attribute, id_of
from prstack.world.opinions import opinion

CONTRADICTED = 0.12
"""Share of products with one listed value that reviews and tests contradict."""
AVAILABLE = 0.95
FOLLOWS = 0.4
"""Share of a numeric attribute's goodness that is the product's quality; the rest is chance."""
TASTE = 1.6
"""Stars by which a reviewer may differ from what the attributes deserve, up or down."""
GOOD, BAD = 0.6, 0.4
"""Goodness (rank in the category, 1 is best) from which reviewers praise, and below which they blame."""
REVIEWS = (0, 2, 3, 3, 4, 5, 6)
"""Numbers of reviews, each as likely as the others."""
NEUTRAL = (
    "Arrived in two days.",
    "The box was a little dented.",
    "Bought it as a present.",
    "I have had it for a month now.",
    "Setting it up was explained well.",
    "The colour is as in the pictures.",
    "My neighbour has the same one.",
    "Delivery took a week.",
)


def product(seed: int, n: int, category: Category, brands: Sequence[str]) -> Product:
    """A product by its number in the world; its title is the series alone, until its number in that is known (`named`)."""
    rng = random.Random(f"{seed}/product/{n}")
    place = rng.choice(range(len(brands)))
    brand, tier = brands[place], (place + 0.5) / len(brands)
    quality = min(1.0, max(0.0, 0.6 * tier + 0.4 * rng.random()))
    low, high = category.price
    price = low * (high / low) ** min(1.0, max(0.0, 0.75 * quality + 0.25 * rng.random()))
    attributes = [attribute(spec, spec.steps(FOLLOWS * quality + (1 - FOLLOWS) * rng.random())) for spec in category.numeric]
    attributes += [Attribute(kind.name, rng.choice(kind.values)) for kind in category.kinds]
    series = f"{brand} {rng.choice(SERIES)}"
    uses = rng.sample(category.uses, 3)
    colour = rng.choice(COLOURS)
    made = rng.choice((f"Made with {uses[0]} and {uses[1]} in mind, and at home with {uses[2]} too.", f"For {uses[0]}, {uses[1]} and {uses[2]}.", f"Many of its owners use it for {uses[0]}; {uses[1]} and {uses[2]} are what it was drawn for."))
    description = f"{made} {rng.choice(('It comes in', 'The finish is', 'Shown here in'))} {colour}. {rng.choice(EXTRAS)}"
    return Product(
        id=id_of(n),
        title=series,
        category=category.name,
        brand=brand,
        price=shop_price(price),
        description=description,
        attributes=attributes,
        available=rng.random() < AVAILABLE,
    )


def shop_price(price: float) -> float:
    """A price as shops write it: $149.99, below a hundred in halves."""
    return round(price) - 0.01 if price >= 100 else round(price * 2) / 2


def named(p: Product, number: int | str, category: Category) -> Product:
    """The product under its whole title: the series, its number in it (`prstack.world.generated.shelf.model`), the noun."""
    p.title = f"{p.title} {number} {category.noun}"
    return p


def row(seed: int, n: int, p: Product, category: Category, brands: Sequence[str], series: int) -> tuple:
    """What a product says of itself, as a row (`prstack.world.generated.shelf.ROW`); what depends on others is still open."""
    steps = tuple(round((a.number - s.low) / s.step) for s, a in zip(category.numeric, p.attributes))
    kinds = tuple(k.values.index(a.value) for k, a in zip(category.kinds, p.attributes[len(steps) :]))
    return (n, brands.index(p.brand), series, 0, p.price, p.available, steps, kinds, -1, 0, review_stream(seed, p)[1], 0, n, (0, 0, 0, 0), 0, 0, n, 0)


def review_stream(seed: int, p: Product) -> tuple[random.Random, int]:
    """The random stream of a product's reviews, and how many it has."""
    rng = random.Random(f"{seed}/reviews/{p.id}")
    return rng, rng.choice(REVIEWS)


def contradict(seed: int, shelf: Shelf, p: Product, share: float = CONTRADICTED, unlisted: int = 0) -> tuple[int, int] | None:
    """A false listing, a good listed value whose true value is bad: (place of the attribute, step of the true value).

    `share` of the products have one; never an attribute that the listing leaves out (places as bits).
    """
    rng = random.Random(f"{seed}/contradiction/{p.id}")
    if rng.random() >= share:
        return None
    listed_well = [j for j, s in enumerate(shelf.category.numeric) if not unlisted >> j & 1 and shelf.goodness(s, p.attributes[j].number) > GOOD]
    if not listed_well:
        return None
    place = rng.choice(listed_well)
    return place, shelf.category.numeric[place].steps(rng.uniform(0.0, 0.25))


def reviews(seed: int, shelf: Shelf, p: Product, false: tuple[int, int] | None, first: int) -> list[Review]:
    """A product's reviews, numbered from `first` + 1; sets its rating."""
    feels = {s.name: shelf.goodness(s, a.number) for s, a in zip(shelf.category.numeric, p.attributes)}
    false_name = shelf.category.numeric[false[0]].name if false else ""
    if false:
        feels[false_name] = 0.0
    mean = sum(feels.values()) / len(feels)
    rng, count = review_stream(seed, p)
    out = []
    for n in range(count):
        told = rng.sample(list(feels), 2)
        if false and n < 2 and false_name not in told:
            told[0] = false_name
        opinions = [opinion(a, feels[a] >= GOOD, rng) for a in told if feels[a] >= GOOD or feels[a] < BAD]
        stars = min(5, max(1, round(1.6 + 3.2 * mean + rng.uniform(-TASTE, TASTE))))
        text = " ".join([*opinions, rng.choice(NEUTRAL)] if rng.random() < 0.6 or not opinions else opinions)
        out.append(Review(f"R{first + n + 1}", p.id, float(stars), text, user_id=f"reviewer-{rng.randrange(10_000):04d}"))
    p.n_reviews = len(out)
    p.rating = round(sum(r.rating for r in out) / len(out), 1) if out else None
    return out


def make_shelf(seed: int, category: Category, products: int, brands: list[str]) -> tuple[Shelf, list[Review]]:
    """One category's products and their reviews by themselves, for text that is not a world (`prstack.pretrain`)."""
    made = [product(seed, n, category, brands) for n in range(products)]
    rows = np.array([row(seed, n, p, category, brands, 0) for n, p in enumerate(made)], dtype=ROW)
    numbers: Counter[str] = Counter()
    for p in made:
        numbers[p.title] += 1
        named(p, numbers[p.title], category)
    shelf, said = Shelf(category, brands, rows, made), []
    for n, p in enumerate(made):
        false = contradict(seed, shelf, p)
        if false:
            rows["false"][n], rows["true"][n] = false
        said += reviews(seed, shelf, p, false, len(said))
    return shelf, said
