"""Reviews of medium and hard worlds: opinions that follow the true values, and values that owners measured.

1. Opinions and stars follow the true value of each attribute, as in easy worlds (`prstack.world.generated.stock.reviews`).
2. A false listing has two reviews at least: both blame the attribute, and the first one states its true value. So a product's page
   always shows what is true of it (`prstack.world.match.satisfies` takes owners' measurements before the listing).
3. An attribute that the listing leaves out is stated by an owner of `Level.told`; now and then owners state one that is listed.
"""

from __future__ import annotations

from dataclasses import dataclass

from prstack.types import Attribute, Product, Review
from prstack.world.generated.levels import Level
from prstack.world.generated.prose.owners import review
from prstack.world.generated.shelf import Shelf, attribute
from prstack.world.generated.stock import BAD, GOOD, TASTE, review_stream
from prstack.world.statements import state

CONFIRMED = 0.08
"""Share of reviews that state a listed value, as it is."""
WITNESSES = 2
"""Reviews that a false listing has at least."""

STATED = 2
"""Values that a review states at most, so that it is shown whole."""


@dataclass(slots=True)
class Said:
    """`told`: places of the attributes whose value some owner states, as bits."""

    reviews: list[Review]
    told: int


def said_of(seed: int, level: Level, shelf: Shelf, p: Product, false: tuple[int, int] | None, unlisted: int, first: int) -> Said:
    """A product's reviews, numbered from `first` + 1; sets its rating. `p` is as its row says, every attribute in its place."""
    numeric = shelf.category.numeric
    feels = {s.name: shelf.goodness(s, a.number) for s, a in zip(numeric, p.attributes)}
    truth = list(p.attributes)
    if false:
        feels[numeric[false[0]].name] = 0.0
        truth[false[0]] = attribute(numeric[false[0]], false[1])
    rng, count = review_stream(seed, p)
    stated: list[list[Attribute]] = [[] for _ in range(count)]
    told = 0
    for j, a in enumerate(truth if count else ()):
        lies = bool(false) and false[0] == j
        if lies or (unlisted >> j & 1 and rng.random() < level.told):
            values = stated[0 if lies else rng.randrange(count)]
            if lies or len(values) < STATED - bool(false):  # the first review keeps room for the false value
                values.append(a)
                told |= 1 << j
    for values in stated:
        if not values and rng.random() < CONFIRMED:
            j = rng.randrange(len(truth))
            values.append(truth[j])
            told |= 1 << j
    mean, out = sum(feels.values()) / len(feels), []
    for n, values in enumerate(stated):
        spoken = rng.sample(list(feels), rng.choice((1, 2, 2)) if len(values) < STATED else 1)
        if false and n < WITNESSES and numeric[false[0]].name not in spoken:
            spoken[0] = numeric[false[0]].name
        opinions = [(a, feels[a] >= GOOD) for a in spoken if feels[a] >= GOOD or feels[a] < BAD]
        stars = min(5, max(1, round(1.6 + 3.2 * mean + rng.uniform(-TASTE, TASTE))))
        text = review(shelf.category, opinions, [state(a, rng) for a in values], rng)
        out.append(Review(f"R{first + n + 1}", p.id, float(stars), text, user_id=f"reviewer-{rng.randrange(10_000):04d}"))
    p.n_reviews = count
    p.rating = round(sum(r.rating for r in out) / count, 1) if out else None
    return Said(out, told)
