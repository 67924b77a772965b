"""What a need asks of its attribute, in short, and where a product stands to it.

An agent that holds a value against a limit says first where it stands ("is lower") and then what follows ("fits"): for a small model
the first is one comparison and the second one rule, and both together neither (docs/experiments/base-model.md).
"""

from __future__ import annotations

import dataclasses

from prstack.types import Constraint
from prstack.world.match import Described, satisfies
from prstack.world.units import money

WORDS = {"<=": "at most", ">=": "at least", "=": "has to be", "!=": "must not be"}


def amount(c: Constraint) -> str:
    """The value of a need with its unit, as people write it: "60 dB", "$120"."""
    if c.attribute == "price":
        return money(float(c.value), c.unit or "USD").removesuffix(".00")
    return f"{c.value}{'' if c.unit in ('', '%', '°') else ' '}{c.unit}"


def limit(c: Constraint) -> str:
    """What a need asks: "at most 60 dB", "has to be glass"."""
    return f"{WORDS[c.op]} {amount(c)}"


def standing(c: Constraint, product: Described) -> str | None:
    """Where a product stands to a need: "lower", "equal" or "higher" for limits, "the same" or "another" for values; None when it does
    not say."""
    if c.op in ("<=", ">="):
        below, above = (satisfies(dataclasses.replace(c, op=op), product) for op in ("<=", ">="))
        return None if below is None else "equal" if below and above else "lower" if below else "higher"
    same = satisfies(dataclasses.replace(c, op="="), product)
    return None if same is None else "the same" if same else "another"


def verdict(c: Constraint, product: Described, words: tuple[str, str] = ("fits", "does not fit")) -> str:
    """The standing and what follows: "is lower, fits"; "does not say" when the product does not."""
    where = standing(c, product)
    return "does not say" if where is None else f"is {where}, {words[not satisfies(c, product)]}"
