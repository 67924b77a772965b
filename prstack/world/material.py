"""What an adapter makes of its source: the records of a world, and an account of what was left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from prstack.store.records import Bad
from prstack.types import Constraint, History, Page, Product, Review
from prstack.world.ondisk import Quarantine

if TYPE_CHECKING:
    from prstack.world.workers import Workers
    from prstack.world.world import World

Encoded = tuple[dict, str]
"""A record as a row and as the row's canonical JSON."""


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
    """What a listing of the generated world hides: what it claims of an attribute, nothing where it leaves it out, and what is true."""

    product_id: str
    attribute: str
    listed: str
    measured: str


@dataclass(slots=True)
class Material:
    """What a world is made of.

    Every collection is read once, in the order of the fields; `build` keeps none of them in memory. A list serves where there is
    room for one; a generator lets millions of records through. `read` counts source records, so that read = kept + merged +
    quarantined; counts and bad records may grow while the collections are read.
    """

    products: Iterable[Product]
    reviews: Iterable[Review] = field(default_factory=list)
    """In any order. Those of products that are not there are left out, and counted as `reviews_unlisted`."""
    rated: Collection[str] = ()
    """Fields of a product that its reviews give, where it has some: `rating`, `n_reviews`."""
    pages: Iterable[Page] = field(default_factory=list)
    histories: Callable[[World], Iterable[History]] = lambda world: ()
    """Called once with the indexed catalogue."""
    latent: list[Latent] = field(default_factory=list)
    """Filled while `histories` is read."""
    contradictions: Iterable[Contradiction] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    bad: list[Bad] | Quarantine = field(default_factory=list)
    told: Callable[[str, int], None] = lambda step, n: None
    """Told now and then how many records of a kind have been read."""
    parts: Parts | None = None
    """Gives products, reviews and users instead, where any process can make any part of them."""


class Parts(Protocol):
    """A world that is made part by part, by several processes. Instances are pickled to get there; what is made depends on the
    part's number alone."""

    products: int
    """Number of parts of the catalogue."""
    users: int
    """Number of parts of the users."""

    def prepare(self, scratch: Path, workers: Workers) -> None:
        """Called once, before all else, with an empty folder that is there until the world is made."""

    def first(self, part: int) -> int:
        """The place of a part's first product in the catalogue."""

    def catalogue(self, part: int) -> Iterator[tuple[Encoded, list[Encoded]]]:
        """The products of a part, each with its reviews (`prstack.store.records.encoded`)."""

    def histories(self, part: int, world: World) -> Iterator[tuple[History, Latent]]:
        """The users of a part, given the indexed catalogue."""


def is_id(text: object) -> bool:
    """Whether a source id can be an id here: short, and without spaces and separators, since tools print it."""
    return isinstance(text, str) and re.fullmatch(r"[\w.:#/@+-]{1,64}", text) is not None
