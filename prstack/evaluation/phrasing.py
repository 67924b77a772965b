"""Queries for evaluation: needs in words that synthesis does not use.

`say` knows the phrases of synthesis. The ones here are of another wording, and heard all the same
(`prstack.world.language.HEARD`); a need for which none of them is heard is said in the usual words.
"""

from __future__ import annotations

import random

from prstack.types import Constraint
from prstack.world.language import canonical, hear, say
from prstack.world.limits import amount

OPENINGS = (
    "I have a purchase to make soon.",
    "My old one gave up last week.",
    "A friend told me that you know your way around shops.",
    "There is too much choice out there for me.",
    "Please have a look around for me.",
)
HELD_OUT: dict[tuple[str, str], tuple[str, ...]] = {
    ("category", "="): ("I am searching for {v}", "recommend me {v}", "could you recommend {v}"),
    ("price", "<="): ("I would like to stay under {v}", "my price limit is {v}", "{v} at most", "I will spend max {v}"),
    ("", "<="): ("no more than {n} in {a}", "at most {n} for the {a}", "maximum {a}: {n}", "the {a}: no more than {n}"),
    ("", ">="): ("at least {n} of {a}", "at least {n} for the {a}", "minimum {a}: {n}", "the {a}: at least {n}"),
    ("", "!="): ("the {a} cannot be {n}", "no {n} for the {a}", "avoid {n} as the {a}"),
    ("", "="): ("I prefer {n} for the {a}", "the {a} needs to be {n}", "choose {n} as the {a}"),
}
"""(attribute, op) → templates; the empty attribute is any other."""
ATTEMPTS = 8


def state(constraints: list[Constraint], rng: random.Random, held_out: bool = True) -> str:
    """A query that states the constraints, category first; `hear` gives exactly them back.

    Raises ValueError for constraints that cannot be said so (`prstack.world.language.utterable`).
    """
    wanted = sorted(map(_key, map(canonical, constraints)))
    lead = [c for c in constraints if c.attribute == "category"]
    rest = [c for c in constraints if c.attribute != "category"]
    for attempt in range(ATTEMPTS):
        rng.shuffle(rest)
        usual = not held_out or attempt == ATTEMPTS - 1
        phrases = [say(c, rng) if usual else phrase(c, rng) for c in (*lead, *rest)]
        query = " ".join([rng.choice(OPENINGS), *(f"{p[0].upper()}{p[1:].rstrip('.')}." for p in phrases)])
        if sorted(map(_key, hear(query))) == wanted:
            return query
    raise ValueError(f"cannot be said so that they are heard again: {constraints}")


def phrase(c: Constraint, rng: random.Random) -> str:
    """A held-out phrase for a constraint, or a usual one where none would be heard. Raises ValueError as `say` does."""
    own = c.attribute if c.attribute in ("price", "category") else ""
    templates = list(HELD_OUT.get((own, c.op), ()))
    rng.shuffle(templates)
    for template in templates:
        text = template.format(a=c.attribute, n=amount(c), v=amount(c))
        if hear(f"{text[0].upper()}{text[1:]}.") == [canonical(c)]:
            return text
    return say(c, rng)


def _key(c: Constraint) -> tuple[str, str, str, str]:
    return c.attribute, c.op, c.value, c.unit
