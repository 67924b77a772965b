"""Product lines: which products of a category are variants of each other and which are generations, known from their numbers alone.

1. The products of a category stand in blocks of three neighbours. A block's own random stream says which of them are one family:
   none, two or all; the first one is its head.
2. Four blocks are a group. By the group's stream its heads are shuffled and cut into lines of one to four generations. The oldest one
   of a line need not be its first: what came before is not sold any more. Years of launch go back from the newest one's.
3. A number says all of this in any process, whatever the number of products is; of a generation or variant beyond the last product
   nobody speaks.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.generated.shelf import id_of, model

BLOCK, BLOCKS = 3, 4
"""Products of a block, and blocks of a group."""
PATTERNS = ((0, 1, 2), (0, 1, 2), (0, 0, 2), (0, 0, 0))
"""For each product of a block, which one heads its family; each pattern is as likely as the others."""
GENERATIONS, OLDEST = (1, 1, 1, 2, 2, 3, 4), (1, 1, 1, 2, 3)
"""How many generations of a line are sold, and the number of the oldest of them; each as likely as the others."""
NEWEST, APART = (2018, 2024), (1, 3)
"""Years in which the newest generation was launched, and years between two of them, first and last."""


@dataclass(slots=True, frozen=True)
class Place:
    """Where a product stands in its family. `head`: the number of the first one; `member`: 0 for that, 1 and 2 for the others."""

    head: int
    member: int
    parent_id: str
    """Empty for a product without a family."""


@dataclass(slots=True, frozen=True)
class Line:
    """The generations of a line that are sold, the oldest first."""

    heads: tuple[int, ...]
    """The numbers of the products that head them."""
    oldest: int
    """Which generation the first of these is, 1 at least."""
    years: tuple[int, ...]
    """When each was launched."""


@dataclass(slots=True, frozen=True)
class Standing:
    """A product among the generations of its line. `before` and `after` name its neighbours ("Delta 1 (P1038)"); empty for none."""

    year: int
    before: str
    after: str


def place_of(seed: int, n: int, products: int) -> Place:
    """The place of the product of a number, in a catalogue of so many."""
    count = len(CATEGORIES)
    k, at = n % count, n // count
    first = at - at % BLOCK
    pattern = _pattern(seed, k, first)
    head = pattern[at - first]
    members = [m for m in range(BLOCK) if pattern[m] == head and (first + m) * count + k < products]
    number = (first + head) * count + k
    return Place(number, members.index(at - first), id_of(number) if len(members) > 1 else "")


def line_of(seed: int, head: int) -> tuple[Line, int]:
    """The line of a family, by the number of its head, and the family's place among the generations."""
    at = head // len(CATEGORIES)
    return _group(seed, head % len(CATEGORIES), at - at % (BLOCK * BLOCKS))[head]


def standing(seed: int, head: int, products: int, series: str, mark: int) -> Standing:
    """What a product, by the number of its family's head, is among the generations. `mark`: which line of its series it is of."""
    line, at = line_of(seed, head)

    def name(place: int) -> str:
        known = 0 <= place < len(line.heads) and line.heads[place] < products
        return f"{series} {model(mark, line.oldest + place)} ({id_of(line.heads[place])})" if known else ""

    return Standing(line.years[at], name(at - 1), name(at + 1))


def _pattern(seed: int, k: int, first: int) -> tuple[int, ...]:
    return random.Random(f"{seed}/families/{k}/{first}").choice(PATTERNS)


@functools.lru_cache(1024)
def _group(seed: int, k: int, first: int) -> dict[int, tuple[Line, int]]:
    """Head → its line and its place in it, for a group of category k."""
    rng = random.Random(f"{seed}/lines/{k}/{first}")
    blocks = range(first, first + BLOCK * BLOCKS, BLOCK)
    heads = [(block + head) * len(CATEGORIES) + k for block in blocks for head in sorted(set(_pattern(seed, k, block)))]
    rng.shuffle(heads)
    out = {}
    while heads:
        size = min(len(heads), rng.choice(GENERATIONS))
        years = [rng.randint(*NEWEST)]
        while len(years) < size:
            years.insert(0, years[0] - rng.randint(*APART))
        line = Line(tuple(heads[:size]), rng.choice(OLDEST), tuple(years))
        out |= {head: (line, at) for at, head in enumerate(line.heads)}
        heads = heads[size:]
    return out
