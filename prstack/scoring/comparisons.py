"""Sentences that set one product against another by one property: "P12 is quieter than P34 (57 dB against 62 dB)".

A sentence compares when

1. it names two opened products, by id or by whole title, at least one of which the report recommends, and no third; it has a word that sets
   one against the other (than, against, compared with, …) and no negation;
2. it holds two values and no other number: money, stars, or quantities of one kind; one of them may leave out its unit. A bound
   ("under 60 dB") is no value;
3. its comparatives fit: what is quieter, or lower, has the smaller value. A comparative belongs to the product named last before it, where there
   is none to the one that the sentence is about.

The first value is that of the first product, the second that of the second. Only where a sentence opens by what it compares with ("Compared
with P34, P12 …", "Quieter than P34, P12 …") and both values stand behind both products is it the other way round.

Each value becomes a claim about its product, which has the sentence for its name; `named_property` says which property that is, given those
that the product has. Where the comparatives do not fit, nothing is claimed, unless each value stands beside its product: then the
claims are `MISFIT`, which can be wrong but never right.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prstack.scoring.evidence import Evidence
from prstack.scoring.reading.claims import PRICE, PRODUCT_ID, QUANTITY, STARS, Claim, tidy
from prstack.scoring.report import LINE, READ, Report
from prstack.scoring.values import APPROXIMATE, LOWER, UPPER
from prstack.world.names import OTHER_NAMES, fold, usual
from prstack.world.units import NUMBER, convert, number, price, unit_entry

COMPARED, MISFIT = "compared", "misfit"
"""`Claim.loose` of claims from comparing sentences."""
COMPARATIVES: dict[str, tuple[str, int]] = {
    "quieter": ("noise level", -1), "louder": ("noise level", 1), "noisier": ("noise level", 1),
    "lighter": ("weight", -1), "heavier": ("weight", 1), "brighter": ("brightness", 1), "dimmer": ("brightness", -1),
    "cheaper": ("price", -1), "dearer": ("price", 1), "pricier": ("price", 1), "costlier": ("price", 1),
    "less expensive": ("price", -1), "more expensive": ("price", 1),
    "higher": ("", 1), "larger": ("", 1), "bigger": ("", 1), "greater": ("", 1), "longer": ("", 1), "more": ("", 1),
    "lower": ("", -1), "smaller": ("", -1), "shorter": ("", -1), "fewer": ("", -1), "less": ("", -1),
}  # fmt: skip
"""Comparative → the property that it names by itself, and which value its product has: the larger one (1) or the smaller one (-1)."""
PRICED = {"price", "prices", "cost", "costs", "expensive", *(w for w, (about, _) in COMPARATIVES.items() if about == "price")}
RATED = {"rating", "ratings", "rated"}
"""Words that name the price, and the rating."""

_SENTENCE = re.compile(r"(?<=[.!?])(?<!\bvs\.)\s+")
_AGAINST = re.compile(r"\b(?:than|against|versus|vs|compared (?:with|to)|in comparison (?:with|to)|while|whereas|unlike)\b", re.I)
_NEGATED = re.compile(r"\b(?:not|never|no|none|neither|nor|hardly|without)\b|n['’]t\b", re.I)
_OPENING = re.compile(r"\b(?:than|against|versus|vs\.?|(?:compared|comparison) (?:with|to)|unlike|next to)\s(?:the\s)?[\[(*`_]{0,4}$", re.I)
_BOUND = re.compile(rf"(?<!\w)(?:{UPPER}|{LOWER})\s?[$€£₱]?$", re.I)
_ABOUT = re.compile(rf"(?<!\w)(?:{APPROXIMATE})\s?$", re.I)
_NEAR = 40
"""Characters before a name or value that are looked at."""
_COMPARATIVE = re.compile(rf"(?<![\w-])(?:{'|'.join(sorted(COMPARATIVES, key=len, reverse=True))})(?![\w-])", re.I)
_NAMES = frozenset(fold(n) for name, others in OTHER_NAMES.items() for n in (name, *others))
_WORD = re.compile(r"\w+")
_BESIDE = re.compile(r"[\s()\[\]*_`]*")

Titles = Mapping[tuple[str, ...], str]
"""Words of a title → its product; empty where several products have it."""


@dataclass(slots=True)
class _Named:
    """A product's name in a sentence; `by_id`: whether its id is there."""

    start: int
    end: int
    id: str
    by_id: bool


