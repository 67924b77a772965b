"""What an adapter makes of its source: the records of a world, and an account of what was left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prstack.store.records import Bad
from prstack.types import Constraint, History, Page, Product, Review

if TYPE_CHECKING:
    from prstack.world.world import World


@dataclass(slots=True)
class Latent:
    """The truth about a generated user: what they need next. Agents and tools never see it."""

    user_id: str
    category: str
    constraints: list[Constraint]
    satisfying: list[str]
    """Ids of the products that satisfy all constraints."""
    top_share: float
    """Share of the first ten hits of the user's natural query that satisfy all constraints."""


@dataclass(slots=True)
class Contradiction:
    """A false listing of the generated world: what the page claims of an attribute, and what is true."""

    product_id: str
    attribute: str
    listed: str
    measured: str


@dataclass(slots=True)
class Material:
    """`read` counts source records, so that read = kept + merged + quarantined."""

    products: list[Product]
    reviews: list[Review] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    histories: Callable[[World], Iterable[History]] = lambda world: ()
    """Called once with the indexed catalogue."""
    latent: list[Latent] = field(default_factory=list)
    """Filled while `histories` is read."""
    contradictions: list[Contradiction] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    bad: list[Bad] = field(default_factory=list)


def is_id(text: object) -> bool:
    """Whether a source id can be an id here: short, and without spaces and separators, since tools print it."""
    return isinstance(text, str) and re.fullmatch(r"[\w.:#/@+-]{1,64}", text) is not None
