"""Products that belong beside a product: its variants, and others like it (`World.variants_of`, `World.related_to`).

What is like a product is found in two steps, so that it costs about as much as a search in a world of any size:

1. The index gives a few products of the same category whose titles share most with the product's, by the rarest of its words;
   the brand and bare numbers do not count as words here. Variants of the product are left out.
2. Of these, the ones that are in stock come first, then those that differ least: the mean difference of price and of the
   product's attributes, each from 0 (equal) to 1.
"""

from __future__ import annotations

from prstack.types import Product
from prstack.world.match import same_value
from prstack.world.names import usual
from prstack.world.units import convert

POOL = 8
"""Products that are compared."""


def most_alike(product: Product, pool: list[Product], limit: int) -> list[Product]:
    """The `limit` products of a pool that are most like a product."""
    return sorted(pool, key=lambda other: (not other.available, difference(product, other), other.id))[:limit]


def difference(product: Product, other: Product) -> float:
    """How far a product is from another, from 0 to 1; what the other does not state counts as different."""
    theirs = {usual(a.name): a for a in other.attributes}
    parts = [_apart(product.price, other.price if product.currency == other.currency else None)]
    for a in product.attributes:
        b = theirs.get(usual(a.name))
        if b is None:
            parts.append(1.0)
        elif a.number is not None and b.number is not None:
            parts.append(_apart(a.number, convert(b.number, b.unit, a.unit)))
        else:
            parts.append(0.0 if same_value(a, b) else 1.0)
    return sum(parts) / len(parts)


def _apart(a: float | None, b: float | None) -> float:
    if a is None or b is None:
        return 1.0
    return min(1.0, abs(a - b) / largest) if (largest := max(abs(a), abs(b))) else 0.0
