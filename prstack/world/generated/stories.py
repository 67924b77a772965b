"""Histories of medium and hard worlds: views, purchases, what was said of them, and a taste that shows along the way.

1. Behind each constraint of the need lie a purchase and, weeks later, one thing that was said of it (`prstack.world.complaints`), from
   which the constraint follows. Users speak of what they experienced, the true value in everyday units; the event shows the listing.
2. Before a purchase they looked at a product or two and did not take them: weak evidence, since a view may as well break the need.
3. A taste, one colour and one thing that they hold dear (repair, packaging, …), shows over several purchases, a return and a remark,
   in whatever category; it is no constraint and stands in no rubric.
4. What was said comes last, before the closing search and views, so that the latest `RECENT` events hold all of the evidence.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from prstack.types import Constraint, Event, EventType, Product
from prstack.world.complaints import complain
from prstack.world.generated.catalogue import COLOURS
from prstack.world.generated.moments import Moment, event
from prstack.world.generated.prose.grammar import expand, tidy
from prstack.world.generated.prose.owners import KIN, opinion_on
from prstack.world.generated.prose.words import COUNTS, PEOPLE, ROOMS, SEASONS, TRADES
from prstack.world.generated.shelf import Shelf, id_of
from prstack.world.match import check
from prstack.world.material import Latent

if TYPE_CHECKING:
    from prstack.world.world import World

RECENT = 12
"""The latest events, which hold all evidence of the need."""
LOOKED_AT = 300
"""Products of a category among which one is looked for."""
LEADS = ("", "", "", "After {season}: ", "Bought for my {kin}. ", "Second try of mine. ", "A {trade} advised me. ")
DIALOGUE = (
    "Customer: [Good morning|Hello|A word about my order]. {text}. Agent: [I see, I have noted it|Understood, I pass it on|Thank you for the clear words].",
    "Agent: How do you get on with the {noun}? Customer: {text}. Agent: [Thank you for telling us|That helps us].",
    "Customer wrote to the service: {text}.",
    "Agent: {person} here, what can I do? Customer: {text}. Agent: [I have added it to your file|We will look into it].",
)
SEARCHES = ("{noun} for {use}", "{noun}", "which {noun} to buy", "{noun} reviews", "new {noun}", "{noun} test", "good {noun} {use}")
VALUES = {
    "repair": (
        "[Could|Can] I order single parts for it one day? I [throw nothing away|like to mend things]",
        "[One screw|A seal] was missing; I would rather [fix|repair] it than send it back",
        "My last one went for {count} years because I could open it up",
    ),
    "packaging": (
        "[Next time|Please] send it without the plastic film[, my {kin} counts the bin bags|]",
        "[Arrived|Came] in cardboard only, [just as I asked|thank you for that]",
        "[So much|All that] foam for one parcel: I wrote to them about it",
    ),
    "nearby": (
        "[Where|In which town] is it made? I [prefer|like] to know the people",
        "I [paid a little more|waited {count} days] because it comes from a small workshop",
        "My {kin} works in such a place, so I look where things come from",
    ),
    "patience": (
        "[No hurry|There is no rush] with the delivery, [slow is fine|send it with the others]",
        "[Ordered|Chosen] after {count} evenings of reading; I do not buy on impulse",
        "I [sleep on|write lists before] every purchase[, my {kin} laughs|]",
    ),
}
"""What someone may hold dear → how it shows, never in so many words."""


class _Teller:
    def __init__(self, world: World, rng: random.Random):
        self.world, self.rng = world, rng
        self.colour = rng.choice(COLOURS)
        self.value = rng.choice(sorted(VALUES))

    def say(self, template: str, **given: str) -> str:
        return expand(template, self.rng, {"season": SEASONS, "kin": KIN, "trade": TRADES, "count": COUNTS, "person": PEOPLE, "room": ROOMS} | given)

    def listed(self, shelf: Shelf, at: int) -> Product:
        """A product as its page lists it: what events show."""
        found = self.world.get(id_of(int(shelf.rows["n"][at])))
        assert found is not None
        return found

    def liked(self, shelf: Shelf, places: list[int]) -> int:
        """The first of a few places whose product has the favourite colour; otherwise the first one."""
        return next((at for at in places[:6] if any(a.value == self.colour for a in self.listed(shelf, at).attributes)), places[0])

    def places(self, shelf: Shelf) -> list[int]:
        return self.rng.sample(range(len(shelf.rows)), min(len(shelf.rows), LOOKED_AT))

    def views(self, shelf: Shelf, bought: int, day: float) -> list[Moment]:
        """One or two products that were looked at before a purchase, and not taken."""
        others = [at for at in self.places(shelf)[:4] if at != bought]
        return [Moment(day - self.rng.randint(0, 3) - 0.5, "view", self.listed(shelf, at)) for at in others[: self.rng.choice((1, 1, 2))]]

    # --- what shows the need -----------------------------------------------------------------------------------
    def evidence(self, c: Constraint, shelf: Shelf) -> tuple[list[Moment], Moment] | None:
        """A purchase with the views before it, and what was said of it later."""
        rng = self.rng
        wants_broken = rng.random() < 0.65
        second: tuple[int, str, bool] | None = None
        for at in self.places(shelf):
            price = float(shelf.rows["price"][at])
            true = shelf.truth(at)
            kept = check(c, true, price=price) is True
            if kept == wants_broken and second:
                continue
            if not (text := complain(true, c, rng, price=price)):
                continue
            second = second or (at, text, not kept)
            if kept != wants_broken:
                second = (at, text, not kept)
                break
        if second is None:
            return None
        at, text, broken = second
        kind: EventType = rng.choice(("return", "review", "dialogue")) if broken else rng.choice(("review", "dialogue"))
        noun = shelf.category.noun.lower()
        said = tidy(self.say(rng.choice(DIALOGUE), text=text, noun=noun)) if kind == "dialogue" else f"{tidy(self.say(rng.choice(LEADS) + text))}."
        rating = float(rng.choice((1, 2)) if broken else rng.choice((4, 5))) if kind == "review" else None
        day, product = rng.randrange(10, 200), self.listed(shelf, at)
        return [*self.views(shelf, at, day), Moment(day, "purchase", product)], Moment(220 + rng.randrange(60), kind, product, said, rating)

    # --- what shows a taste --------------------------------------------------------------------------------------
    def asides(self, shelves: list[Shelf]) -> list[Moment]:
        """Purchases elsewhere: mostly in the favourite colour, one returned for its colour, remarks on what they hold dear."""
        rng, out = self.rng, []
        for n, shelf in enumerate(rng.sample(shelves, min(3, len(shelves)))):
            day = rng.randrange(10, 190)
            at = self.liked(shelf, self.places(shelf))
            product = self.listed(shelf, at)
            out += [*self.views(shelf, at, day), Moment(day, "purchase", product)]
            if n == 0:
                spec = rng.randrange(len(shelf.category.numeric))
                good = shelf.goodness(shelf.category.numeric[spec], shelf.truth(at)[spec].number) >= 0.5
                text = opinion_on(shelf.category.numeric[spec].name, good, shelf.category.noun.lower(), rng)
                out.append(Moment(day + rng.randrange(2, 15), "review", product, text, 5.0 if good else 2.0))
            elif n == 1 and not any(a.value == self.colour for a in product.attributes):
                out.append(Moment(day + rng.randrange(2, 9), "return", product, f"I should have waited for {self.colour}; this does not go with the rest."))
            else:
                remark = self.say(rng.choice(VALUES[self.value]))
                out.append(Moment(day + rng.randrange(2, 15), "dialogue", product, f"Customer: {remark}. Agent: I have noted it."))
        return out


def story(user: str, need: Latent, shelf: Shelf, shelves: list[Shelf], world: World, rng: random.Random) -> list[Event]:
    """The history behind a need, oldest event first."""
    teller = _Teller(world, rng)
    noun, use = shelf.category.noun.lower(), rng.choice(shelf.category.uses)
    before, said = teller.asides([s for s in shelves if s is not shelf]), []
    for constraint in need.constraints:
        if found := teller.evidence(constraint, shelf):
            before += found[0]
            said.append(found[1])
    last = max(m.day for m in [*before, *said]) + 2
    remark = teller.say(rng.choice(VALUES[teller.value]))
    said.append(Moment(last + 1, "dialogue", before[-1].product, f"Customer: {remark}. Agent: Of course."))
    said.append(Moment(last + 3, "search", text=rng.choice(SEARCHES).format(noun=noun, use=use)))
    places = teller.places(shelf)
    said += [Moment(last + 4 + n, "view", teller.listed(shelf, at)) for n, at in enumerate([teller.liked(shelf, places), *places[1:2]])]
    return [event(f"{user}-e{n}", m, shelf.category.name) for n, m in enumerate(sorted([*before, *said], key=lambda m: m.day), 1)]
