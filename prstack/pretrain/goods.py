"""Categories that no world sells, with attributes of their own: breadth for a model that would otherwise know fourteen.

`invent` draws a category: a noun, four numeric attributes with a unit and a range, two attributes of kind. Names and units are
everyday ones; none is an attribute that only held-out categories have (`prstack.world.holdout`). `stock` fills its shelf as the
generated world fills its own.
"""

from __future__ import annotations

import random

from prstack.types import Page, Product, Review
from prstack.world.generated.catalogue import BRANDS, CATEGORIES, Category, Kind, Numeric
from prstack.world.generated.pages import shelf_pages as world_pages
from prstack.world.generated.stock import make_shelf
from prstack.world.holdout import held_out_category

NOUNS = (
    "Toaster", "Drill", "Ladder", "Hammock", "Violin", "Telescope", "Suitcase", "Sewing Machine", "Rice Cooker", "Lawn Mower", "Bicycle", "Camera", "Printer", "Router", "Keyboard",
    "Microwave", "Freezer", "Fan", "Heater", "Sofa", "Mattress", "Bookshelf", "Rug", "Curtain", "Umbrella", "Wristwatch", "Razor", "Hair Dryer", "Stroller", "Car Seat", "Kayak",
    "Snowboard", "Tennis Racket", "Dumbbell", "Yoga Mat", "Treadmill", "Projector", "Scanner", "Microphone", "Guitar", "Piano", "Paint Sprayer", "Saw", "Wheelbarrow", "Aquarium",
    "Bird Feeder", "Juicer", "Frying Pan", "Knife", "Thermos", "Lunch Box", "Scooter", "Helmet", "Glove", "Jacket", "Boot", "Sleeping Bag", "Lantern", "Compass", "Battery Pack",
)  # fmt: skip
NUMERIC: tuple[tuple[str, str, float, float, float, str], ...] = (
    ("length", "cm", 20, 240, 1, "high"), ("width", "cm", 10, 180, 1, "low"), ("height", "cm", 8, 210, 1, "low"), ("depth", "cm", 5, 90, 1, "low"), ("thickness", "mm", 1, 60, 1, "high"),
    ("weight", "kg", 0.5, 40, 0.1, "low"), ("weight", "g", 50, 950, 5, "low"), ("capacity", "l", 0.2, 60, 0.1, "high"), ("power", "W", 50, 2400, 50, "high"), ("noise level", "dB", 20, 95, 1, "low"),
    ("speed", "km/h", 4, 45, 1, "high"), ("turning speed", "rpm", 200, 4000, 50, "high"), ("voltage", "V", 3, 48, 1, "high"), ("current", "A", 1, 20, 0.5, "low"), ("resolution", "MP", 4, 64, 1, "high"),
    ("screen size", "inch", 3, 40, 0.5, "high"), ("memory", "GB", 4, 512, 4, "high"), ("battery life", "hours", 2, 90, 1, "high"), ("charging time", "min", 15, 300, 5, "low"), ("warranty", "years", 1, 15, 1, "high"),
    ("heat-up time", "s", 5, 180, 5, "low"), ("drying time", "min", 5, 120, 5, "low"), ("pressure", "bar", 1, 30, 1, "high"), ("flow rate", "l/h", 50, 900, 10, "high"), ("brightness", "lm", 50, 3000, 50, "high"),
    ("load rating", "kg", 10, 250, 5, "high"), ("steps", "pieces", 2, 16, 1, "high"), ("pockets", "pieces", 1, 14, 1, "high"), ("blade length", "cm", 5, 40, 1, "high"), ("reach", "m", 1, 20, 0.5, "high"),
    ("temperature", "°C", -30, 25, 1, "low"), ("thread count", "pieces", 100, 800, 20, "high"), ("tension", "kg", 12, 36, 1, "high"), ("print speed", "ppm", 4, 60, 1, "high"), ("lifting height", "mm", 40, 900, 10, "high"),
    ("cord length", "cm", 60, 400, 10, "high"), ("water use", "l", 3, 90, 1, "low"), ("power use", "W", 2, 120, 1, "low"), ("assembly time", "min", 5, 120, 5, "low"), ("filter life", "months", 1, 36, 1, "high"),
)  # fmt: skip
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("material", ("wood", "steel", "aluminium", "plastic", "bamboo", "cork")), ("colour", ("red", "blue", "green", "black", "white", "grey", "yellow")), ("handle", ("wood", "rubber", "plastic", "metal")),
    ("fuel", ("gas", "electric", "charcoal", "petrol")), ("size", ("small", "medium", "large", "extra large")), ("finish", ("matt", "glossy", "brushed", "painted")), ("shape", ("round", "square", "oval", "flat")),
    ("lining", ("silk", "cotton", "fleece", "wool")), ("lock", ("key", "code", "fingerprint", "none")), ("display", ("analogue", "digital", "colour screen")), ("cover", ("linen", "velvet", "cotton", "leather")),
    ("mount", ("screws", "suction cup", "magnet", "adhesive")), ("strap", ("leather", "nylon", "steel", "silicone")), ("wheel type", ("solid", "air-filled", "foam")), ("plug", ("USB-C", "barrel", "two-pin", "three-pin")),
    ("surface", ("non-stick", "cast iron", "ceramic", "enamel")), ("pattern", ("plain", "striped", "dotted", "checked")), ("fastening", ("buttons", "zip", "velcro", "buckles")), ("tip", ("felt", "brass", "nylon", "diamond")),
)  # fmt: skip
UNITS = tuple(dict.fromkeys(unit for _, unit, *_ in NUMERIC))
USES = ("weekends", "small flats", "beginners", "busy families", "the garden", "the workshop", "students", "holidays", "winter", "early mornings", "presents", "daily use")
SYLLABLES = ("ar", "bo", "cel", "dra", "el", "fi", "gor", "hu", "in", "jo", "kal", "lum", "mir", "nor", "os", "pra", "quo", "ri", "sol", "tu", "ul", "vik", "wex", "yan", "zet", "ban", "del", "fer")
SOLD_SHARE = 0.4
"""Share of shelves that are of a world's own categories (but for those held out)."""


