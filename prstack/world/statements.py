"""Values of attributes in sentences: said by owners, testers, brands and descriptions, and read again.

`state` writes a sentence ("I measured the noise level myself and got 71 dB"), `stated` reads all of a text. Only the
names and values of the generated catalogue are read: a number must have a unit that fits the attribute, a word must be a value that
the attribute can have. So "the battery life is amazing" states nothing.

Owners' values outweigh the listing (`prstack.world.match.satisfies`): a page that claims 55 dB above reviews that measured 71 dB shows
71 dB.
"""

from __future__ import annotations

import functools
import random
import re

from prstack.types import Attribute
from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.names import OTHER_NAMES, fold, usual
from prstack.world.units import NUMBER, convert, measure

OWNER = (
    "I measured the {a} myself and got {x}",
    "My own reading for the {a} was {x}",
    "I checked the {a} at home and found {x}",
    "In case you wonder about the {a}, it is {x}",
    "For the {a} we noted {x}",
    "Ours came to {x} for the {a}",
)
OWNER_WORDS = ("In case you wonder about the {a}, it is {x}", "For the {a} we noted {x}", "As for the {a}, it is {x}", "What the page leaves open: the {a} is {x}")
"""For values that are words; nobody measures them."""
TESTER = ("We measured {x} for the {a}", "Our bench gave {x} for the {a}", "On the bench we read {x} for the {a}", "We put the {a} down as {x}")
SELLER = ("The {a} is {x}", "We state the {a} as {x}", "For the {a} we give {x}", "As for the {a}, it is {x}")

_MAX = 4000
_NAMES = sorted((re.escape(n) for name, others in OTHER_NAMES.items() for n in (name, *others)), key=len, reverse=True)
_NAME = f"(?P<a>{'|'.join(_NAMES)})"
_VALUE = rf"(?P<x>{NUMBER} ?(?:fl oz|sq ft|[^\W\d_][^\s,;.]*)|[^.,;:!?\"\n]{{2,30}}?)"


def _pattern(template: str) -> re.Pattern[str]:
    body = re.escape(template).replace(r"\{a\}", _NAME).replace(r"\{x\}", _VALUE).replace(r"\ ", " ")
    return re.compile(rf"(?<![\w-]){body}(?=[.,;!?]|$)", re.I | re.M)


_PATTERNS = [(t.split("{")[0].casefold(), _pattern(t)) for t in dict.fromkeys((*OWNER, *OWNER_WORDS[:3], *TESTER, *SELLER))]
"""How a sentence begins, and the whole of it; most texts have few of the beginnings."""
_UNITS = {(fold(s.name), s.unit) for c in CATEGORIES for s in c.numeric}
_WORDS = {(fold(k.name), fold(v)) for c in CATEGORIES for k in c.kinds for v in k.values}


def state(a: Attribute, rng: random.Random, templates: tuple[str, ...] = OWNER) -> str:
    """A sentence that gives an attribute's value, with its full stop."""
    if a.number is None and templates is OWNER:
        templates = OWNER_WORDS
    return rng.choice(templates).replace("{a}", a.name).replace("{x}", a.value) + "."


@functools.lru_cache(16384)
def stated(text: str) -> tuple[Attribute, ...]:
    """The values that a text gives in such sentences, in its order, under their usual names. Never raises."""
    text = text[:_MAX]
    folded = text.casefold()
    patterns = [pattern for beginning, pattern in _PATTERNS if beginning in folded]
    found = [(m.start(), a) for pattern in patterns for m in pattern.finditer(text) if (a := _read(m["a"], m["x"]))]
    return tuple(a for _, a in sorted(found, key=lambda f: f[0]))


def _read(name: str, value: str) -> Attribute | None:
    name = usual(name)
    number = measure(value)
    if number and number[1] and any(n == name and convert(1.0, number[1], unit) is not None for n, unit in _UNITS):
        return Attribute(name, value, *number)
    return Attribute(name, value) if (name, fold(value)) in _WORDS else None


