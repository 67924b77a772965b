"""Families: products of one series and number that differ in one thing, each with its own id, price and stock.

1. Which products are a family, and whose successors they are, follows from their numbers (`prstack.world.generated.lines`).
2. The first of a family is a generation of its line (`prstack.world.generated.generations`). The others begin as the same and then differ
   along the family's axis: an attribute of kind, a size (capacity, light, power), or the colour.
3. Price and stock are a member's own; a larger size costs more.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from prstack.types import Attribute, Product
from prstack.world.generated import generations, stock
from prstack.world.generated.catalogue import COLOURS, Category
from prstack.world.generated.lines import BLOCK, place_of
from prstack.world.generated.shelf import attribute, id_of

SIZES = ("capacity", "battery capacity", "tank capacity", "floor area", "cord length", "reach", "power", "output power", "brightness", "clean air rate", "refresh rate")
"""Attributes in which the members of a family may differ as sizes do."""


def product(seed: int, n: int, products: int, category: Category, brands: Sequence[str]) -> tuple[Product, str]:
    """A product by its number, as it truly is, under its series' name; and its colour."""
    place = place_of(seed, n, products)
    p = generations.product(seed, place.head, category, brands)
    rng = random.Random(f"{seed}/family/{place.head}")
    colours = rng.sample(COLOURS, BLOCK)
    p.id, p.parent_id = id_of(n), place.parent_id
    if not place.member:
        return p, colours[0]
    sizes = [j for j, s in enumerate(category.numeric) if s.name in SIZES]
    axis = rng.choice(("kind", "size", "colour") if sizes else ("kind", "kind", "colour"))
    own = random.Random(f"{seed}/variant/{n}")
    dearer = own.uniform(-0.06, 0.1)
    if axis == "kind":
        j = len(category.numeric) + rng.randrange(len(category.kinds))
        kind = category.kinds[j - len(category.numeric)]
        others = [v for v in kind.values if v != p.attributes[j].value]
        rng.shuffle(others)
        p.attributes[j] = Attribute(kind.name, others[place.member - 1])
    elif axis == "size":
        j, share = rng.choice(sizes), rng.uniform(0.1, 0.2)
        p.attributes[j], up = _resized(category.numeric[j], p.attributes[j], place.member, share)
        dearer += up * 0.15
    p.price = stock.shop_price(p.price * (1 + dearer))
    p.available = own.random() < stock.AVAILABLE
    return p, colours[place.member if axis == "colour" else 0]


def _resized(spec, a: Attribute, member: int, share: float) -> tuple[Attribute, int]:
    """An attribute so many sizes of `share` of the range up, or down where there is no room; and by how many."""
    last = round((spec.high - spec.low) / spec.step)
    here, size = round((a.number - spec.low) / spec.step), max(1, round(share * last))
    steps = here + member * size
    return (attribute(spec, steps), member) if steps <= last else (attribute(spec, here - member * size), -member)