def invent(rng: random.Random) -> Category:
    """A category that no world sells."""
    noun = rng.choice(NOUNS)
    numeric: dict[str, Numeric] = {}
    while len(numeric) < 4:
        name, unit, low, high, step, better = rng.choice(NUMERIC)
        span = (high - low) * rng.uniform(0.3, 1.0)
        start = round(rng.uniform(low, high - span) / step) * step
        numeric.setdefault(name, Numeric(name, unit, round(start, 4), round(start + max(step * 4, round(span / step) * step), 4), step, better, "owners ask for it"))
    kinds = tuple(Kind(n, tuple(rng.sample(v, rng.randint(2, len(v)))), "a matter of taste") for n, v in rng.sample(KINDS, 2))
    low = rng.uniform(8, 300)
    return Category(_plural(noun), noun, (low, low * rng.uniform(2, 9)), tuple(numeric.values()), kinds, tuple(rng.sample(USES, 8)))


def _plural(noun: str) -> str:
    if noun.endswith(("x", "ch", "sh")):
        return f"{noun}es"
    return noun if noun.endswith("s") else f"{noun.removesuffix('fe')}ves" if noun.endswith("fe") else f"{noun}s"


def _category(rng: random.Random) -> Category:
    sold = [c for c in CATEGORIES if not held_out_category(c.name)]
    return rng.choice(sold) if rng.random() < SOLD_SHARE else invent(rng)


def brands(rng: random.Random) -> list[str]:
    """Names of makers: some known, some of syllables."""
    made = ["".join(rng.sample(SYLLABLES, rng.choice((2, 2, 3)))).capitalize() for _ in range(6)]
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
