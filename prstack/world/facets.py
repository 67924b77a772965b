"""What a shop's side bar shows of a category: its properties, their values or range.

The user agent sees them, so that the rubric it writes asks for things that products of the category can have. What sellers call
differently is one property (`prstack.world.names`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from prstack.types import Product
from prstack.world.names import common, usual
from prstack.world.units import convert

MAX_VALUES, MAX_FACETS = 8, 10


@dataclass(slots=True)
class Facet:
    """A property of a category: its commonest `values`, or, where most values are numbers, `low` to `high` in `unit`."""

    name: str
    values: list[str] = field(default_factory=list)
    low: float | None = None
    high: float | None = None
    unit: str = ""

    @property
    def numeric(self) -> bool:
        return self.low is not None


def facets(products: Iterable[Product]) -> list[Facet]:
    """The commonest properties of products, the commonest first, each under the name that most products give it; deterministic."""
    names: Counter[str] = Counter()
    texts: dict[str, Counter[str]] = {}
    numbers: dict[str, list[tuple[float, str]]] = {}
    for product in products:
        for a in product.attributes:
            known = usual(a.name)
            names[a.name] += 1
            texts.setdefault(known, Counter())[a.value] += 1
            if a.number is not None:
                numbers.setdefault(known, []).append((a.number, a.unit))
    shown = {usual(name): shown for name, shown in common(names).items()}
    order = sorted(texts, key=lambda known: (-texts[known].total(), shown[known]))[:MAX_FACETS]
    return [_facet(shown[known], texts[known], numbers.get(known, [])) for known in order]


def _facet(name: str, texts: Counter[str], numbers: list[tuple[float, str]]) -> Facet:
    if 2 * len(numbers) > texts.total():
        unit = Counter(u for _, u in numbers).most_common(1)[0][0]
        same = [v for n, u in numbers if (v := convert(n, u, unit)) is not None]
        return Facet(name, low=min(same), high=max(same), unit=unit)
    common = sorted(texts, key=lambda v: (-texts[v], v))[:MAX_VALUES]
    return Facet(name, values=common)
