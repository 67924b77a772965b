"""How an agent went about it, whatever came out: its tool turns, and how much it repeats itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prstack.types import Step

NGRAM = 8
"""Words of the sequences that `repeated` counts."""


def tool_turns(steps: Iterable[Step]) -> tuple[int, int]:
    """(tool turns, those that a tool answered) of the research agent's steps: calls, and malformed turns where one was due."""
    turns = [s for s in steps if s.state == "toolcall" or s.tool_call is not None]
    return len(turns), sum(s.tool_call is not None and s.tool_result is not None and s.tool_result.ok for s in turns)


def repeated(texts: Iterable[str]) -> float:
    """Share of the `NGRAM`-word sequences of these texts that stood in them before, in [0, 1]; 0 where there is none."""
    grams: list[Sequence[str]] = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        grams += [tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
