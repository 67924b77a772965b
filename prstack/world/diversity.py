"""How much a collection's texts differ from each other: distinct n-grams and self-BLEU.

- distinct-n: different n-grams over all n-grams, of the first `WORDS` words, since the share falls with the length.
- self-BLEU: the mean over texts of BLEU-4 of a text against all others as references. 1 is the same text again and again.

Sources: Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models" (distinct-n); Zhu et al. 2018,
"Texygen" (self-BLEU); Papineni et al. 2002 (BLEU; here with one added to hits and n-grams above one word, as Lin and Och 2004
do, since short texts often share no four words).
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WORDS, TEXTS, ORDER = 10_000, 200, 4
"""Words for distinct-n, texts for self-BLEU, and its longest n-grams."""
_WORD = re.compile(r"\w+")


@dataclass(slots=True, frozen=True)
class Diversity:
    """`distinct`: n → share of different n-grams, for n = 1, 2, 3."""

    distinct: dict[int, float]
    self_bleu: float
    texts: int


def words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def diversity(texts: Iterable[str], seed: int = 0) -> Diversity:
    """Of a seeded sample of the texts; empty ones are left out. Raises ValueError when fewer than two are left."""
    split = [w for t in texts if (w := words(t))]
    random.Random(seed).shuffle(split)
    if len(split) < 2:
        raise ValueError("diversity needs two texts at least")
    flat: list[list[str]] = []
    total = 0
    for text in split:
        if total >= WORDS:
            break
        flat.append(text[: WORDS - total])
        total += len(flat[-1])
    return Diversity({n: _distinct(flat, n) for n in (1, 2, 3)}, self_bleu(split[:TEXTS]), len(split))


def _distinct(texts: list[list[str]], n: int) -> float:
    grams = [g for t in texts for g in _grams(t, n)]
    return len(set(grams)) / max(1, len(grams))


def _grams(text: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(text[i:] for i in range(n))))


def self_bleu(texts: list[list[str]]) -> float:
    """Mean BLEU-4 of each text (a list of words) against the others."""
    counted = [[Counter(_grams(t, n)) for n in range(1, ORDER + 1)] for t in texts]
    # For each n-gram its two largest counts, so that the largest among the other texts is known without a look at each.
    largest: list[dict[tuple, tuple[int, int, int]]] = [{} for _ in range(ORDER)]
    for i, counts in enumerate(counted):
        for top, grams in zip(largest, counts):
            for gram, n in grams.items():
                first, owner, second = top.get(gram, (0, -1, 0))
                top[gram] = (n, i, first) if n > first else (first, owner, max(second, n))
    lengths = sorted(len(t) for t in texts)
    scores = []
    for i, (text, counts) in enumerate(zip(texts, counted)):
        logs = 0.0
        for n, (top, grams) in enumerate(zip(largest, counts), 1):
            hits = sum(min(c, top[g][2] if top[g][1] == i else top[g][0]) for g, c in grams.items())
            added = 0 if n == 1 else 1
            total = sum(grams.values()) + added
            if not hits + added or not total:
                logs = -math.inf
                break
            logs += math.log((hits + added) / total)
        others = [length for length in lengths if length != len(text)] or lengths
        nearest = min(others if lengths.count(len(text)) < 2 else lengths, key=lambda length: (abs(length - len(text)), length))
        brevity = min(0.0, 1 - nearest / len(text))
        scores.append(math.exp(logs / ORDER + brevity) if logs > -math.inf else 0.0)
    return sum(scores) / len(scores)
