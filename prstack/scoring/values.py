"""Does a claimed value say what the page shows?

1. A number is the first one of the claim, with its unit ("58 dB", "about 58 dB (measured)", "58 decibels, well below your limit"), compared after
   conversion. "About" allows a twentieth. A known unit of another kind, or an unknown one, is another value.
2. A bound ("under 60 dB") or a range ("55-60 dB") states no value: it is wrong when the shown value lies outside, and no claim otherwise.
3. A text agrees when it is the same, or holds the shown value among describing words ("brushed stainless steel"); a list of
   alternatives or a negation does not.
"""

from __future__ import annotations

import re
from typing import Literal

from prstack.scoring.reading.claims import PRICE
from prstack.types import Attribute
from prstack.world.match import same_value
from prstack.world.names import fold
from prstack.world.units import NUMBER, convert, currency, number, parse_attribute, price, unit_entry

Agreement = Literal["same", "other", "bound", "nothing"]
"""`bound`: true, but no value. `nothing`: the claim names no value that can be compared."""

APPROXIMATE = r"about|approximately|approx\.?|around|roughly|circa|ca\.|nearly|almost|~|≈"
UPPER = r"under|below|less than|at most|up to|no more than|max(?:imum)?(?: of)?|within|≤|<=|<"
LOWER = r"over|above|more than|at least|no less than|min(?:imum)?(?: of)?|from|≥|>=|>"
_QUANTITY = re.compile(
    rf"^[\s(\"'*]*(?:(?:is|only|just|a|an|rated(?: at)?|exactly|:)\s+)*(?:(?P<about>{APPROXIMATE})|(?P<upper>{UPPER})|(?P<lower>{LOWER}))?\s*"
    rf"(?P<money>[$€£₱]|[A-Z]{{3}}\s)?\s*(?P<n>{NUMBER})(?:\s?-?\s?(?P<unit>(?:fl|sq)\.? ?(?:oz|ft)\b|[^\W\d_][\w²³/]*|[%°\"]C?))?",
    re.I,
)
_RANGE = re.compile(rf"^\s*(?:-|–|—|to)\s*[$€£]?\s*(?P<high>{NUMBER})")
_OR_MORE = re.compile(r"^\s*(?:\+|or (?:(?P<less>less|under|below|lower)|more|over|above|higher))", re.I)
_NOT_UNITS = {"and", "or", "with", "which", "that", "for", "in", "on", "at", "to", "by", "per", "so", "but", "as", "is", "only", "very", "well", "each", "total", "below", "under", "within", "meets", "fits", "from", "of", "max", "maximum", "minimum", "less", "more", "than"}
_RULE = re.compile(r"(?P<not>!=|≠)\s*|==?\s*")
_NOT = re.compile(r"(?:is |are )?(?:not|never|isn't|aren't|anything but)\b\s*", re.I)
_NEGATION = re.compile(r"^(?:no|non|without|free of)\b", re.I)
_LIST = re.compile(r",|/|;|\bor\b|\band\b|&|\+", re.I)


def agreement(name: str, value: str, shown: Attribute) -> Agreement:
    """Whether a claimed value is the shown one."""
    value = value.strip().strip("\"'").rstrip(".").strip()
    if m := _RULE.match(value):  # "= glass", "!= glass": what is asked for, not what is
        return _turned(agreement(name, value[m.end() :], shown)) if m["not"] else _asked(agreement(name, value[m.end() :], shown))
    if m := _NOT.match(value):
        return _turned(agreement(name, value[m.end() :], shown))
    if same_value(parse_attribute(name, value), shown):
        return "same"
    if shown.number is not None:
        return compare_number(value, shown.number, shown.unit)
    return _compare_text(value, shown.value)


def _asked(found: Agreement) -> Agreement:
    """A value that is asked for states none."""
    return "bound" if found == "same" else found


def _turned(found: Agreement) -> Agreement:
    """What is said not to be so."""
    return {"same": "other", "other": "bound"}.get(found, "nothing")


def compare_number(value: str, shown: float, unit: str, tolerance: float = 0.0) -> Agreement:
    """`value` as written against a shown number; `tolerance`: difference that still is the same."""
    m = _QUANTITY.match(value)
    if not m:
        return "nothing"
    rest = value[m.end() :]
    said_unit = m["unit"] or ""
    if said_unit.casefold() in _NOT_UNITS:
        said_unit = ""
    if said_unit and unit and unit_entry(said_unit) is None and said_unit.casefold() != unit.casefold():
        return "other"
    said = number(m["n"])
    if span := _RANGE.match(rest) if not m["unit"] or not said_unit else None:
        high_unit = _QUANTITY.match(rest[span.start("high") :])
        said_unit = (high_unit["unit"] if high_unit and high_unit["unit"] else said_unit) or ""
        low, high = (convert(v, said_unit, unit) for v in (said, number(span["high"])))
        return "other" if low is None or high is None or not low <= shown <= high else "bound"
    said_in = convert(said, said_unit, unit)
    if said_in is None:
        return "other"
    open_end = _OR_MORE.match(rest)
    if m["upper"] or (open_end and open_end["less"]):
        return "bound" if shown <= said_in * (1 + 1e-9) else "other"
    if m["lower"] or open_end:
        return "bound" if shown >= said_in * (1 - 1e-9) else "other"
    if tolerance and abs(said_in - shown) < tolerance:
        return "same"
    if m["about"]:
        return "same" if abs(said_in - shown) <= 0.05 * abs(shown) else "other"
    if tolerance:
        return "other"
    return "same" if same_value(Attribute("", "", said, said_unit), Attribute("", "", shown, unit)) else "other"


def compare_price(value: str, shown: float, code: str) -> Agreement:
    """A price as written against the shown one; without a currency it is taken to be in the shown one."""
    first = PRICE.search(value)
    if first and (currency(first[0]) or code) != code:
        return "other"
    text = value
    if first:
        limits = re.search(rf"(?:{APPROXIMATE}|{UPPER}|{LOWER})\s*$", value[: first.start()], re.I)
        text = value[limits.start() if limits else first.start() :]
    found = compare_number(text, shown, "", 0.005)
    amount = price(value)
    same = found in ("other", "nothing") and amount is not None and abs(amount - shown) < 0.005  # "1.299,00 €"
    return "same" if same else found


def _compare_text(value: str, shown: str) -> Agreement:
    said, wanted = fold(re.split(r"\s[—–-]\s|[(;]", value)[0].rstrip(".,")), fold(shown)
    if said == wanted:
        return "same"
    if not said or not wanted:
        return "nothing"
    if _NEGATION.match(said):  # "no glass"
        return "other" if wanted in said else "nothing"
    if re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", said):
        return "same" if not _LIST.search(said.replace(wanted, "")) and not re.search(r"\b(?:not|no|never|without)\b", said) else "nothing"
    if re.search(rf"(?<!\w){re.escape(said)}$", wanted):
        return "nothing"  # less than the page says ("steel" of "stainless steel"): neither shown nor wrong
    return "other"
