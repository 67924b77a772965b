"""Verdicts in an agent's own words: which products its reasoning keeps ("I keep it") and which it drops ("I drop it")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prstack.scoring.report import PRODUCT_ID
from prstack.tools.results import parse_product
from prstack.types import Step

_NOT = r"(?P<not>\b(?:do|does|did|will|would|should|can|could) ?n[o']t (?:\w+ )?|\b(?:won't|can't|cannot|never) (?:\w+ )?|\bnot (?:to )?)?"
_ID = rf"[\[(*`]*{PRODUCT_ID.pattern}[\])*`]*"
_OBJECT = rf"(?:it\b|this\b|that\b|the product\b|(?P<ids>{_ID}(?:(?:,| and|, and) {_ID})*))"
_VERBS = r"(?:(?P<keep>keep|accept|recommend|shortlist|include)|(?P<drop>drop|discard|reject|exclude|skip|refuse|dismiss|eliminate|rule out|leave out|pass on))"
_DONE = r"(?:(?P<keep>kept|accepted|shortlisted|a keeper)|(?P<drop>dropped|discarded|rejected|excluded|ruled out|eliminated|dismissed|out\b(?! of)))"
_PARTED = r"(?P<drop>rule (?:it|this|that) out|leave (?:it|this|that) out)"
_VERDICTS = [
    re.compile(rf"{_NOT}\b{_VERBS} {_OBJECT}", re.I),
    re.compile(rf"{_NOT}\b{_PARTED}", re.I),
    re.compile(rf"\b(?:is|are|was|gets) (?P<not>not )?{_DONE}", re.I),
    re.compile(rf"\b(?:verdict|decision)\W{{1,5}}{_NOT}{_VERBS}\b", re.I),
]
"""A verdict with its object, from the agent's own words to the plainest form. "Keep looking" and "does not fit" are none."""


def spoken_verdicts(steps: Iterable[Step]) -> list[tuple[str, bool]]:
    """(product id, kept) of every product that the research agent's reasoning keeps or drops, in the order of first mention.

    A verdict names its product, or is about the last one named before it in the turn, or about the one whose page the turn
    before had opened, if it was one. The last verdict on a product counts.
    """
    found: dict[str, bool] = {}
    opened, pages = "", []  # what "it" means; the pages that a turn has opened
    for step in steps:
        if step.role != "research":
            continue
        for id, kept in _verdicts(step.reasoning.replace("’", "'"), opened):
            found[id] = kept
        page = parse_product(step.tool_result.text) if step.tool_result is not None and step.tool_result.ok else None
        pages = [*(pages if step.joined else []), *([page.id] if page else [])]
        if step.tool_result is not None:
            opened = pages[0] if len(pages) == 1 else ""
    return list(found.items())


def _verdicts(text: str, subject: str) -> list[tuple[str, bool]]:
    """The verdicts of one turn, in the order of the text; `subject` is what "it" means before any product is named."""
    named = [(m.start(), m.group(1)) for m in PRODUCT_ID.finditer(text)]
    out: list[tuple[int, str, bool]] = []
    for pattern in _VERDICTS:
        for m in pattern.finditer(text):
            parts = m.groupdict()
            about = PRODUCT_ID.findall(parts.get("ids") or "") or [_before(named, m.start(), subject)]
            out += [(m.start(), id, bool(parts.get("keep")) != bool(parts.get("not"))) for id in about if id]
    return [(about, kept) for _, about, kept in sorted(out, key=lambda v: v[0])]


def _before(named: Sequence[tuple[int, str]], position: int, default: str) -> str:
    return next((id for start, id in reversed(named) if start < position), default)
