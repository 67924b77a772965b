"""Claims in a line of a report.

1. `name: value`, several a line between semicolons, bars, or commas before a next name; `**name** – value`; the first price on the
   line that names the product.
2. What reviewers say, in a sentence: "Owners call it quiet".
3. Loose claims, from prose: a quantity beside words that may name a property ("a noise level of 58 dB", "its 58 dB noise
   level"), and a price after a word of cost. They count only when the product's page knows such a property
   (`prstack.scoring.grounding`). Sentences that speak of limits, of needs or of another product make none; what they say when they
   set one product against another is read by `prstack.scoring.comparisons`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from prstack.world.units import NUMBER, unit_entry

# Ids of the catalogues: P12 (generated), long digit strings (tau-bench, ShoppingBench), ASIN-like codes.
PRODUCT_ID = re.compile(r"(?<![\w$.,-])(P\d{1,9}|\d{7,13}|B0[0-9A-Z]{8})(?![\w-]|\.\d)")


@dataclass(slots=True)
class Claim:
    """`name` is lower case; `value` as written; `start` and `end`: where the value, or its line, stands in the report's text."""

    name: str
    value: str
    start: int = -1
    end: int = -1
    loose: str = ""
    """Of a claim from prose: `before` when the words in `name` end with the property's name, `after` when they begin with it, `people` for
    what reviewers say; others in `prstack.scoring.comparisons`."""


OWN_WORDS = {
    "why", "note", "notes", "verdict", "summary", "comparison", "trade-off", "best for", "pros", "cons", "caveat", "source", "sources",
    "caveats", "trade-offs", "tradeoff", "tradeoffs", "ideal for", "good for", "great for", "reason", "reasons", "rationale", "why it fits", "why this",
    "why this one", "why i picked it", "why it works", "why it matches", "fit", "match", "strengths", "weaknesses", "advantages", "disadvantages", "downside",
    "downsides", "drawback", "drawbacks", "upside", "upsides", "highlights", "key features", "features", "key specs", "specs", "specifications",
    "details", "key details", "overview", "description", "recommendation", "pick", "top pick", "option", "product", "item", "name", "id", "product id", "item id",
    "link", "url", "conclusion", "bottom line", "overall", "meets your needs", "meets needs", "needs met", "requirements met", "rank", "status", "considerations",
    "evidence", "reference", "references", "additional notes", "other", "tip", "tips",
}  # fmt: skip
"""Names that are words of the report, not properties of a product."""

NAMED = 400
"""Characters of a name and its value that are looked at."""
PRICE = re.compile(r"(?:(?:US)?\$|€|£|₱|\b(?:USD|EUR|GBP|PHP)\s?)\s?(\d[\d,]*(?:\.\d+)?)|(\d[\d,]*(?:\.\d+)?)\s?(?:€|£|(?:USD|EUR|GBP|PHP|dollars)\b)")
_CLAIM = re.compile(r"^[\s>*+\-•|]*([A-Za-z][\w /()'&-]{0,48}?)\s*:\s*(\S.*?)[\s|]*$")
_DASH = re.compile(r"^[\s>]*[*+\-•]?\s*([A-Za-z][\w /()'&-]{0,48}?)\s+[–—-]\s+([$€£]?\d.*?)[\s|]*$")
_BOLD_DASH = re.compile(r"^[\s>]*[*+\-•]?\s*(?:\*\*|__)([A-Za-z][\w /()'&-]{0,48}?)(?:\*\*|__)\s*[–—-]\s+(\S.*?)[\s|]*$")
_PARTS = re.compile(r";|\s\|\s|\s[•·]\s|,\s+(?=\*{0,2}[A-Za-z][\w /'&-]{0,30}\*{0,2}:\s)")
_MARKS = re.compile(r"\*\*|__|~~[^~]*~~|`")
_PEOPLE = re.compile(r"\b(?:reviewers?|owners?|buyers?|customers?|users)\b[\w ,]{0,20}?\b(?:says?|said|calls?|called|finds?|found|describes?|described|praises?|praised|notes?|mentions?|reports?|complains?)\b(.{0,160})", re.I)
_DIGIT = re.compile(r"\d")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
QUANTITY = re.compile(rf"(?<![\w.$€£₱-])({NUMBER})(?:\s?-?\s?(fl\.? ?oz|sq\.? ?ft|[^\W\d_][\w²³]*(?:/[a-z]{{1,3}})?|%))?")
STARS = ("star", "stars")
_JOINT = r"(?:\s*(?:is|are|of|at|comes in at|comes to|measures|stands at|rated at|:|=|\()\s*|\s+)"
_BEFORE = re.compile(rf"((?:[A-Za-z][\w'-]*\s+){{0,3}}[A-Za-z][\w'-]*){_JOINT}(?:just|only|a mere|a)?\s*$")
_LINK = re.compile(r"\s(?:of|is|are|at|measures)$", re.I)
_AFTER = re.compile(r"^[\s-]*((?:[a-z][\w'-]*\s+){0,2}[a-z][\w'-]*)")
_COST = re.compile(r"\b(?:costs?|priced at|price (?:is|of)|sells for|goes for|retails (?:for|at)|available (?:for|at)|listed at)\s*(?:just|only)?\s*$", re.I)
_OTHERS = re.compile(
    r"\b(?:than|against|compared|versus|vs|while|whereas|unlike|other|others|you|your|limit|budget|need|needs|require[sd]?|requirements?|asked|want|wanted|maximum|minimum|cheaper|"
    r"at most|at least|up to|under|below|over|above|within|should|must|not|no|both|each|all)\b",
    re.I,
)


