"""Does a plan take up the needs of the query, as they were stated, and say how they are checked?

1. Needs are heard in the query (`prstack.world.language`), opinions aside. The plan is heard likewise, after marks of lists and bold names
   are taken out of it; what is not heard is looked for in its clauses and lines by the name of the property, the number, or the value.
2. A need is left out when no part of the plan speaks of it; it is changed when a part gives its property another limit, direction,
   unit, currency or value. The plan adds a need when it sets a measure to a property of which the query does not speak.
3. Somewhere outside the needs the plan has to say that pages are opened or needs checked.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from actors.expert.findings import finding, stems
from prstack.types import Constraint
from prstack.world.language import hear, say, utterable
from prstack.world.limits import amount, limit
from prstack.world.names import OTHER_NAMES, fold, usual
from prstack.world.units import NUMBER, convert, currency, number, unit_entry

KEPT, MISSING, CHANGED = "kept", "missing", "changed"
_MARKS = re.compile(r"\*\*|__|`|^[ \t]*(?:#{1,6}\s+|[-*+•]\s+|\d{1,2}[.)]\s+)", re.M)
_SHORT = [
    (re.compile(short, re.I), long)
    for short, long in (
        (r"\bmax\.?(?= [$€£₱A-Z]{0,4} ?\d)", "at most"),
        (r"\bmin\.?(?= [$€£₱A-Z]{0,4} ?\d)", "at least"),
        (r"\banything but\b", "anything except"),
    )
]
_CLAUSE = re.compile(r"\n|[;!?](?=\s|$)|\.(?=\s|$)|,(?=\s)|\s(?:and|but|with)\s")
_LINE = re.compile(r"\n|[;!?](?=\s|$)|\.(?=\s|$)")
_NUMBER = re.compile(rf"(?<![\w.])({NUMBER})\s?-?\s?((?:fl|sq)\.? ?(?:oz|ft)\b|[^\W\d_][\w²³]*(?:/\w)?|[%°\"]C?)?")
_MONEY = re.compile(rf"(?:[$€£₱]|\b[A-Z]{{3}} ?)\s?({NUMBER})|({NUMBER})\s?(?:[€£₱]|[A-Z]{{3}}\b|dollars|euros?)")
_PRICE = re.compile(r"\b(?:price|priced|budget|costs?|spend|pay|expensive)\b|[$€£₱]", re.I)
_UPPER = re.compile(r"at most|no more|not more|up to|under|below|less|within|exceed|maximum|lower|or below|<|≤|budget", re.I)
_LOWER = re.compile(r"at least|no less|not less|over|above|more than|or more|minimum|higher|start at|(?:to|must|should) reach|fall below|>|≥", re.I)
_NOT = re.compile(
    r"\b(?:not?|never|without|except|but|avoid\w*|exclud\w*|other than|leave out|spare|skip\w*|rul\w+ out|enough of|non|anything but|free of)\b|n't\b|≠|!=",
    re.I,
)
_LOOKS = re.compile(r"\b(?:open|visit|read|check|verif|inspect|examin|look (?:at|into|through)|go through|study|pages?\b|listing|details)\w*", re.I)
_SKIPS = re.compile(r"\b(?:not|no need|never|without|instead of|rather than|straight from|directly from|skip\w*)\b|n't\b", re.I)
_OF_THE_WORK = re.compile(
    r"\b(?:i|we|will|open|visit|check|compare|read|results?|pages?|products?|hits?|search(?:es)?|reports?|needs?|candidates?|"
    r"options?|steps?|calls?|items?|reviews?|listings?)\b",
    re.I,
)


def check(plan: str, query: str, rng: random.Random) -> list[dict]:
    """The findings on a plan; one that is ok when there are none."""
    text = _tidy(plan)
    heard = [replace(c, attribute=c.attribute.rstrip(": ")) for c in hear(text)]
    asked = [c for c in hear(query) if c.attribute != "opinion"]
    out = []
    for c in asked:
        status = _status(c, heard, text)
        if status != KEPT:
            what = "leaves out a need" if status == MISSING else "changes a need"
            out.append(finding("covers_needs", f"the plan {what}: {_said(c, rng)}"))
    for c in _added(heard, asked, query, text):
        out.append(finding("covers_needs", f"the plan adds a need that nobody has stated ({c.attribute} {limit(c)})"))
    if not any(_LOOKS.search(s) and not _SKIPS.search(s) for s in _LINE.split(text)):
        out.append(finding("covers_needs", "the plan does not say how the needs are checked, for no product's page is opened"))
    return out or [finding("covers_needs")]


def _tidy(plan: str) -> str:
    text = _MARKS.sub("", plan)
    for short, long in _SHORT:
        text = short.sub(long, text)
    return text


def _said(c: Constraint, rng: random.Random) -> str:
    return say(c, rng) if utterable(c) else f"{c.attribute} {limit(c)}"


def _status(c: Constraint, heard: list[Constraint], text: str) -> str:
    if c.attribute == "category":
        return _category(c, heard, text)
    same = [h for h in heard if usual(h.attribute) == usual(c.attribute)]
    if any(_equal(h, c) for h in same):
        return _currency_kept(c, text)
    if c.attribute == "price":
        return _measured(c, text, _PRICE.search, _amounts)
    named = _namer(c)
    if c.op in ("<=", ">="):
        found = _measured(c, text, named, _quantities)
        return CHANGED if found == MISSING and any(h.op in ("<=", ">=") for h in same) else found
    return _valued(c, text, named, bool(same))


def _equal(h: Constraint, c: Constraint) -> bool:
    """Whether what was heard is the need: numbers after conversion, within a hundredth."""
    if h.op != c.op:
        return False
    if c.op in ("<=", ">="):
        return _near(float(h.value), "" if c.attribute == "price" else h.unit, c)
    return fold(h.value) == fold(c.value) and (h.unit == c.unit or not h.unit)


def _near(value: float, unit: str, c: Constraint) -> bool:
    converted = value if c.attribute == "price" else convert(value, unit, c.unit)
    return converted is not None and abs(converted - float(c.value)) <= 0.01 * abs(float(c.value))


def _currency_kept(c: Constraint, text: str) -> str:
    """A budget keeps its currency: an amount of the same number in another one is another budget."""
    if c.attribute != "price" or not c.unit:
        return KEPT
    said = {currency(m[0]) for m in _MONEY.finditer(text) if _near(number(m[1] or m[2]), "", c)} - {None}
    return CHANGED if said and c.unit not in said else KEPT


def _namer(c: Constraint) -> Callable[[str], object]:
    names = {fold(c.attribute), usual(c.attribute), *map(fold, OTHER_NAMES.get(usual(c.attribute), ()))}
    return lambda part: any(re.search(rf"(?<!\w){re.escape(n)}(?!\w)", fold(part)) for n in names)


def _quantities(part: str, c: Constraint) -> list[tuple[float, str]]:
    return [(number(m[1]), m[2] or "") for m in _NUMBER.finditer(part) if not m[2] or unit_entry(m[2]) or m[2] == c.unit]


def _amounts(part: str, c: Constraint) -> list[tuple[float, str]]:
    money = [(number(m[1] or m[2]), "") for m in _MONEY.finditer(part)]
    return money or [(n, "") for n, _ in _quantities(part, c)]


def _measured(c: Constraint, text: str, named: Callable[[str], object], read: Callable[[str, Constraint], list[tuple[float, str]]]) -> str:
    """A limit in parts of the plan that name its property, else anywhere with its unit."""
    seen = MISSING
    for split in (_CLAUSE, _LINE):
        for part in filter(named, split.split(text)):
            numbers = read(part, c)
            if any(_near(n, u, c) for n, u in numbers):
                return CHANGED if _turned(part, c.op) else _currency_kept(c, text)
            seen = CHANGED if numbers else seen
        if seen != MISSING:
            return seen
    if (
        c.unit
        and c.attribute != "price"
        and any(u and _near(n, u, c) and not _turned(part, c.op) for part in _CLAUSE.split(text) for n, u in _quantities(part, c))
    ):
        return KEPT
    return MISSING


def _turned(part: str, op: str) -> bool:
    upper, lower = _UPPER.search(part), _LOWER.search(part)
    return bool(lower and not upper) if op == "<=" else bool(upper and not lower)


def _valued(c: Constraint, text: str, named: Callable[[str], object], heard: bool) -> str:
    """A value that is wanted or not, in parts of the plan that hold it."""
    value = re.compile(rf"(?<!\w){re.escape(fold(f'{c.value} {c.unit}'.strip()))}(?!\w)")
    holding = [p for p in _CLAUSE.split(text) if value.search(fold(p))] or [p for p in _LINE.split(text) if value.search(fold(p))]
    if any(bool(_NOT.search(p)) == (c.op == "!=") for p in holding):
        return KEPT
    return CHANGED if holding or heard or any(named(p) and ":" in p for p in _LINE.split(text)) else MISSING


def _category(c: Constraint, heard: list[Constraint], text: str) -> str:
    """A category is kept when the plan has one of its words: people shorten it."""
    if c.op == "!=" or stems(c.value) & stems(text) or not stems(c.value):
        return KEPT
    return CHANGED if any(h.attribute == "category" for h in heard) else MISSING


def _added(heard: Iterable[Constraint], asked: list[Constraint], query: str, text: str) -> list[Constraint]:
    """Measures of properties of which the query does not speak. One without a unit has to begin a line."""
    known, words, lines = {usual(c.attribute) for c in asked}, fold(query), [fold(line) for line in text.split("\n")]
    new = [c for c in heard if c.op in ("<=", ">=") and c.attribute != "price" and usual(c.attribute) not in known and fold(c.attribute) not in words]
    new = [c for c in new if len(c.attribute.split()) <= 4 and not _OF_THE_WORK.search(f"{c.attribute} {amount(c)}")]
    return [c for c in new if unit_entry(c.unit) or any(line.startswith(fold(c.attribute)) for line in lines)]