@dataclass(slots=True)
class _Value:
    """`kind`: "money", "stars", a unit, or empty for a bare number."""

    start: int
    end: int
    text: str
    number: float
    kind: str


def comparisons(report: Report, evidence: Evidence) -> list[dict[str, Claim]]:
    """Of each comparing sentence of a report, its two products → what it claims of them."""
    out: list[dict[str, Claim]] = []
    titles: Titles | None = None
    recommended = set(report.product_ids)
    for at, sentence in _candidates(report.text):
        titles = _titles(evidence) if titles is None else titles
        named = _products(sentence, titles)
        ids = {n.id for n in named}
        if len(named) != 2 or len(ids) != 2 or not ids <= evidence.visited.keys() or recommended.isdisjoint(ids):
            continue
        words = _masked(sentence, named)
        values = _values(words)
        if pairs := _paired(words, named, values):
            fits = _fits(words, named, pairs)
            if fits or not _apart(named, values):
                loose = COMPARED if fits else MISFIT
                out.append({id: Claim(tidy(words), v.text, at + v.start, at + v.end, loose) for id, v in pairs.items()})
    return out


def named_property(claim: Claim, names: Mapping[str, str]) -> str:
    """The property that a comparing claim is about: price of money, rating of stars, otherwise the one attribute that its sentence names,
    as it stands in `names` (folded and usual names → the product's own); empty for none."""
    words = set(_WORD.findall(claim.name))
    if PRICE.search(claim.value):
        return "price" if words & PRICED else ""
    if claim.value.endswith(STARS):
        return "rating" if words & RATED else ""
    found = {usual(m[0]) for m in _names_pattern(frozenset(names) - _NAMES).finditer(re.sub(r"[\s_-]+", " ", claim.name))}
    found |= {COMPARATIVES[m[0]][0] for m in _COMPARATIVE.finditer(claim.name)} - {"", "price"}
    return names.get(found.pop(), "") if len(found) == 1 else ""


def _candidates(text: str) -> Iterator[tuple[int, str]]:
    """(place, sentence) of what may compare."""
    for m in re.finditer(r".+", text[:READ]):
        line, at = m[0][:LINE], 0
        if line.lstrip().startswith("|") or not _AGAINST.search(line):
            continue
        for sentence in _SENTENCE.split(line):
            start = line.find(sentence, at)
            at = start + len(sentence)
            if _AGAINST.search(sentence) and not _NEGATED.search(sentence):
                yield m.start() + start, sentence


def _titles(evidence: Evidence) -> Titles:
    out: dict[tuple[str, ...], str] = {}
    for id, seen in (evidence.hits | evidence.visited).items():
        words = tuple(_WORD.findall(seen.title.lower()))
        if len(words) > 1:  # a word alone is no name
            out[words] = id if out.get(words, id) == id else ""
    return out


def _products(sentence: str, titles: Titles) -> list[_Named]:
    """The products that a sentence names, in its order. An id beside a title decides who it is."""
    found = [_Named(m.start(), m.end(), m[1], True) for m in PRODUCT_ID.finditer(sentence)]
    words = [(m[0].lower(), m.start(), m.end()) for m in _WORD.finditer(sentence)]
    lengths, taken = sorted({len(t) for t in titles}, reverse=True), 0
    for n, (_, start, _) in enumerate(words):
        for length in lengths if n >= taken else ():
            title = tuple(w for w, _, _ in words[n : n + length])
            if len(title) == length and title in titles and not _goes_on(sentence, words[n + length - 1][2]):
                taken = n + length
                found.append(_Named(start, words[taken - 1][2], titles[title], False))
                break
    out: list[_Named] = []
    for named in sorted(found, key=lambda f: f.start):
        if out and out[-1].by_id != named.by_id and _BESIDE.fullmatch(sentence, out[-1].end, named.start):
            out[-1] = _Named(out[-1].start, named.end, named.id if named.by_id else out[-1].id, True)
        else:
            out.append(named)
    return out


