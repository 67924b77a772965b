"""What documents of world text are made of: needs, their short form, values beside limits, notes on products.

A document is pieces of text, each of which is learned or only read. What a model could only guess (which price, which wood?) is
mostly only read, so that the gradient goes to what can be worked out from the context.
"""

from __future__ import annotations

import random

from prstack.pretrain.wording import plain
from prstack.types import Constraint, Product
from prstack.world.generated.catalogue import Category
from prstack.world.holdout import held_out_combination
from prstack.world.limits import limit, verdict
from prstack.world.match import satisfies
from prstack.world.units import money, number_text

VERDICTS = (("fits", "does not fit"), ("fits", "does not fit"), ("fits", "does not fit"), ("is fine", "is not"), ("yes", "no"))
KEPT = (("I keep it.", "I drop it."), ("I keep it.", "I drop it."), ("It stays on the list.", "It is out."), ("A candidate.", "Not for me."))
SEPARATOR = "\n\n"
LEARNED_MATERIAL = 0.08
"""Share of the material that is learned all the same, so that the model is one of this language too."""

Piece = tuple[str, bool]
"""Text, and whether it is learned."""


def good(p: Product, needs: list[Constraint]) -> bool:
    """Whether a product can be bought and meets every need."""
    return p.available and all(satisfies(c, p) for c in needs)


def note(p: Product, needs: list[Constraint], words: tuple[str, str], kept: tuple[str, str]) -> str:
    """The verdict on every need, and whether the product is kept: `words` and `kept` are (yes, no)."""
    said = [" ".join(held_against(p, c, words)) for c in needs if c.attribute != "category"]
    return f"{p.id}: {'; '.join(said)}.{'' if p.available else ' It is out of stock.'} {kept[0] if good(p, needs) else kept[1]}"


def held_against(p: Product, c: Constraint, words: tuple[str, str]) -> tuple[str, str]:
    """A value beside its limit, and the verdict: ("noise level 57 dB (at most 60 dB)", "is lower, fits")."""
    value = f"price {price(p)}" if c.attribute == "price" else f"{c.attribute} {p.attribute(c.attribute).value}"
    return f"{value} ({limit(c)})", verdict(c, p, words)


def properties(p: Product, rng: random.Random, every: bool = False) -> list[tuple[str, str]]:
    """(name, value) of a product's price and attributes in some order: all of them, or two to four."""
    all_ = [("price", price(p)), *((a.name, a.value) for a in p.attributes)]
    rng.shuffle(all_)
    return all_ if every else all_[: rng.randint(2, 4)]


def listed(values: list[tuple[str, str]]) -> str:
    """`name value; name value`."""
    return "; ".join(f"{name} {value}" for name, value in values)


def material(text: str, rng: random.Random) -> Piece:
    """Text to read, which is now and then learned (`LEARNED_MATERIAL`)."""
    return text, rng.random() < LEARNED_MATERIAL

def needs_of(category: Category, products: list[Product], rng: random.Random) -> list[Constraint]:
    """The category, one to three needs with limits from among the products' own values or near them, and mostly a budget.

    Combinations that are held out are not drawn; directions are mostly the usual one.
    """
    while True:
        size = rng.choice((1, 2, 2, 3))
        names = rng.sample([*category.numeric, *category.kinds], size)
        if not held_out_combination(category.name, [n.name for n in names]):
            break
    out = [Constraint("category", "=", category.name)]
    for spec in names:
        values = [p.attribute(spec.name) for p in products]
        if values[0].number is None:
            out.append(Constraint(spec.name, rng.choice(("=", "!=")), rng.choice(values).value))
            continue
        at = rng.choice(values).number + rng.choice((0, 0, 1, -1, 2, -2, 4, -4)) * spec.step
        usual = "<=" if spec.better == "low" else ">="
        op = usual if rng.random() < 0.85 else {"<=": ">=", ">=": "<="}[usual]
        out.append(Constraint(spec.name, op, number_text(round(min(max(at, spec.low), spec.high), 4)), values[0].unit))
    if rng.random() < 0.85:
        limit = 5 * -(-rng.choice(products).price * rng.uniform(0.9, 1.3) // 5)
        out.append(Constraint("price", "<=", number_text(limit), "USD"))
    rng.shuffle(out)
    return out


def in_short(needs: list[Constraint], rng: random.Random) -> str:
    """All needs in short form, the category first: in a line, or one below the other."""
    category = [f"looking for {c.value}" for c in needs if c.attribute == "category"]
    items = [*category, *(plain(c) for c in needs if c.attribute != "category")]
    if rng.random() < 0.4:
        return f"In short: {'; '.join(items)}."
    return rng.choice(("Needs:", "Wanted:", "What counts:")) + "\n" + "\n".join(f"- {item}" for item in items)


def searched(category: Category, rng: random.Random) -> str:
    """What somebody would type into the search for a category."""
    named = rng.sample([*category.numeric, *category.kinds], rng.randint(0, 2))
    return " ".join([rng.choice((category.noun.lower(), category.name)), *(n.name for n in named)])


def price(p: Product) -> str:
    """A price as pages print it."""
    return money(p.price, p.currency)


def stars(p: Product) -> str:
    """The rating in words."""
    return f"{p.rating:.1f} stars" if p.rating is not None else "not yet"
