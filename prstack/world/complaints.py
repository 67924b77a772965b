"""What users say of products they own: sentences that show a need without stating it.

A limit is never said; it follows from what is said: "With a noise level of 68 dB it is a good 8 dB over what we can live
with" means at most 60 dB. `complain` writes such a sentence about a product, whether the product breaks the constraint
(a complaint) or keeps it (praise with room to spare); `hear_complaint` works the constraint out again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from prstack.types import Attribute, Constraint
from prstack.world.units import NUMBER, convert, currency, measure, money, number, number_text
from prstack.world.units import price as read_price

INCIDENTS: dict[str, tuple[str, ...]] = {
    "noise level": ("it woke the baby every morning", "nobody could talk beside it"),
    "battery life": ("it died on every second trip", "the music stopped before the evening did"),
    "weight": ("nobody wanted to carry it", "my wrists hurt by the evening"),
    "capacity": ("half of what we need had to stay out", "it was full before everyone was served"),
    "charging time": ("it was still on the cable when I had to leave", "I sat waiting for it every morning"),
    "boiling time": ("the tea round was over before the water was ready", "I had left the kitchen before it boiled"),
    "brew time": ("I missed the bus waiting for my cup", "the guests had gone before the second pot"),
    "brightness": ("I could not make out the print in the evening", "the picture vanished when the sun came in"),
    "suction": ("the dog's hair stayed in the carpet", "crumbs stayed between the boards"),
    "run time": ("it gave up before the second room", "the stairs were never done in one go"),
    "assembly time": ("the whole evening went into building it", "I was still on the floor with the screws at midnight"),
    "setup time": ("we stood in the rain until it was up", "the others had eaten before ours stood"),
    "water resistance": ("everything inside was wet after the first shower", "the notebooks came out soaked"),
    "durability": ("the soles were gone before the summer", "I was buying the next pair after one season"),
    "refresh rate": ("the pictures tore whenever it got fast", "scrolling gave me a headache"),
    "range": ("the music broke off at the garden gate", "it lost me in the next room"),
    "power": ("the ice cubes won every time", "the carrots came out as they went in"),
    "clean air rate": ("the smell of dinner stayed until morning", "my eyes itched all through May"),
}
"""What happened to people because of an attribute; each stands for that attribute alone."""

# {x} what the product has, {d} the difference to the limit, {v} the wanted value, {w} the value it has; {a} the attribute;
# {i} an incident, which tells the attribute without naming it.
NUMERIC: dict[tuple[str, str], tuple[str, ...]] = {
    ("<=", "over"): (
        "At {x} {i}, a good {d} over what we can live with",
        "At {x} of {a} it drove everyone mad, a good {d} over what we can live with",
        "The {a} is {x}, and that is {d} too much for us",
        "Had the {a} been {d} less I would have kept it, but {x} was not bearable",
        "We measured {x} for the {a}, so it would have to come down by {d} before we could use it daily",
    ),
    (">=", "over"): (
        "With {x} {i}, and we were a good {d} short of what we need",
        "At {x} of {a} it let us down, a good {d} short of what we need",
        "The {a} is {x}, and that is {d} too little for us",
        "Had the {a} been {d} more I would have kept it, but {x} was not enough",
        "We measured {x} for the {a}, so it would have to go up by {d} before we could use it daily",
    ),
    ("<=", "within"): (
        "The {a} of {x} suits us, and another {d} would still have been fine, though not beyond that",
        "At {x} of {a} it stays {d} clear of the point where we would send it back",
        "With {x} for the {a} there are {d} left before it would bother us",
    ),
    (">=", "within"): (
        "The {a} of {x} suits us, and {d} less would still have been fine, though not beneath that",
        "At {x} of {a} it has {d} in hand over what we could not do without",
        "With {x} for the {a} there are {d} to spare before we would miss something",
    ),
}
BUDGET: dict[str, tuple[str, ...]] = {
    "over": (
        "At {x} it was {d} over what I had put aside",
        "I paid {x}, which is {d} more than I should ever spend on one",
        "It cost {x}, and it had to go back because I was {d} short",
    ),
    "within": (
        "At {x} it left me {d} of what I had put aside",
        "I paid {x} and could have gone {d} higher, not a cent more",
        "It cost {x}, so {d} of the money I had saved for it remained",
    ),
}
KIND: dict[tuple[str, str], tuple[str, ...]] = {
    ("=", "broken"): (
        "The {a} turned out to be {w}; my last one had {v} and I miss that every day",
        "Getting {w} for the {a} was a mistake, and next time it will be {v} again",
        "It came with {w} as the {a}, which is useless here, whereas {v} has always worked for us",
    ),
    ("=", "kept"): (
        "I went through three others before I found {v} for the {a} at last",
        "That the {a} is {v} was the whole reason I bought it",
        "After years of trouble, {v} as the {a} is what finally solved it",
    ),
    ("!=", "broken"): (
        "The {a} is {v}, which ruined it for me",
        "I had not noticed {v} as the {a} and will not make that mistake twice",
        "It was {v} for the {a} that made me send it back",
    ),
    ("!=", "kept"): (
        "I have moved away from {v} for the {a} and do not miss it",
        "Since {v} as the {a} gave me nothing but trouble, this one is a relief",
        "Never again {v} for the {a}, so this one was the right choice",
    ),
}

_INCIDENT_OF = {text.casefold(): attribute for attribute, texts in INCIDENTS.items() for text in texts}
_TEXT = r"(?:[^.,;:!?\"\n]|[.,:](?=\S)){1,60}?"
_SLOTS = {
    "a": rf"(?P<a>{_TEXT})",
    "v": rf"(?P<v>{_TEXT})",
    "w": rf"(?:{_TEXT})",
    "x": rf"(?P<x>(?:{NUMBER})(?: ?(?:fl oz|sq ft|[^\W\d_][^\s,;]*?|[%°\"]))?|[^\s,;]+(?: [^\s,;]+)?)",
    "i": f"(?P<i>{'|'.join(map(re.escape, _INCIDENT_OF))})",
    "d": rf"(?P<d>(?:{NUMBER})(?: ?(?:fl oz|sq ft|[^\W\d_][^\s,;]*?|[%°\"]))?)",
}
_MONEY = rf"(?:[$€£]|[A-Z]{{3}} ?)(?:{NUMBER})"


@dataclass(slots=True, frozen=True)
class _Pattern:
    op: str
    side: str
    regex: re.Pattern[str]


def _compile(template: str, op: str, side: str, slots: dict[str, str]) -> _Pattern:
    body = re.sub(r"\{(\w)\}", lambda m: slots[m[1]], template)
    return _Pattern(op, side, re.compile(rf"(?<![\w-]){body}(?![\w-])", re.I))


_NUMERIC = [_compile(t, op, side, _SLOTS) for (op, side), ts in NUMERIC.items() for t in ts]
_KIND = [_compile(t, op, side, _SLOTS) for (op, side), ts in KIND.items() for t in ts]
_BUDGET = [_compile(t, "<=", side, {"x": f"(?P<x>{_MONEY})", "d": f"(?P<d>{_MONEY})"}) for side, ts in BUDGET.items() for t in ts]


def complain(attributes: Iterable[Attribute], c: Constraint, rng: random.Random, *, price: float | None = None, currency: str = "USD") -> str | None:
    """A sentence by the owner of a product with these attributes and price from which the constraint follows.

    None when the product says nothing about it, or when the difference is nil (nothing can be complained of then).
    """
    if c.attribute == "price":
        if price is None or c.op != "<=":
            return None
        gap = round(price - float(c.value), 2)
        side = "over" if gap > 0 else "within"
        shown = {"x": money(price, currency), "d": money(abs(gap), currency)}
        return _fill(rng.choice(BUDGET[side]), shown) if gap else None
    attribute = next((a for a in attributes if a.name == c.attribute), None)
    if attribute is None:
        return None
    if c.op in ("<=", ">="):
        limit = convert(float(c.value), c.unit, attribute.unit)
        if attribute.number is None or limit is None:
            return None
        gap = round(attribute.number - limit, 6)
        side = "over" if (gap > 0) == (c.op == "<=") else "within"
        shown = {"a": c.attribute, "x": attribute.value, "d": f"{number_text(abs(gap))} {attribute.unit}".strip()}
        templates = [t for t in NUMERIC[c.op, side] if "{i}" not in t or c.attribute in INCIDENTS]
        shown["i"] = rng.choice(INCIDENTS.get(c.attribute, ("",)))
        return _fill(rng.choice(templates), shown) if gap else None
    wanted = f"{c.value} {c.unit}".strip()
    kept = (attribute.value.casefold() == wanted.casefold()) == (c.op == "=")
    return _fill(rng.choice(KIND[c.op, "kept" if kept else "broken"]), {"a": c.attribute, "v": wanted, "w": attribute.value})


def _fill(template: str, slots: dict[str, str]) -> str:
    return re.sub(r"\{(\w)\}", lambda m: slots[m[1]], template)


def hear_complaint(text: str) -> list[Constraint]:
    """The constraints that follow from what an owner says, in the text's order, each once. Never raises."""
    text = " ".join(text[:20_000].replace("’", "'").split())
    found: list[tuple[int, Constraint]] = []
    for pattern in _BUDGET:
        for m in pattern.regex.finditer(text):
            had, gap = read_price(m["x"]), read_price(m["d"])
            if had is not None and gap is not None:
                limit = had - gap if pattern.side == "over" else had + gap
                found.append((m.start(), Constraint("price", "<=", number_text(round(limit, 2)), currency(m["x"]) or "USD")))
    for pattern in _NUMERIC:
        for m in pattern.regex.finditer(text):
            if c := _limit(pattern, m):
                found.append((m.start(), c))
    for pattern in _KIND:
        for m in pattern.regex.finditer(text):
            value = measure(m["v"])
            unit = value[1] if value else ""
            found.append((m.start(), Constraint(m["a"], pattern.op, number_text(value[0]) if value else m["v"], unit)))
    out: list[Constraint] = []
    for _, c in sorted(found, key=lambda f: f[0]):
        if c not in out:
            out.append(c)
    return out


def _limit(pattern: _Pattern, m: re.Match[str]) -> Constraint | None:
    had, gap = _read(m["x"]), _read(m["d"])
    if had is None or gap is None:
        return None
    by = convert(gap[0], gap[1], had[1])
    if by is None:
        return None
    down = (pattern.op == "<=") == (pattern.side == "over")
    groups = m.groupdict()
    name = groups.get("a") or _INCIDENT_OF[groups["i"].casefold()]
    return Constraint(name, pattern.op, number_text(had[0] - by if down else had[0] + by), had[1])


def _read(text: str) -> tuple[float, str] | None:
    found = measure(text)
    if found:
        return found
    loose = re.fullmatch(rf"({NUMBER})[ -]?([^\W\d_].*)?", text)
    return (number(loose[1]), loose[2] or "") if loose else None