def _goes_on(sentence: str, end: int) -> bool:
    """Whether a title is followed by what may be more of it: a capital letter or digit that begins no id."""
    m = re.compile(r"\s+(?=[A-Z0-9])").match(sentence, end)
    return m is not None and not PRODUCT_ID.match(sentence, m.end())


def _masked(sentence: str, named: Sequence[_Named]) -> str:
    """The sentence with commas in place of the products' names; places stay."""
    for n in named:
        sentence = sentence[: n.start] + "," * (n.end - n.start) + sentence[n.end :]
    return sentence


def _values(words: str) -> list[_Value]:
    """All numbers of a sentence without names, in its order."""
    out = [_Value(*m.span(), m[0], price(m[0]) or 0.0, "money") for m in PRICE.finditer(words)]
    spent = [(v.start, v.end) for v in out]
    for m in QUANTITY.finditer(words):
        unit = m[2] if m[2] and (unit_entry(m[2]) or m[2].lower() in STARS) else ""
        end = m.end() if unit else m.end(1)
        if not any(m.start() < e and s < end for s, e in spent):
            out.append(_Value(m.start(), end, words[m.start() : end], number(m[1]), "stars" if unit.lower() in STARS else unit))
    return sorted(out, key=lambda v: v.start)


def _paired(words: str, named: Sequence[_Named], values: Sequence[_Value]) -> dict[str, _Value]:
    """Each of two products with its value; nothing where these are not two values that can be compared."""
    if len(values) != 2 or any(_BOUND.search(words[max(0, v.start - _NEAR) : v.start]) for v in values):
        return {}
    one, two = values
    kind = one.kind or two.kind
    if not kind or any(v.kind not in ("", kind) and convert(1.0, v.kind, kind) is None for v in values):
        return {}
    for v, other in ((one, two), (two, one)):
        if not v.kind:
            v.kind, v.text = kind, re.sub(NUMBER, v.text, other.text, count=1)
        if about := _ABOUT.search(words[max(0, v.start - _NEAR) : v.start]):
            v.text = f"{about[0].strip()} {v.text}"
    first, second = named if not (_apart(named, values) and _opens(words, named)) else reversed(named)
    return {first.id: one, second.id: two}


def _opens(words: str, named: Sequence[_Named]) -> bool:
    """Whether a sentence begins by what it compares with, and is about the second product."""
    return _OPENING.search(words[max(0, named[0].start - _NEAR) : named[0].start]) is not None


def _apart(named: Sequence[_Named], values: Sequence[_Value]) -> bool:
    """Whether both values stand behind both products, so that only their order says which is whose."""
    return values[0].start > named[1].start


def _fits(words: str, named: Sequence[_Named], values: Mapping[str, _Value]) -> bool:
    """Whether every comparative is true of the values as they are written."""
    about_second = _opens(words, named)
    for m in _COMPARATIVE.finditer(words):
        about, sign = COMPARATIVES[m[0].lower()]
        before = [n for n in named if n.end <= m.start()]
        this = (before[-1] if before else named[about_second]).id
        a, b = values[this], next(v for id, v in values.items() if id != this)
        if about and (about == "price") != (a.kind == "money"):
            continue
        other = convert(b.number, b.kind, a.kind)
        if other is None or (a.number - other) * sign <= 0:
            return False
    return True


@functools.lru_cache(256)
def _names_pattern(own: frozenset[str]) -> re.Pattern[str]:
    """Any name of an attribute; of overlapping ones the one that begins first, the longest of those. `own`: names besides the usual ones."""
    names = sorted((re.escape(n) for n in _NAMES | own if n), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(names)})(?!\w)")
