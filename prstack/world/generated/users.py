"""Users of the generated world: a latent need, and a history that shows it without stating it.

1. A user's latent need is a category, two or three constraints on its attributes, and a budget. From random proposals the one
   is taken whose share of valid products, both among all that the budget allows and among the first hits of the user's
   natural query (the noun and the attributes' names, with max_price), is nearest to `config.valid_share`; at least two
   available products satisfy it.
   The split of the world decides which needs are proposed: `config.split` is a rotation of slices (`ROTATION`), and users in
   turn get a need of the next slice, in the next category that has any.
2. Each constraint is behind one thing that the user said of a product they had: a complaint, or praise with room to spare, in
   a review, a return or a service dialogue (`prstack.world.complaints`).
3. Around it: the purchases these belong to, a search, and purchases and reviews in other categories that imply no constraint.

Medium and hard worlds tell more of a history (`prstack.world.generated.stories`), and hard ones ask for fewer valid products
(`Level.valid`).

In a category of more than `SAMPLE` products, proposals are judged, and products to speak of are looked for, among so many drawn from
it; the ids that satisfy a need are always those of the whole category.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from prstack.settings import WorldConfig
from prstack.types import Constraint, Event, EventType, History
from prstack.world.complaints import complain
from prstack.world.generated.catalogue import Category
from prstack.world.generated.levels import LEVELS
from prstack.world.generated.moments import Moment, event
from prstack.world.generated.shelf import Shelf
from prstack.world.generated.stories import story
from prstack.world.holdout import Slice, held_out_category, slice_of
from prstack.world.material import Latent
from prstack.world.opinions import opinion
from prstack.world.units import number_text

if TYPE_CHECKING:
    from prstack.world.world import World

PROPOSALS, SEARCHED, TOP, SAMPLE = 40, 4, 10, 500
"""Needs that are tried for a user, the best of them that are searched for, the hits that are looked at, and the products of a
category that are looked at one by one."""
DRAWS = 20 * PROPOSALS
"""Needs that are drawn to find so many proposals of the wanted slice."""
ROTATION: dict[str, tuple[Slice | None, ...]] = {
    "train": ("seen combination",),
    "evaluation": ("unseen category", "unseen combination", "seen combination", "seen combination"),
    "all": (None,),
}
"""Split → the slices of its users in turn; None is any."""
MIN_SATISFYING = 2
DIALOGUE = (
    "Customer: {text}. Agent: I see, I have noted it.",
    "Agent: How do you get on with the {noun}? Customer: {text}. Agent: Thank you for telling us.",
    "Customer wrote to the service: {text}.",
)
SEARCHES = ("{noun} for {use}", "{noun}", "which {noun} to buy", "{noun} reviews")


class Users:
    """The users of a world whose catalogue is indexed. Any of them can be made, in any order; more users begin with the same ones."""

    def __init__(self, config: WorldConfig, shelves: list[Shelf], world: World):
        self.config, self.shelves, self.world = config, shelves, world
        self._shops = [_Shop(s, world, config) for s in shelves if len(s.products) >= 2 * MIN_SATISFYING]

    def make(self, numbers: range) -> Iterator[tuple[History, Latent]]:
        """The users of these numbers, without those for whom no need was found."""
        turns = {s: cycle(found) for s in ROTATION[self.config.split] if (found := [shop for shop in self._shops if shop.sells_to(s)])}
        wanted = cycle([s for s in ROTATION[self.config.split] if s in turns])
        for n, slice in zip(range(numbers.stop), wanted):
            shop = next(turns[slice])
            if n in numbers:
                rng, user = random.Random(f"{self.config.seed}/user/{n}"), f"u{n + 1:05d}"
                if need := shop.need(user, slice, rng):
                    if shop.level.deep:
                        yield History(user, story(user, need, shop.shelf, self.shelves, self.world, rng)), need
                    else:
                        yield History(user, _story(user, need, shop, self.shelves, rng)), need


class _Shop:
    """A category as needs are drawn from it."""

    def __init__(self, shelf: Shelf, world: World, config: WorldConfig):
        self.level = LEVELS[config.difficulty]
        self.shelf, self.world, self.valid_share = shelf, world, config.valid_share * self.level.valid
        self.category: Category = shelf.category
        self.size = len(shelf.products)
        rng = random.Random(f"{config.seed}/sample/{self.category.name}")
        self._sample = np.array(rng.sample(range(self.size), min(self.size, SAMPLE)))
        self._hits = functools.lru_cache(1024)(functools.partial(world.search.products, limit=TOP))

    def sells_to(self, slice: Slice | None) -> bool:
        """Whether needs of a slice are drawn from this category. Every seen category has held-out combinations."""
        return slice is None or held_out_category(self.category.name) == (slice == "unseen category")

    def need(self, user: str, slice: Slice | None, rng: random.Random) -> Latent | None:
        """The proposal of a slice whose share of valid products is nearest to the wanted one; None when none has enough
        products."""
        budget = self._budget(rng)
        affordable = self.shelf.rows["price"][self._sample] <= budget
        available = self.shelf.rows["available"][self._sample]
        proposals: list[tuple[float, list[Constraint]]] = []
        drawn = (self._propose(rng) for _ in range(DRAWS))
        of_slice = (cs for cs in drawn if slice in (None, slice_of(self.category.name, [c.attribute for c in cs])))
        for constraints in islice(of_slice, PROPOSALS):
            valid = affordable & self.shelf.meet(constraints, self._sample)
            if np.count_nonzero(valid & available) >= MIN_SATISFYING:
                share = np.count_nonzero(valid) / np.count_nonzero(affordable)
                proposals.append((abs(share - self.valid_share), constraints))
        best: tuple[float, float, list[Constraint]] | None = None
        for off, constraints in sorted(proposals, key=lambda p: p[0])[:SEARCHED]:
            constraints = [*constraints, Constraint("price", "<=", number_text(budget), "USD")]
            share = self._top_share(constraints, budget)
            off += abs(share - self.valid_share)
            if best is None or off < best[0]:
                best = (off, share, constraints)
        if best is None:
            return None
        ids, places = self.shelf.ids
        return Latent(user, self.category.name, best[2], ids[self.shelf.meet(best[2])[places]].tolist(), best[1])

    def _top_share(self, constraints: list[Constraint], budget: float) -> float:
        hits = self._hits(natural_query(self.category, constraints), max_price=budget)
        if not hits:
            return 0.0
        ids, places = self.shelf.ids
        at = np.minimum(np.searchsorted(ids, hits), self.size - 1)
        return int(np.count_nonzero((ids[at] == hits) & self.shelf.meet(constraints, places[at]))) / len(hits)

    def _budget(self, rng: random.Random) -> float:
        at = float(self.shelf.prices[int(rng.uniform(0.5, 0.9) * (self.size - 1))])
        return float(5 * -(-at // 5))

    def _propose(self, rng: random.Random) -> list[Constraint]:
        """Two or three constraints, each about as strict as their number asks for."""
        size = rng.choice((2, 3))
        n_kinds = rng.choice((0, 1))
        share = self.valid_share ** (1 / size)
        out = []
        for spec in rng.sample(self.category.numeric, size - n_kinds):
            keep = min(0.95, max(0.05, rng.uniform(share - 0.2, share + 0.2)))
            limit = self.shelf.value(spec, int((keep if spec.better == "low" else 1 - keep) * (self.size - 1)))
            out.append(Constraint(spec.name, "<=" if spec.better == "low" else ">=", number_text(limit), spec.unit))
        for kind in rng.sample(self.category.kinds, n_kinds):
            out.append(Constraint(kind.name, rng.choice(("=", "!=")), rng.choice(kind.values)))
        return out


def natural_query(category: Category, constraints: list[Constraint]) -> str:
    """What someone with these needs types first."""
    return " ".join([category.noun.lower(), *(c.attribute for c in constraints if c.attribute != "price")])


def _story(user: str, need: Latent, shop: _Shop, shelves: list[Shelf], rng: random.Random) -> list[Event]:
    """The history behind a need, oldest event first."""
    moments: list[Moment] = []
    for constraint in need.constraints:
        moments += _evidence(constraint, shop, rng)
    others = [s for s in shelves if s is not shop.shelf]
    for n, shelf in enumerate(rng.sample(others, min(2, len(others)))):
        moments += _aside(shelf, with_review=n == 0, rng=rng)
    moments.sort(key=lambda m: m.day)
    noun = shop.category.noun.lower()
    moments.append(Moment(moments[-1].day + 2, "search", text=rng.choice(SEARCHES).format(noun=noun, use=rng.choice(shop.category.uses))))
    return [event(f"{user}-e{n}", m, shop.category.name) for n, m in enumerate(moments, 1)]


def _evidence(constraint: Constraint, shop: _Shop, rng: random.Random) -> list[Moment]:
    """A purchase, and what the user said of it: the constraint follows from it."""
    wants_broken = rng.random() < 0.65
    places = np.array(rng.sample(range(shop.size), min(shop.size, SAMPLE)))
    kept = shop.shelf.meet([constraint], places)
    for at in np.argsort(kept == wants_broken, kind="stable"):
        product, broken = shop.shelf.products[int(places[at])], not kept[at]
        text = complain(product.attributes, constraint, rng, price=product.price, currency=product.currency)
        if text:
            break
    else:
        return []
    kind: EventType = rng.choice(("return", "review", "dialogue")) if broken else rng.choice(("review", "dialogue"))
    if kind == "dialogue":
        text = rng.choice(DIALOGUE).format(text=text, noun=shop.category.noun.lower())
    else:
        text = f"{text}."
    day = rng.randrange(300)
    rating = float(rng.choice((1, 2)) if broken else rng.choice((4, 5))) if kind == "review" else None
    return [Moment(day, "purchase", product), Moment(day + rng.randrange(2, 20), kind, product, text, rating)]


def _aside(shelf: Shelf, with_review: bool, rng: random.Random) -> list[Moment]:
    """A purchase in another category, with a review that praises or blames without a measure."""
    product, day = rng.choice(shelf.products), rng.randrange(300)
    bought = Moment(day, "purchase", product)
    if not with_review:
        return [bought]
    spec = rng.choice(shelf.category.numeric)
    good = shelf.goodness(spec, product.attribute(spec.name).number) >= 0.5
    return [bought, Moment(day + rng.randrange(2, 20), "review", product, opinion(spec.name, good, rng), 5.0 if good else 2.0)]
