"""What a report says, as pitches and claims.

A pitch is a product id together with what the report says about it, up to the next id at the start of a line; an id
mentioned again adds to its pitch. A claim is `name: value` on a line (or between semicolons) of a pitch, or a price on the
pitch's own line. Ids may stand in brackets, bold, or links. Prose without `name: value` makes no claims: it is neither
credited nor blamed here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# Ids of the catalogues: P12 (generated), long digit strings (tau-bench, ShoppingBench), ASIN-like codes.
PRODUCT_ID = re.compile(r"(?<![\w$.,-])(P\d{1,9}|\d{7,13}|B0[0-9A-Z]{8})(?![\w-]|\.\d)")
PRICE = re.compile(r"(?:(?:US)?\$|PHP\s?|USD\s?|₱)\s?(\d[\d,]*(?:\.\d+)?)")
_CLAIM = re.compile(r"^[\s>*+\-•|]*(?:\*\*)?([A-Za-z][\w /()'&-]{0,48}?)(?:\*\*)?\s*:\s*(?:\*\*\s*)?(.+?)(?:\*\*)?[\s|]*$")
_HEAD = re.compile(r"^[\s>*+\-•|#]*(?:\d{1,2}[.)]\s*)?[\[(*`_]*")


@dataclass(slots=True)
class Claim:
    """`name` is lower case; `value` as written."""

    name: str
    value: str


@dataclass(slots=True)
class Pitch:
    """One recommended product: its own text, and what is claimed of it."""

    product_id: str
    text: str
    claims: list[Claim] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    text: str
    pitches: list[Pitch]

    @property
    def product_ids(self) -> list[str]:
        return [p.product_id for p in self.pitches]


def report_body(text: str) -> str:
    """The report without its tags."""
    inner = re.search(r"<report>(.*?)(?:</report>|$)", text, re.S)
    return (inner.group(1) if inner else text).strip()


def parse_report(text: str) -> Report:
    """Pitches in the order of the report. Never raises; a report without ids has no pitches."""
    body = report_body(text)
    pitches: dict[str, Pitch] = {}
    current: Pitch | None = None
    for line in body.splitlines():
        if line.lstrip().startswith("#"):
            current = None  # a heading ends a pitch
        head = PRODUCT_ID.match(line, _HEAD.match(line).end())
        if head:
            current = pitches.setdefault(head.group(1), Pitch(head.group(1), ""))
        if current is None:
            continue
        current.text += ("\n" if current.text else "") + line
        if head and (price := PRICE.search(line)):
            current.claims.append(Claim("price", price.group(0)))
        for piece in (line[head.end() :] if head else line).split(";"):
            if m := _CLAIM.match(piece.lstrip("])*_` —–")):
                current.claims.append(Claim(" ".join(m.group(1).lower().split()), m.group(2).strip()))
    return Report(body, list(pitches.values()))
