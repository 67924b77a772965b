"""What a page says about a goal: the pieces that fit best, in the page's order.

1. A line is a piece; a long one (a paragraph) is cut into its sentences. Words are compared as in search: lower case, stemmed, without
   accents and stop words.
2. A word of the goal weighs the more, the fewer pieces of the page hold it: log(1 + pieces / those with it). A piece is worth the sum
   over the words that it holds.
3. The best pieces are taken as far as they fit, the earlier one among equals, down to a third of what the best is worth. Where something
   between two is left out stands "…".
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter

from prstack.world.index import analyser, clean

LINE = 240
"""Longest line that is one piece, in characters."""
LEAST = 1 / 3
"""Share of the best piece's worth that a piece must have."""
GAP = "…"
_SENTENCE = re.compile(r"\S.*?(?:(?<![.!?…])[.!?…]++[\"'”’)\]]*+(?=\s|$)|(?<=[。！？])|$)\s*")


def extract(text: str, goal: str, limit: int) -> str:
    """The pieces of a text of several lines that fit a goal, about `limit` characters at most; empty where none does."""
    pieces = [(n, piece) for n, line in enumerate(text.splitlines()) if line for piece in ([line] if len(line) <= LINE else _SENTENCE.findall(line))]
    wanted = _words(goal)
    held = [wanted & _words(piece) for _, piece in pieces]
    counts = Counter(w for found in held for w in found)
    worth = [math.fsum(math.log(1 + len(pieces) / counts[w]) for w in found) for found in held]
    best = max(worth, default=0.0)
    if not best:
        return ""
    chosen: list[int] = []
    for n in sorted(range(len(pieces)), key=lambda n: (-worth[n], n)):
        size = min(len(pieces[n][1]), limit) + len(GAP) + 2
        if worth[n] < best * LEAST:
            break
        if size <= limit or not chosen:
            chosen.append(n)
            limit -= size
    return _joined(pieces, sorted(chosen))


def _joined(pieces: list[tuple[int, str]], chosen: list[int]) -> str:
    """The chosen pieces on the lines they came from, neighbours as they stood beside each other, with GAP for what is left out between them, before and after."""
    out, last = "", -1
    for n in chosen:
        line, piece = pieces[n]
        same = last >= 0 and pieces[last][0] == line
        if n != last + 1 or not same:
            out = out.rstrip()
            out += " " if same else "\n" if out else ""
            out += f"{GAP} " if n != last + 1 else ""
        out, last = out + piece, n
    out = out.rstrip()
    return out if last == len(pieces) - 1 else f"{out} {GAP}"


def _words(text: str) -> set[str]:
    return set(_analyser().analyze(clean(text)))


@functools.cache
def _analyser():
    return analyser()
