"""What the checks of the expert share: findings, and words as they are compared."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"[^\W\d_][\w'-]*")
_STEM = 6
"""Letters of a word that count, so that "searching" is near "search"."""


def finding(kind: str, reason: str = "") -> dict:
    """A finding of a verdict; it is ok without a reason."""
    return {"kind": kind, "ok": not reason, "reason": reason}


def words(text: str) -> frozenset[str]:
    """A list of words, from a text that holds nothing else."""
    return frozenset(text.split())


def stems(text: str, without: Iterable[str] = ()) -> set[str]:
    """The words of a text, in compared form: without case, a plural's s, and what follows the first letters."""
    left_out = set(without)
    return {stem(w) for w in _WORD.findall(text) if w.lower() not in left_out}


def stem(word: str) -> str:
    word = word.lower().removesuffix("'s")
    return (word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word)[:_STEM]
