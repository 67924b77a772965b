"""Which product a line of a report is about.

A line recommends a product when it names the product's id

1. at its start, after list and heading marks: `1. [P12] …`, `### P12: …`, `- **P12** …`;
2. behind a label: `Product ID: P12`, `Top pick: Aurel Kettle (P12)`;
3. in brackets or as a link behind the product's name, on a heading, a list item or a bold line: `### Aurel Kettle (P12)`;
4. in a sentence that recommends it: "I recommend the Aurel Kettle (P12)".

A line that merely mentions ids ("I looked at P12"), sets one against another ("P12 vs P7", "P12 is quieter than P7") or turns a product
down ("P7: rejected") recommends none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from prstack.scoring.reading.claims import PRODUCT_ID

_LEAD = re.compile(r"^[\s>*+\-•|#]*(?:\d{1,2}[.)]\s*)?[\[(*`_]*")
_STRUCTURE = re.compile(r"^\s{0,3}(?:#{1,6}\s|\d{1,2}[.)]\s|[*+\-•]\s|\*\*|__)")
_IN_BRACKETS = re.compile(rf"[\[(] ?(?:(?:product )?id|asin|sku|item)? ?[:#]? ?[\"'`*]*{PRODUCT_ID.pattern}[\"'`*]* ?[\])]", re.I)
_TARGET = re.compile(rf"\]\((?:[^)\s]*/)?{PRODUCT_ID.pattern}/?\)")
_LABEL = re.compile(
    r"^[\s>*+\-•|#_]*(?:\d{1,2}[.)]\s*)?[*_]*"
    r"(?P<label>(?:product |item )?(?:id|asin|sku)|product|item|option|(?:my |our |the )?(?:top|best|first|second|third|final|overall|budget|premium|value|main)?[ -]?"
    r"(?:pick|choice|option|recommendation|product|match|overall|value|budget)|recommend(?:ed|ation|ations|ed products?)?|runner[ -]up|winner|alternative|also (?:good|great))"
    r"(?: ?#?\d{1,2})?[*_]*\s*[:–—-]\s*[*_]*",
    re.I,
)
_TITLE = re.compile(r"[^.!?;:]{2,120}")
_COMPARES = re.compile(r"\b(?:than|vs\.?|versus|compared|unlike|instead|rather|similar|like|over|but|looked|considered|checked|opened|also see|see)\b", re.I)
_AGAINST = re.compile(rf"^[\])*`_\s]*(?:vs\.?|versus|and|or|,|&|/)\s*[\[(*`_]*{PRODUCT_ID.pattern}", re.I)
_COMPARED = re.compile(rf"^[\])*`_]*(?:'s)?\s+[a-z][^.:;,|–—]*\b(?:than|against|versus|vs|compared (?:with|to))\b.*{PRODUCT_ID.pattern}")
_ADVICE = re.compile(r"\b(?:I(?:'d| would)? (?:strongly |highly )?(?:recommend|suggest|advise|pick|choose)|recommend(?:ed)? (?:is|product|option|choice)|go (?:with|for)|(?:top|best|first|final) (?:pick|choice|recommendation|option)|best (?:fit|match)|winner is|you should (?:buy|get|choose))\b", re.I)
_NEGATED = re.compile(r"\b(?:not|n't|cannot|never|no longer|avoid|against)\b", re.I)
_TURN = re.compile(r"\b(?:over|instead of|rather than|not|but|than|unlike|versus|vs|although|while|however)\b", re.I)
_REJECTED = re.compile(r"\b(?:rejected|ruled out|excluded|discarded|disqualified|eliminated|not recommended(?! for)|do(?:es)? not recommend)\b", re.I)
_FAULT = re.compile(r"\b(?:too|not|cannot|fails?|failed|exceeds?|breaks?|violates?|out of stock|over (?:the |your )?budget|left (?:it )?out|drop(?:ped)?)\b|n't\b", re.I)
_REJECTS = re.compile(
    r"^(?:(?:products?|options?|items?|also|other|others) )*(?:i )?(?:rejected|ruled out|excluded|discarded|disqualified|eliminated|not recommended|avoid|products? to avoid|to avoid|"
    r"considered but|considered and|did not (?:fit|meet|qualify|make)|does not (?:fit|meet)|not (?:a )?(?:match|fit|suitable|chosen|selected)|(?:why )?(?:i )?(?:did not|didn't) (?:choose|pick|recommend|select))",
    re.I,
)


@dataclass(slots=True)
class Head:
    """Products that a line recommends; `end`: where their naming ends on the line. Lines that follow belong to the product, if it
    is only one. `title`: its name there."""

    ids: list[str]
    end: int
    title: str = ""


def level_of(line: str) -> int:
    """The level of a heading; 0 for other lines."""
    m = re.match(r"\s{0,3}(#{1,6})(?:\s|$)", line)
    return len(m[1]) if m else 0


def rejects(line: str) -> bool:
    """Whether a heading, or a label on a line of its own, opens a part about products that are not recommended."""
    plain = line.strip().strip("#*_ ").strip()
    return (level_of(line) > 0 or plain.endswith(":") or line.strip().startswith("**")) and len(plain) < 90 and bool(_REJECTS.match(re.sub(r"^[\W\d]+", "", plain)))


def head_of(line: str) -> Head | None:
    """What a line recommends, or None."""
    if not PRODUCT_ID.search(line) or _turned_down(line):
        return None
    start = _LEAD.match(line).end()
    if m := PRODUCT_ID.match(line, start):
        rest = line[m.end() :]
        if _AGAINST.match(rest) or _COMPARED.match(rest) or (re.match(r"(?:'s)? [a-z]", rest) and not _STRUCTURE.match(line) and _FAULT.search(rest)):
            return None
        return Head([m[1]], m.end(), _title_after(rest))
    if label := _LABEL.match(line):
        ids = list(dict.fromkeys(PRODUCT_ID.findall(_TURN.split(line[label.end() :])[0])))
        if ids:
            last = next(m for m in PRODUCT_ID.finditer(line) if m[1] == ids[-1])
            return Head(ids, last.end(), _title_before(line[label.end() :]))
    if _STRUCTURE.match(line):
        m = _IN_BRACKETS.search(line) or _TARGET.search(line)
        before = line[start : m.start()] if m else ""
        if m and not _COMPARED.match(line[m.end() :]) and _TITLE.fullmatch(re.sub(r"[*_\[\]`]", "", before).strip()) and not _COMPARES.search(before) and _capitalised(before):
            return Head([m[1]], m.end(), _title_before(before))
    return _advised(line)


def _advised(line: str) -> Head | None:
    for sentence in re.split(r"(?<=[.!?])\s+", line):
        m = _ADVICE.search(sentence)
        if not m or _NEGATED.search(sentence[: m.end()][-40:]):
            continue
        part = _TURN.split(sentence[m.start() :])[0]
        ids = list(dict.fromkeys(PRODUCT_ID.findall(part)))
        if ids:
            return Head(ids, 0)
    return None


def _turned_down(line: str) -> bool:
    m = PRODUCT_ID.search(line)
    return m is not None and _REJECTED.search(line[m.end() : m.end() + 120]) is not None


def _capitalised(text: str) -> bool:
    words = re.findall(r"[A-Za-z][\w'-]*", text)
    return bool(words) and sum(w[0].isupper() for w in words) * 2 >= len(words)


def _title_after(rest: str) -> str:
    return re.split(r"\s[—–-]\s|[:$€£(|;]", rest.strip("]) *`_:—–-"))[0].strip(" *_`")


def _title_before(text: str) -> str:
    return re.sub(r"[*_\[\]()`#]|\b(?:ID|id)\b:?|" + PRODUCT_ID.pattern, "", text).strip(" :—–-")
