"""The generated web: guides, lab tests, forum threads, brand pages.

Guides say what the attributes mean and what values to look for; some are outdated and ask for less. Lab tests publish measured
values of some products, among them those whose listing is false. Forum threads tell of owners' opinions, not always right
ones. Brand pages praise without saying anything.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import numpy as np

from prstack.types import Page
from prstack.world.generated.catalogue import Category, Numeric
from prstack.world.generated.shelf import Shelf
from prstack.world.opinions import opinion
from prstack.world.units import number_text

TESTED, PRODUCTS_A_TEST = 8, 40
"""Products in a lab test, and products of a category for each lab test."""
MEASURED = 0.03
"""Spread of an honest measurement around the listed value."""
THREADS = 3


def numbered(pages: Iterable[Page]) -> Iterator[Page]:
    """Pages with their ids, W1 upwards."""
    for n, page in enumerate(pages, 1):
        page.id = f"W{n}"
        yield page


def shelf_pages(seed: int, shelf: Shelf) -> Iterator[Page]:
    """The pages about a category, without numbers."""
    rng = random.Random(f"{seed}/pages/{shelf.category.name}")
    yield guide(shelf, rng, outdated=False)
    yield guide(shelf, rng, outdated=True)
    yield from _lab_tests(shelf, rng)
    for n in range(THREADS):
        yield _thread(shelf, rng, n)


def slug(text: str) -> str:
    return "-".join(text.lower().split())


def month(rng: random.Random, first: int, last: int) -> str:
    return f"{rng.randint(first, last)}-{rng.randint(1, 12):02d}"


def good_value(shelf: Shelf, spec: Numeric, share: float) -> float:
    """The value that `share` of the category's products reach or better."""
    n = len(shelf.products)
    at = min(n - 1, int(share * n))
    return shelf.value(spec, at if spec.better == "low" else -1 - at)


def guide(shelf: Shelf, rng: random.Random, outdated: bool) -> Page:
    c = shelf.category
    lines = [f"What should one look for in {c.name.lower()}? We asked owners and looked at what the market offers."]
    for spec in c.numeric:
        value = good_value(shelf, spec, 0.85 if outdated else 0.35)
        limit = "at most" if spec.better == "low" else "at least"
        lines.append(f"{spec.name.capitalize()}: {spec.why}. {'A good one has' if outdated else 'Look for'} {limit} {number_text(value)} {spec.unit}.")
    for kind in c.kinds:
        lines.append(f"{kind.name.capitalize()}: {kind.why}. There are {', '.join(kind.values[:-1])} and {kind.values[-1]}.")
    lines.append("Listings are written by sellers. Where a test has measured a value, trust the test; where many owners complain, trust the owners.")
    title = f"{c.noun} buying advice from our archive" if outdated else f"How to choose: {c.name}"
    published = month(rng, 2016, 2019) if outdated else month(rng, 2025, 2026)
    return Page("", f"https://guides.example/{slug(title)}", title, "\n".join(lines), "guide", published)


def _lab_tests(shelf: Shelf, rng: random.Random) -> Iterator[Page]:
    c = shelf.category
    false = np.flatnonzero(shelf.rows["false"] >= 0).tolist()
    others = np.flatnonzero(shelf.rows["false"] < 0).tolist()
    for n in range(max(1, len(shelf.products) // PRODUCTS_A_TEST)):
        sample = rng.sample(false, min(len(false), TESTED // 4)) + rng.sample(others, min(len(others), TESTED - TESTED // 4))
        rng.shuffle(sample)
        spec = c.numeric[n % len(c.numeric)]
        lines = [f"We bought {len(sample)} {c.name.lower()} in shops and measured them on our own bench. Sellers had no say in it."]
        lines += [_measurement(shelf, at, spec, rng) for at in sample]
        lines.append("Deviations of a few per cent are within the accuracy of the bench.")
        title = f"{c.name} on the bench, part {n + 1}: {spec.name}"
        yield Page("", f"https://bench.example/{slug(c.name)}-{n + 1}", title, "\n".join(lines), "lab_test", month(rng, 2024, 2026))


def _measurement(shelf: Shelf, at: int, spec: Numeric, rng: random.Random) -> str:
    """One product's line. Its name and its value are sentences of their own, so that no snippet shows both."""
    product, false = shelf.products[at], shelf.contradiction(at)
    name = f"{product.title} ({product.id})"
    if false:
        return f"{name}. We measured {false.measured} for the {false.attribute}; the listing says {false.listed}."
    listed = product.attribute(spec.name)
    measured = round(listed.number * rng.uniform(1 - MEASURED, 1 + MEASURED), 1 if spec.step < 1 else 0)
    return f"{name}. We measured {number_text(measured)} {spec.unit} for the {spec.name}."


def _thread(shelf: Shelf, rng: random.Random, n: int) -> Page:
    c = shelf.category
    use = rng.choice(c.uses)
    lines = [f"fern{rng.randrange(90)}: Which {c.noun.lower()} would you take for {use}? Money is tight this year."]
    for product in rng.sample(shelf.products, min(3, len(shelf.products))):
        spec = rng.choice(c.numeric)
        fair = shelf.goodness(spec, product.attribute(spec.name).number) >= 0.5
        said = fair if rng.random() < 0.75 else not fair
        lines.append(f"user{rng.randrange(900)}: I have the {product.title}. {opinion(spec.name, said, rng)}")
    lines.append(f"user{rng.randrange(900)}: Whatever you buy, keep the receipt.")
    title = f"{c.noun} for {use}?"
    return Page("", f"https://forum.example/t/{slug(c.noun)}-{n + 1}", title, "\n".join(lines), "forum", month(rng, 2021, 2026))


def brand_pages(seed: int, shelves: list[Shelf]) -> Iterator[Page]:
    """A page of each brand, without numbers."""
    sold: dict[str, list[Category]] = {}
    for shelf in shelves:
        for brand in shelf.makers():
            sold.setdefault(brand, []).append(shelf.category)
    for brand in sorted(sold):
        rng = random.Random(f"{seed}/brand/{brand}")
        goods = ", ".join(c.name.lower() for c in sold[brand])
        text = f"{brand} makes {goods}.\nFounded by {rng.randint(2, 5)} friends in a {rng.choice(('barn', 'cellar', 'shipyard', 'school workshop'))}, we still answer every letter.\nOur repair service takes everything back that carries our name."
        yield Page("", f"https://{slug(brand)}.example/", f"{brand}: about us", text, "brand", month(rng, 2018, 2026))
