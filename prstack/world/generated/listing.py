"""What a seller shows of a product: units, names and gaps of the list, the title, the text, the delivery.

1. Each listing has a style, from its own random stream: a system of units, the attributes that it leaves out, and in hard worlds
   its own names and attributes that stand in sentences. Values are rounded as labels are; what the label says counts
   (`Shelf.meet` reads the same labels).
2. A false listing claims what the row claims; everything else that is shown is true: also the year of launch, and which
   generation came before or after, where the text says so.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

from prstack.types import Attribute, Product
from prstack.world.generated.catalogue import Category, Numeric
from prstack.world.generated.levels import Level
from prstack.world.generated.lines import Standing
from prstack.world.generated.prose import noise
from prstack.world.generated.prose.listings import describe, succession
from prstack.world.names import OTHER_NAMES
from prstack.world.statements import SELLER, state
from prstack.world.units import convert, number_text

OTHER_UNITS: dict[str, tuple[str, str]] = {
    "kg": ("g", "lb"), "g": ("kg", "oz"), "l": ("ml", "fl oz"), "cm": ("mm", "in"), "mm": ("cm", "in"), "m": ("cm", "ft"), "hours": ("min", "min"), "min": ("s", "hours"), "s": ("min", "min"),
    "years": ("months", "months"), "months": ("months", "years"), "W": ("W", "kW"), "kPa": ("Pa", "psi"), "bar": ("kPa", "psi"), "mAh": ("mAh", "Ah"), "m²": ("m²", "sq ft"), "m³/h": ("m³/h", "cfm"),
    "nits": ("cd/m²", "nits"), "km": ("km", "miles"),
}  # fmt: skip
"""Unit of the catalogue → the unit of a seller who thinks small, and of one from overseas."""
SHIPPING_TIMES = ("within 24 hours", "in 2 days", "within 3 days", "in 3-5 days", "within a week", "in 8-10 days", "in 2 weeks", "in about 3 weeks", "in a month, made to order")
SHIPPING_COSTS = ("free", "free", "$2.90", "$4.90", "$5.50", "$6.90", "$9.90", "$14.50")
SMALL = 0.2
"""Below it, a value stays in the catalogue's unit: nobody writes 0.03 hours."""
DESCRIPTION = 480
"""Longest description, in characters; a product's page shows it whole."""


@dataclass(slots=True, frozen=True)
class Style:
    """How a listing is written. `units`: for each numeric attribute 0 for the catalogue's unit, 1 and 2 as in `OTHER_UNITS`."""

    units: tuple[int, ...]
    unlisted: int
    """The places of the attributes that are left out, as bits."""
    names: bool
    """Attributes under other names."""
    in_words: int
    """The places of those that stand in the description, as bits."""


def style(seed: int, level: Level, n: int, category: Category) -> Style:
    """The style of the listing of a product's number."""
    rng = random.Random(f"{seed}/listing/{n}")
    system = rng.choice((1, 2)) if rng.random() < level.other_units else 0
    units = tuple(system if rng.random() < 0.8 else 0 for _ in category.numeric)
    places = range(len(category.numeric) + len(category.kinds))
    unlisted = sum(1 << j for j in places if rng.random() < level.unlisted)
    names = rng.random() < level.own_names
    in_words = sum(1 << j for j in places if rng.random() < level.in_words)
    return Style(units, unlisted, names, in_words & ~unlisted)


@functools.lru_cache(65536)
def label(spec: Numeric, steps: int, unit: int) -> Attribute:
    """A numeric attribute as a label shows it: the number is the one that stands there."""
    value = round(spec.low + steps * spec.step, 6)
    name = OTHER_UNITS.get(spec.unit, (spec.unit, spec.unit))[unit - 1] if unit else spec.unit
    converted = convert(value, spec.unit, name) if unit else value
    if converted is None:
        raise ValueError(f"{spec.unit} does not convert to {name}")
    if abs(converted) < SMALL:
        name, converted = spec.unit, value
    if name != spec.unit:
        digits = 0 if converted >= 1000 else 1 if converted >= 100 else 2 if converted >= 1 else 3
        converted = round(converted, digits)
    return Attribute(spec.name, f"{number_text(converted)} {name}", round(converted, 6), name)


def listed(seed: int, level: Level, category: Category, p: Product, colour: str, n: int, said: Style, standing: Standing) -> Product:
    """A product as its seller lists it. `p` is as its row says, under its whole title (`prstack.world.generated.stock.named`)."""
    rng = random.Random(f"{seed}/seller/{n}")
    shown = [_shown(category, j, a, said) for j, a in enumerate(p.attributes)]
    kept = [a for j, a in enumerate(shown) if not (said.unlisted | said.in_words) >> j & 1]
    told = [state(a, rng, SELLER) for j, a in enumerate(shown) if said.in_words >> j & 1]
    for a in (Attribute("colour", colour), Attribute("launch year", str(standing.year), float(standing.year))):
        kept.insert(rng.randrange(len(kept) + 1), a)
    if said.names:
        for a in kept:
            a.name = rng.choice((a.name, *OTHER_NAMES[a.name]))
    sentences = describe(seed, category, p, colour, rng)
    if rng.random() < level.typos:
        sentences = [noise.with_slips(s, rng) for s in sentences]
    kin = succession(standing, rng)
    spare = [*kin, *sentences]
    for sentence in (*told, *kin):
        sentences.insert(rng.randrange(len(sentences) + 1), sentence)
    while len(" ".join(sentences)) > DESCRIPTION:
        sentences.remove(spare.pop())
    title = p.title
    if rng.random() < level.stuffed:
        title = noise.stuffed(title, category, rng)
    if rng.random() < level.shouted:
        title = title.upper()
    p.title, p.description, p.attributes = title, " ".join(sentences), kept
    p.shipping = f"{rng.choice(SHIPPING_TIMES)}, {rng.choice(SHIPPING_COSTS)}"
    return p


def _shown(category: Category, j: int, a: Attribute, said: Style) -> Attribute:
    if j >= len(category.numeric):
        return Attribute(a.name, a.value)
    spec = category.numeric[j]
    shown = label(spec, round((a.number - spec.low) / spec.step), said.units[j])
    return Attribute(shown.name, shown.value, shown.number, shown.unit)
