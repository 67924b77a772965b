"""What a product's reviewers speak of: how many praise and how many blame each of its attributes.

1. Opinions are heard as everywhere (`prstack.world.opinions`), in the sentences that hold a word of opinion at all: a product may have
   thousands of reviews, and to listen is slow. A reviewer counts once for praise and once for blame of an attribute,
   however often they say it.
2. Attributes come in the order in which they are first mentioned, under the name that is used there; case does not matter.
3. What is praised by name ("happy with the zipper") is a stranger's wording: a name of many words is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from prstack.tools.neutralise import READ, one_line
from prstack.types import Review
from prstack.world.opinions import OPINIONS, hear_opinions

MAX_WORDS, MAX_NAME = 4, 40
"""Longest name of an attribute, in words and in characters."""
_CUES = {word.split()[0] for pair in OPINIONS.values() for words in pair for word in words} | {"happy", "disappointed"}
"""Words with one of which every opinion begins."""
_TOKEN, _SENTENCE = re.compile(r"[\w-]+"), re.compile(r"[^.!?]+")


def count_aspects(reviews: Iterable[Review], most: int) -> dict[str, tuple[int, int]]:
    """Attribute → (reviewers who praise it, reviewers who blame it), of the first `most` attributes; names are neutralised."""
    names: dict[str, str] = {}
    counts: dict[str, list[int]] = {}
    shown: dict[str, str] = {}
    for review in reviews:
        for said, good in dict.fromkeys(opinions(review.text)):
            if said not in names:
                name = one_line(said.replace(":", " "))
                names[said] = name if name and len(name) <= MAX_NAME and len(name.split()) <= MAX_WORDS else ""
            if names[said]:
                key = names[said].casefold()
                shown.setdefault(key, names[said])
                counts.setdefault(key, [0, 0])[0 if good else 1] += 1
    return {shown[key]: (good, bad) for key, (good, bad) in list(counts.items())[:most]}


def opinions(text: str) -> Iterator[tuple[str, bool]]:
    """(attribute, good) of every opinion in a text, in its order."""
    text = text[:READ]
    if _CUES.isdisjoint(_TOKEN.findall(text.casefold())):
        return
    for sentence in _SENTENCE.findall(text):
        if not _CUES.isdisjoint(_TOKEN.findall(sentence.casefold())):
            yield from ((attribute, good) for attribute, _, good in hear_opinions(sentence))
