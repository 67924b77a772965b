"""Documents of world text: pages and listings as the tools print them, exercises in recalling and comparing, buyers' diaries.

A document is drawn by its number alone, so that any range of a corpus can be made by itself. The kinds of documents are in
`prstack.pretrain.exercises` (short ones) and `prstack.pretrain.journeys`.

The order is a curriculum of three stages (`STAGES`). First values beside limits and glances, in small steps. Then short documents, where the
source of what is copied is near and a batch holds many of them; then diaries and talks as well, which carry it over thousands of tokens.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prstack.pretrain.exercises import (
    check,
    comparing,
    glance,
    listing,
    order,
    page,
    recall,
    requests,
    story,
    web,
)
from prstack.pretrain.journeys import ask, diary, talk
from prstack.pretrain.pieces import Piece


def documents(seed: int, first: int = 0) -> Iterator[list[Piece]]:
    """Documents without end, from number `first` on, all of the last stage."""
    for n in itertools.count(first):
        yield document(seed, n)


def document(seed: int, n: int, share: float = 1.0) -> list[Piece]:
    """Document `n` of a corpus of which `share` was read before; it decides the stage."""
    rng = random.Random(f"{seed}/document/{n}")
    kinds = stage(share).kinds
    return rng.choices(list(kinds), list(kinds.values()))[0](rng)


def stage(share: float) -> Stage:
    """The stage of a corpus of which `share` was read."""
    return next(s for s in STAGES if share < s.until or s is STAGES[-1])


Kinds = dict[Callable[[random.Random], list[Piece]], float]
SHORT: Kinds = {recall: 14, requests: 14, ask: 14, order: 14, comparing: 14, check: 22, page: 10, listing: 6, web: 2, story: 2}
ALL: Kinds = SHORT | {glance: 8, diary: 6, talk: 7}


@dataclass(frozen=True)
class Stage:
    until: float
    """Share of the corpus, in tokens, up to which it goes."""
    packs: int
    """Packs that the context is divided into: the shorter they are, the more steps the same text makes."""
    kinds: Kinds
    """Kinds of documents with their weight in number."""


STAGES = (
    Stage(0.08, 4, {order: 55, glance: 20, recall: 8, ask: 10, comparing: 7}),
    Stage(0.4, 2, SHORT | {glance: 16}),
    Stage(1.0, 1, ALL),
)
"""A diary or a talk is some eight times as long as the short documents, so that they hold half of the tokens of the last stage."""
