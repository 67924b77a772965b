"""Which episodes a run plays, made out one by one, so that thousands in the queue cost nothing.

1. The world's users, sorted by id, stand in a seeded order; when there are fewer users than episodes they come round again.
2. Episode n has the seed `config.seed · 1,000,003 + n`. Its id is a hash of its user, its seed and `key`: everything that
   decides what it turns out to be.
3. Histories are read from the world as their episodes come near, those of `BLOCK` episodes at a time.

Invariants: the same world, seed and key give the same episodes in the same order, however many are asked for; memory holds
the users' ids and one block of histories.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from actors.agent import short_hash
from actors.supervisor import Episode
from prstack.errors import UserError
from prstack.settings import Config
from prstack.world.world import World

BLOCK = 256


@dataclass(slots=True, frozen=True)
class Planned:
    """An episode without its history."""

    id: str
    user_id: str
    seed: int


def in_order(world: World, seed: int) -> list[str]:
    """The users of a world in the order in which episodes take them. Raises UserError when there are none."""
    users = sorted(world.users())
    if not users:
        raise UserError("the world has no behaviour histories; check world.histories or the world's quarantine.jsonl")
    random.Random(seed).shuffle(users)
    return users


def plan(users: Sequence[str], config: Config, key: str) -> Iterator[Planned]:
    """`synthesis.episodes` episodes over users in their order."""
    for n in range(config.synthesis.episodes):
        user, seed = users[n % len(users)], config.seed * 1_000_003 + n
        yield Planned(short_hash(user, seed, key), user, seed)


def plan_episodes(world: World, config: Config, key: str, without: Container[str] = ()) -> Iterator[Episode]:
    """The planned episodes with their histories, less those whose id is in `without`. Raises UserError as `in_order` does."""
    missing = (p for p in plan(in_order(world, config.seed), config, key) if p.id not in without)
    while block := list(islice(missing, BLOCK)):
        histories = world.histories_of({p.user_id for p in block})
        for p in block:
            yield Episode(p.id, histories[p.user_id], p.seed)
