"""The generated world: a catalogue with typed truth, in which the first search hits are mostly not the answer.

1. Brands have a tier in each category. A product's quality is its brand's tier plus noise; each numeric attribute follows
   the quality by two fifths and chance by three (`FOLLOWS`); the price follows the quality. So what a search line shows,
   price, brand and rating, says something, but decides nothing (`prstack.evaluation.worth` measures how much).
2. Titles are brand, series, model and noun; descriptions speak of uses, colours and the box. What decides is in the
   attributes, which only the product's page shows.
3. Reviewers praise and blame attributes by where they lie in the category. For some products one good listed value is
   contradicted: the true value is bad, its reviewers say so, and lab tests measure it. The listing keeps its claim.
4. Pages (`prstack.world.pages`) and users (`prstack.world.users`) are made from the same catalogue.

Every record has its own random stream, named by the seed and its number, so that the same seed gives the same world.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field

from prstack.settings import WorldConfig
from prstack.types import Attribute, Product, Review
from prstack.world.catalogue import BRANDS, CATEGORIES, COLOURS, EXTRAS, SERIES, Category, Numeric
from prstack.world.material import Contradiction, Material
from prstack.world.opinions import opinion
from prstack.world.pages import make_pages
from prstack.world.units import number_text
from prstack.world.users import make_histories

BRANDS_A_CATEGORY = 10
CONTRADICTED = 0.12
"""Share of products with one listed value that reviews and tests contradict."""
AVAILABLE = 0.95
FOLLOWS = 0.4
"""Share of a numeric attribute's goodness that is the product's quality; the rest is chance."""
TASTE = 1.6
"""Stars by which a reviewer may differ from what the attributes deserve, up or down."""
GOOD, BAD = 0.6, 0.4
"""Goodness (rank in the category, 1 is best) from which reviewers praise, and below which they blame."""
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


@dataclass(slots=True)
class Shelf:
    """One category's products with what is true of them."""

    category: Category
    products: list[Product] = field(default_factory=list)
    contradictions: dict[str, Contradiction] = field(default_factory=dict)
    _values: dict[str, list[float]] = field(default_factory=dict)

    def values(self, spec: Numeric) -> list[float]:
        """The listed values of an attribute, ascending. Fixed from the first call on."""
        if spec.name not in self._values:
            self._values[spec.name] = sorted(p.attribute(spec.name).number for p in self.products)
        return self._values[spec.name]

    def goodness(self, spec: Numeric, value: float) -> float:
        """Rank of a value in the category, 1 is best."""
        values = self.values(spec)
        rank = bisect_left(values, value) / max(1, len(values) - 1)
        return 1 - rank if spec.better == "low" else rank


def read(config: WorldConfig) -> Material:
    """The generated world of a configuration; histories are made once the catalogue is indexed."""
    shelves = _stock(config)
    reviews: list[Review] = []
    for shelf in shelves:
        _contradict(config, shelf)
        for product in shelf.products:
            reviews += _reviews(config, shelf, product, len(reviews))
    products = sorted((p for shelf in shelves for p in shelf.products), key=lambda p: int(p.id[1:]))
    material = Material(products, reviews, make_pages(config, shelves))
    material.contradictions = [c for shelf in shelves for c in shelf.contradictions.values()]
    material.histories = lambda world: make_histories(config, shelves, world, material.latent)
    return material


def make_shelf(seed: int, category: Category, products: int, brands: list[str]) -> tuple[Shelf, list[Review]]:
    """One category's products and their reviews by themselves, for text that is not a world (`prstack.pretrain`)."""
    config, shelf, titles = WorldConfig(seed=seed), Shelf(category), defaultdict(int)
    tiers = [(b, (n + 0.5) / len(brands)) for n, b in enumerate(brands)]
    for n in range(products):
        shelf.products.append(_product(n, category, random.Random(f"{seed}/product/{n}"), tiers, titles))
    _contradict(config, shelf)
    reviews: list[Review] = []
    for product in shelf.products:
        reviews += _reviews(config, shelf, product, len(reviews))
    return shelf, reviews


