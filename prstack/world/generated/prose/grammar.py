"""Templates with choices: "[The|This] {part} [is|was] {how}[|, too]." gives one of eight sentences.

`[a|b|]` is one of its alternatives, which may hold further brackets; an empty one leaves the words out. `{name}` is filled from what is
given: a text, or one of several texts. A template is cut into a tree once; to expand it is a walk.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Mapping, Sequence

Filling = Mapping[str, str | Sequence[str]]
_Choice = tuple["_Sequence", ...]
_Sequence = tuple["str | _Slot | _Choice", ...]


_ARTICLE = re.compile(r"(?<![\w-])([Aa])(?= [aeiou](?!ne\b|ni|se))")
_START = re.compile(r"(?<=[.?!] )[a-z]")


class _Slot(str):
    __slots__ = ()


@functools.cache
def _parsed(template: str) -> _Sequence:
    found, end = _sequence(template, 0)
    if end != len(template):
        raise ValueError(f"a bracket too many in {template!r}")
    return found


def _sequence(text: str, at: int) -> tuple[_Sequence, int]:
    """What stands until the next "|" or "]" of this level, and where that is."""
    parts: list[str | _Slot | _Choice] = []
    start = at
    while at < len(text) and text[at] not in "|]":
        if text[at] not in "[{":
            at += 1
            continue
        if start < at:
            parts.append(text[start:at])
        if text[at] == "{":
            end = text.index("}", at)
            parts.append(_Slot(text[at + 1 : end]))
            at = end + 1
        else:
            options: list[_Sequence] = []
            while not options or text[at] == "|":
                option, at = _sequence(text, at + 1)
                options.append(option)
                if at >= len(text):
                    raise ValueError(f"an open bracket in {text!r}")
            parts.append(tuple(options))
            at += 1
        start = at
    if start < at:
        parts.append(text[start:at])
    return tuple(parts), at


def expand(template: str, rng: random.Random, given: Filling) -> str:
    """One of the sentences of a template, with a capital. Raises KeyError for a slot that is not given."""
    out: list[str] = []
    _walk(_parsed(template), rng, given, out)
    text = "".join(out)
    return text[0].upper() + text[1:]


def _walk(parts: _Sequence, rng: random.Random, given: Filling, out: list[str]) -> None:
    for part in parts:
        if type(part) is _Slot:
            value = given[part]
            out.append(value if isinstance(value, str) else value[int(rng.random() * len(value))])
        elif type(part) is tuple:
            _walk(part[int(rng.random() * len(part))], rng, given, out)
        else:
            out.append(part)


def tidy(sentence: str) -> str:
    """A sentence with "an" where a vowel follows, and capitals where another begins."""
    return _START.sub(lambda m: m[0].upper(), _ARTICLE.sub(r"\1n", sentence))


def ways(template: str) -> int:
    """How many sentences a template gives, slots aside."""
    return _ways(_parsed(template))


def _ways(parts: _Sequence) -> int:
    total = 1
    for part in parts:
        if type(part) is tuple:
            total *= sum(_ways(option) for option in part)
    return total
