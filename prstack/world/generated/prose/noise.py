"""What careless sellers do to titles and texts (hard worlds)."""

from __future__ import annotations

import random

from prstack.world.generated.catalogue import Category
from prstack.world.opinions import praise_words

HYPE = ("NEW 2026", "top rated", "best price", "great gift", "sale", "premium", "original", "bestseller", "limited offer", "5 star", "pro quality", "must have", "trending", "for him and her")
_NEIGHBOURS = {"a": "s", "e": "r", "i": "o", "n": "m", "o": "p", "r": "t", "s": "d", "t": "y", "l": "k", "h": "j", "d": "f", "u": "i"}


def stuffed(title: str, category: Category, rng: random.Random) -> str:
    """A title with search words behind it. The praise among them has nothing to do with the product."""
    praise = [w for spec in category.numeric for w in praise_words(spec.name)[:1]]
    words = [*rng.sample(HYPE, 2), *rng.sample(praise, min(len(praise), rng.choice((1, 2)))), f"for {rng.choice(category.uses)}"]
    rng.shuffle(words)
    return f"{title} - {', '.join(words)}"


def with_slips(sentence: str, rng: random.Random) -> str:
    """A sentence with a slip in about one word of twelve: letters exchanged, doubled, missing, or the key beside."""
    return " ".join(_slip(w, rng) if len(w) > 3 and w.isalpha() and rng.random() < 0.08 else w for w in sentence.split(" "))


def _slip(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    if kind == 2:
        return word[:at] + word[at + 1 :]
    return word[:at] + _NEIGHBOURS.get(word[at], word[at]) + word[at + 1 :]