def _stock(config: WorldConfig) -> list[Shelf]:
    shelves = [Shelf(c) for c in CATEGORIES]
    tiers: dict[str, list[tuple[str, float]]] = {}
    for category in CATEGORIES:
        rng = random.Random(f"{config.seed}/brands/{category.name}")
        brands = rng.sample(BRANDS, BRANDS_A_CATEGORY)
        tiers[category.name] = [(b, (n + 0.5) / len(brands)) for n, b in enumerate(brands)]
    titles: dict[str, int] = defaultdict(int)
    for n in range(config.products):
        shelf = shelves[n % len(shelves)]
        rng = random.Random(f"{config.seed}/product/{n}")
        shelf.products.append(_product(n, shelf.category, rng, tiers[shelf.category.name], titles))
    return [s for s in shelves if s.products]


def _product(n: int, category: Category, rng: random.Random, brands: list[tuple[str, float]], titles: dict[str, int]) -> Product:
    brand, tier = rng.choice(brands)
    quality = min(1.0, max(0.0, 0.6 * tier + 0.4 * rng.random()))
    low, high = category.price
    price = low * (high / low) ** min(1.0, max(0.0, 0.75 * quality + 0.25 * rng.random()))
    attributes = [_numeric(spec, FOLLOWS * quality + (1 - FOLLOWS) * rng.random()) for spec in category.numeric]
    attributes += [Attribute(kind.name, rng.choice(kind.values)) for kind in category.kinds]
    series = f"{brand} {rng.choice(SERIES)}"
    titles[series] += 1
    uses = rng.sample(category.uses, 3)
    colour = rng.choice(COLOURS)
    made = rng.choice((f"Made with {uses[0]} and {uses[1]} in mind, and at home with {uses[2]} too.", f"For {uses[0]}, {uses[1]} and {uses[2]}.", f"Many of its owners use it for {uses[0]}; {uses[1]} and {uses[2]} are what it was drawn for."))
    description = f"{made} {rng.choice(('It comes in', 'The finish is', 'Shown here in'))} {colour}. {rng.choice(EXTRAS)}"
    return Product(
        id=f"P{1001 + n}",
        title=f"{series} {titles[series]} {category.noun}",
        category=category.name,
        brand=brand,
        price=round(price) - 0.01 if price >= 100 else round(price * 2) / 2,
        description=description,
        attributes=attributes,
        available=rng.random() < AVAILABLE,
    )


def _numeric(spec: Numeric, goodness: float) -> Attribute:
    """The value at a goodness in [0, 1], rounded to the attribute's step."""
    share = 1 - goodness if spec.better == "low" else goodness
    steps = round(share * (spec.high - spec.low) / spec.step)
    value = round(spec.low + steps * spec.step, 6)
    return Attribute(spec.name, f"{number_text(value)} {spec.unit}", value, spec.unit)


def _contradict(config: WorldConfig, shelf: Shelf) -> None:
    """Plants false listings: a good listed value whose true value is bad."""
    for product in shelf.products:
        rng = random.Random(f"{config.seed}/contradiction/{product.id}")
        listed_well = [s for s in shelf.category.numeric if shelf.goodness(s, product.attribute(s.name).number) > GOOD]
        if rng.random() >= CONTRADICTED or not listed_well:
            continue
        spec = rng.choice(listed_well)
        true = _numeric(spec, rng.uniform(0.0, 0.25))
        shelf.contradictions[product.id] = Contradiction(product.id, spec.name, product.attribute(spec.name).value, true.value)


def _reviews(config: WorldConfig, shelf: Shelf, product: Product, first: int) -> list[Review]:
    rng = random.Random(f"{config.seed}/reviews/{product.id}")
    false = shelf.contradictions.get(product.id)
    feels = {s.name: shelf.goodness(s, product.attribute(s.name).number) for s in shelf.category.numeric}
    if false:
        feels[false.attribute] = 0.0
    mean = sum(feels.values()) / len(feels)
    out = []
    for n in range(rng.choice((0, 2, 3, 3, 4, 5, 6))):
        told = rng.sample(list(feels), 2)
        if false and n < 2 and false.attribute not in told:
            told[0] = false.attribute
        opinions = [opinion(a, feels[a] >= GOOD, rng) for a in told if feels[a] >= GOOD or feels[a] < BAD]
        stars = min(5, max(1, round(1.6 + 3.2 * mean + rng.uniform(-TASTE, TASTE))))
        text = " ".join([*opinions, rng.choice(NEUTRAL)] if rng.random() < 0.6 or not opinions else opinions)
        out.append(Review(f"R{first + n + 1}", product.id, float(stars), text, user_id=f"reviewer-{rng.randrange(10_000):04d}"))
    product.n_reviews = len(out)
    product.rating = round(sum(r.rating for r in out) / len(out), 1) if out else None
    return out
