"""What share of a report is its own: neither endless nor a copy of tool results.

1. A report of up to `LONG` characters keeps its whole score; a longer one keeps `LONG` over its length.
2. Of the words of a report, those count as copied that stand in a run of `RUN` words of one line that also stands in one line of a
   tool result. Short facts ("noise level: 58 dB") are none; descriptions, reviews and search lines are. A product has to be called by its
   title, so the words of long ones count neither way. Up to half of the report may be copied; beyond that the score falls, to nothing
   for a report that is nothing but a copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from prstack.scoring.evidence import Evidence
from prstack.scoring.report import READ, Report

LONG, RUN, MAY_COPY = 20_000, 8, 0.5
LONG_TITLE = 6
"""Words from which a title is long: with an id and a price beside it, it would make a run."""
_WORD = re.compile(r"\w+")


def own_share(report: Report, evidence: Evidence) -> float:
    """The factor of a report's score, in [0, 1]."""
    seen = [*evidence.hits.values(), *evidence.visited.values()]
    titles = sorted({p.title.lower() for p in seen if len(_WORD.findall(p.title)) >= LONG_TITLE}, key=len, reverse=True)
    text = report.text[:READ].lower()
    for title in titles:
        text = text.replace(title, "\n")
    fresh = 1 - copied_share(text, evidence.texts.values())
    return min(1.0, LONG / max(len(report.text), 1)) * min(1.0, fresh / MAY_COPY)


def copied_share(text: str, sources: Iterable[str]) -> float:
    """Share of a text's words that are copied from the sources."""
    words = [_WORD.findall(line) for line in text.lower().splitlines()]
    total = sum(map(len, words))
    wanted = {run for line in words for run in _runs(line)}
    if not wanted:
        return 0.0
    shown = {run for source in sources for line in source.lower().splitlines() for run in _runs(_WORD.findall(line)) if run in wanted}
    if not shown:
        return 0.0
    copied = 0
    for line in words:
        until = 0  # the word up to which this line's copied words are counted
        for n, run in enumerate(_runs(line)):
            if run in shown:
                copied += n + RUN - max(n, until)
                until = n + RUN
    return copied / total


def _runs(words: list[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(words[n : n + RUN]) for n in range(len(words) - RUN + 1))
