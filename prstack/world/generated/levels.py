"""What the levels of difficulty change (`world.difficulty`). Easy is the plain world: everything below is off.

One table of shares, so that a level can be read at a glance; what each does is in the module that reads it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Level:
    """Shares of all products, listings, attributes or pages, in [0, 1]."""

    name: str
    deep: bool
    """Lines of generations, families of variants, shipping, written-out texts, histories with views: `prstack.world.generated.families` and
    the modules it names."""
    contradicted: float
    """Products with one false listed value."""
    unlisted: float = 0.0
    """Attributes that a listing leaves out."""
    told: float = 0.0
    """Of those left out, the ones that an owner tells in a review."""
    other_units: float = 0.0
    """Listings in other units than the catalogue's (lb, inch, fl oz)."""
    own_names: float = 0.0
    """Listings that call attributes by other names (`prstack.world.names`)."""
    in_words: float = 0.0
    """Listed attributes that stand in a sentence of the description and not in the list."""
    stuffed: float = 0.0
    """Titles with search words behind the name."""
    shouted: float = 0.0
    """Titles in capitals."""
    typos: float = 0.0
    """Descriptions with slips of the pen."""
    outdated: float = 0.0
    """Lab tests that have an older one, of earlier makes, beside them."""
    valid: float = 1.0
    """Factor on `world.valid_share`."""


LEVELS = {
    "easy": Level("easy", deep=False, contradicted=0.12),
    "medium": Level("medium", deep=True, contradicted=0.12, unlisted=0.06, told=0.5, other_units=0.35),
    "hard": Level(
        "hard", deep=True, contradicted=0.22, unlisted=0.10, told=0.4, other_units=0.5, own_names=0.4, in_words=0.12,
        stuffed=0.2, shouted=0.1, typos=0.35, outdated=0.6, valid=0.75,
    ),
}  # fmt: skip
