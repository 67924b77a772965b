"""Does a product satisfy a constraint? Yes, no, or: the product does not say (None).

1. The constraint's attribute is looked up by any of its names (`prstack.world.names`); `price`, `category`, `brand` and
   `rating` are fields of the product.
2. Numbers are compared in the constraint's unit; units that do not convert give None, never a guess.
3. Text values are equal when they are so without regard to case, spaces and hyphens.
4. What owners measured (`prstack.world.statements`) outweighs the list of attributes; the description counts where the list
   says nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from prstack.types import Attribute, Constraint, Product
from prstack.world.names import fold, usual
from prstack.world.statements import stated
from prstack.world.units import convert, measure

__all__ = ["category_key", "category_keys", "check", "fold", "in_category", "known", "same_value", "satisfies", "satisfies_all"]

_SAME_UNIT, _CONVERTED = 1e-9, 0.01
"""Relative tolerance of `=` between numbers: conversions are rounded on the label (1 l against 34 oz)."""


LEVELS = 16
"""Levels of a category's path that count; a path without end is no category."""


class Described(Protocol):
    """The least that a constraint is checked against."""

    category: str
    price: float | None


def satisfies(constraint: Constraint, product: Described) -> bool | None:
    """Whether a product satisfies a constraint; None when it does not say.

    `product` is a Product, or what a tool showed of one (`prstack.tools.results`): anything with some of its fields. A page's
    `reviews` are (id, stars, text).
    """
    return check(
        constraint,
        known(product, constraint.attribute),
        price=product.price,
        category=product.category,
        currency=getattr(product, "currency", "USD"),
        brand=getattr(product, "brand", ""),
        rating=getattr(product, "rating", None),
    )


def known(product: object, name: str) -> list[Attribute]:
    """What a product, or a tool's page of one, says of an attribute: owners' measurements, else the list, else the description."""
    name = usual(name)

    def of(said: Iterable[Attribute]) -> list[Attribute]:
        return [a for a in said if usual(a.name) == name]

    listed = getattr(product, "attributes", ())
    owners = of(a for _, _, text in getattr(product, "reviews", ()) for a in stated(text))
    return owners or of(listed.values() if isinstance(listed, Mapping) else listed) or of(stated(getattr(product, "description", "")))


def satisfies_all(constraints: Iterable[Constraint], product: Product) -> bool:
    """Whether a product is known to satisfy every constraint."""
    return all(satisfies(c, product) for c in constraints)


def check(
    constraint: Constraint,
    attributes: Mapping[str, Attribute] | Iterable[Attribute],
    *,
    price: float | None = None,
    category: str = "",
    currency: str = "USD",
    brand: str = "",
    rating: float | None = None,
) -> bool | None:
    """`satisfies` for attributes and fields that were picked out."""
    name = usual(constraint.attribute)
    if name == "price":
        if price is None or (constraint.unit and constraint.unit != currency):
            return None
        return _compare(constraint, Attribute("price", "", price, constraint.unit))
    if name == "category":
        if not category:
            return None
        return in_category(category, constraint.value) == (constraint.op == "=")
    entries = [a for a in (attributes.values() if isinstance(attributes, Mapping) else attributes) if usual(a.name) == name]
    if not entries and name == "brand" and brand:
        entries = [Attribute("brand", brand)]
    if not entries and name == "rating" and rating is not None:
        entries = [Attribute("rating", "", rating)]
    verdicts = [_compare(constraint, a) for a in entries]
    known = [v for v in verdicts if v is not None]
    if not known:
        return None
    return all(known) if constraint.op == "!=" else any(known)


def same_value(a: Attribute, b: Attribute) -> bool:
    """Whether two values of an attribute say the same: numbers within rounding after conversion, or equal text."""
    if a.number is not None and b.number is not None:
        value = convert(a.number, a.unit, b.unit)
        return value is not None and _equal(value, b.number, a.unit, b.unit)
    return fold(a.value) == fold(b.value)


def in_category(category: str, wanted: str) -> bool:
    """Whether a category path ("Groceries > Drinks > Coffee") is, or lies in, the wanted category.

    `wanted` is a whole path, the start of one, or the name of one level. Plural and singular are the same.
    """
    have, want = _levels(category), _levels(wanted)
    if len(want) == 1:
        return want[0] in have
    return have[: len(want)] == want


def _levels(path: str) -> list[str]:
    return [re.sub(r"(?<=[^s])s\b", "", fold(level)) for level in path.split(">", LEVELS)[:LEVELS]]


@functools.lru_cache(65536)
def category_keys(category: str) -> frozenset[str]:
    """Every `wanted` (in compared form) that `in_category` answers with True for this category."""
    levels = _levels(category)
    return frozenset(levels) | {" > ".join(levels[:n]) for n in range(2, len(levels) + 1)}


def category_key(wanted: str) -> str:
    """The compared form of a wanted category."""
    return " > ".join(_levels(wanted))


def _compare(constraint: Constraint, attribute: Attribute) -> bool | None:
    op = constraint.op
    wanted = _number(constraint)
    if wanted is not None and attribute.number is not None:
        number, unit = wanted
        value = convert(attribute.number, attribute.unit, unit)
        if value is None:
            return None
        if op in ("=", "!="):
            return _equal(value, number, attribute.unit, unit) == (op == "=")
        slack = _SAME_UNIT * max(1.0, abs(number))
        return value <= number + slack if op == "<=" else value >= number - slack
    if op in ("<=", ">="):
        return None
    text = f"{constraint.value} {constraint.unit}".strip()
    return (fold(attribute.value) == fold(text)) == (op == "=")


def _equal(a: float, b: float, unit_a: str, unit_b: str) -> bool:
    tolerance = _SAME_UNIT if unit_a == unit_b or not unit_a or not unit_b else _CONVERTED
    return abs(a - b) <= tolerance * max(1.0, abs(b))


def _number(constraint: Constraint) -> tuple[float, str] | None:
    if constraint.unit:
        found = measure(constraint.value)
        return (found[0], constraint.unit) if found and not found[1] else None
    return measure(constraint.value)