_COMPARES = re.compile(rf"\b(?:than|compared|versus|vs)\b|{PRODUCT_ID.pattern}", re.I)
_OPENS = re.compile(r"^[\s>*+\-•]*(?:compared|unlike|against|next to|in comparison)\b", re.I)


def tidy(name: str) -> str:
    """A claim's name as it is compared."""
    return " ".join(name.lower().split())


def line_claims(line: str, offset: int, product_id: str = "") -> list[Claim]:
    """The claims about a product of one line, which begins at `offset` of the report's text."""
    out: list[Claim] = []
    at = 0
    for piece in _PARTS.split(line) if not _OPENS.match(line) else ():
        start = line.find(piece, at)
        at = start + len(piece)
        if claim := _named(piece, offset + start):
            out.append(claim)
    if out and not all(c.name in OWN_WORDS for c in out):
        return out
    return out + list(_from_prose(line, offset, product_id))


def _named(piece: str, offset: int) -> Claim | None:
    piece = piece[:NAMED]
    plain = _MARKS.sub("", piece).lstrip("])*_`: —–")
    m = _CLAIM.match(plain) or _DASH.match(plain) or _BOLD_DASH.match(piece)
    if not m or m[2].startswith("//") or _COMPARES.search(m[1]):
        return None
    value = m[2].strip().strip("*_").strip()
    start = piece.find(value)
    return Claim(tidy(m[1]), value, offset + max(start, 0), offset + (start + len(value) if start >= 0 else len(piece))) if value else None


def _from_prose(line: str, offset: int, product_id: str) -> Iterator[Claim]:
    at = 0
    for sentence in _SENTENCE.split(line):
        start = line.find(sentence, at)
        at = start + len(sentence)
        where = (offset + start, offset + at)
        if any(id != product_id for id in PRODUCT_ID.findall(sentence)):
            continue
        if m := _PEOPLE.search(sentence):
            yield Claim("reviewers", m[1].strip(" :,."), *where, loose="people")
        elif _DIGIT.search(sentence) and not _OTHERS.search(sentence):
            for claim in _quantities(_MARKS.sub("", sentence), where):
                if (here := sentence.find(claim.value)) >= 0:
                    claim.start, claim.end = where[0] + here, where[0] + here + len(claim.value)
                yield claim


def _quantities(sentence: str, where: tuple[int, int]) -> Iterator[Claim]:
    for m in PRICE.finditer(sentence):
        if _COST.search(sentence, max(0, m.start() - 40), m.start()):
            yield Claim("price", m[0], *where, loose="before")
    for m in QUANTITY.finditer(sentence):
        if not m[2] or not (unit_entry(m[2]) or m[2].lower() in STARS):
            continue
        if before := _BEFORE.search(sentence[max(0, m.start() - 60) : m.start()]):
            yield Claim(tidy(_LINK.sub("", before[1])), m[0], *where, loose="before")
        elif after := _AFTER.match(sentence[m.end() : m.end() + 60]):
            yield Claim(tidy(after[1]), m[0], *where, loose="after")
