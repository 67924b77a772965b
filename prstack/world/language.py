"""The phrase book: constraints to English and back.

`say` fills a template; `hear` recognises the same templates (and some that people use besides) anywhere in running text:

1. Quoted text is set aside. The rest is cut into clauses at sentence ends, commas, "and", "but", "with", "while", "plus".
2. Each clause is matched from its end: a phrase may follow other words ("I cook a lot, so the noise level should be at
   most 60 dB"). What stands before the phrase is heard again, so that one clause may hold several.
3. Numbers come back with their unit apart ("1000ml" → value "1000", unit "ml"): the canonical form, which `canonical`
   gives for any constraint.

Invariant: for constraints that are `utterable`, `hear(join(say(c) for c in cs)) == [canonical(c) for c in cs]`.
A value that would not survive (commas, quotes, "and", more than 40 characters, …) is not `sayable`; callers choose another.

Besides product attributes there are three of their own: `price` (unit is the currency, USD if empty), `category`, and
`opinion` (value is the word that reviewers should, or should not, use).

What users complain of is in `prstack.world.complaints`, what reviewers say in `prstack.world.opinions`; both are
re-exported here.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from prstack.types import Constraint
from prstack.world.complaints import complain, hear_complaint
from prstack.world.limits import amount
from prstack.world.opinions import OPINIONS, hear_opinions, leading_praise, opinion, opinion_of, praise_words
from prstack.world.units import NUMBER, currency, measure, number, number_text, price

__all__ = [
    "OPINIONS",
    "canonical",
    "complain",
    "hear",
    "hear_complaint",
    "hear_opinions",
    "join",
    "opinion",
    "opinion_of",
    "praise_words",
    "say",
    "sayable",
    "utterable",
]

MAX_VALUE, MAX_NAME, MAX_CATEGORY = 40, 50, 180
"""Longest sayable value, attribute name and category, in characters."""
_MAX_TEXT, _MAX_CLAUSE = 20_000, 400

# {a} attribute, {n} number with unit, {v} value, {m} money, {c} category, {w} opinion word; `an` agrees with {a}.
SAID: dict[tuple[str, str], tuple[str, ...]] = {
    ("opinion", "="): ("owners should call it {w}", "reviewers should describe it as {w}", "its reviews ought to say that it is {w}"),
    ("opinion", "!="): ("owners should not call it {w}", "reviewers should not describe it as {w}", "its reviews ought not to say that it is {w}"),
    ("price", "<="): (
        "my budget is {m}", "I can spend up to {m}", "I do not want to pay more than {m}", "it should cost no more than {m}", "the price should stay within {m}",
        "the most I can pay is {m}", "I cannot go above {m}", "I have {m} to spend", "anything above {m} is too expensive for me",
    ),
    ("price", ">="): ("the price should be {m} or more", "I expect to pay at least {m}", "it should cost no less than {m}"),
    ("", "<="): (
        "the {a} should be at most {n}", "the {a} must not exceed {n}", "I need no more than {n} for the {a}", "an {a} of {n} or less is a must", "the {a} has to stay at or below {n}",
        "keep the {a} at {n} or below", "on the {a} I draw the line at {n}", "I would not take more than {n} for the {a}",
    ),
    ("", ">="): (
        "the {a} should be at least {n}", "the {a} must not fall below {n}", "I need no less than {n} for the {a}", "an {a} of {n} or more is a must", "the {a} has to reach {n}",
        "keep the {a} at {n} or above", "on the {a} I start at {n}", "I would not take less than {n} for the {a}",
    ),
    ("", "!="): (
        "the {a} must not be {v}", "I can take anything except {v} for the {a}", "I want to avoid {v} as the {a}", "please leave out {v} for the {a}",
        "spare me {v} for the {a}", "I have had enough of {v} as the {a}", "the {a} should never be {v}",
    ),
    ("", "="): (
        "the {a} should be {v}", "it must have {v} as the {a}", "I want {v} for the {a}", "the {a} has to be {v}",
        "the {a} I want is {v}", "nothing beats {v} as the {a}", "give me {v} for the {a}",
    ),
    ("category", "="): (
        "I am looking for {c}", "I want to buy {c}", "I am shopping for {c}", "please help me find {c}",
        "what I need is {c}", "it has to be {c}", "show me {c}", "I would like to compare {c}", "tell me which one to take of the {c}",
        "my shopping list says {c}", "advise me on {c}", "this is about {c}",
    ),
    ("category", "!="): ("please leave out the category {c}", "I do not need another product from {c}", "skip everything in {c}"),
}  # fmt: skip
"""(attribute, op) → templates; the empty attribute is any other. Tried by `hear` in this order."""

HEARD: dict[tuple[str, str], tuple[str, ...]] = {
    ("opinion", "="): ("(?:owners|reviewers|buyers) (?:should |must )?(?:find|call|describe) it (?:as )?{w}",),
    ("price", "<="): (
        "(?:budget|price)(?: cap| limit)?(?: is| of|:)? (?:at most |up to |under |below |max(?:imum)? )?{M}",
        "(?:under|below|within|up to|less than|cheaper than|at most|no more than|max(?:imum)?(?: of)?|not over|spend) {M}",
        "{M} (?:or less|at most|max(?:imum)?)",
    ),
    ("price", ">="): ("(?:at least|over|above|from) {M}",),
    ("", "<="): (
        "(?:the |an? )?{a}(?: should be| must be| has to be| is| of|:)? (?:at most|up to|under|below|less than|no more than|no higher than|not over|max(?:imum)?|within|<=|≤) {n}",
        "(?:at most|no more than|less than|up to|under|below) {n} (?:of|for the|in) {a}",
        "(?:the |an? )?{a} (?:of )?{n} or (?:less|lower|under|below)",
        "max(?:imum)? {a}(?: of|:)? {n}",
    ),
    ("", ">="): (
        "(?:the |an? )?{a}(?: should be| must be| has to be| is| of|:)? (?:at least|over|above|more than|no less than|no lower than|min(?:imum)?|from|>=|≥) {n}",
        "(?:at least|no less than|more than|over|above) {n} (?:of|for the|in) {a}",
        "(?:the |an? )?{a} (?:of )?{n} or (?:more|higher|above|up)",
        "min(?:imum)? {a}(?: of|:)? {n}",
    ),
    ("", "!="): ("anything except {v} (?:for|as) the {a}", "the {a} (?:should not|cannot|can not|shouldn't|mustn't) be {v}", "avoid {v} as the {a}", "no {v} (?:for|as) the {a}"),
    ("", "="): ("the {a} (?:must be|needs to be|is to be) {v}", "(?:prefer|want|need|like|choose) {v} (?:as|for) the {a}"),
    ("category", "="): ("(?:looking|shopping|searching) for {c}", "recommend(?: me)? {c}", "(?:find|want|need|buy)(?: me)? (?:an?|some|new) {c}"),
}
"""What `hear` understands besides, tried after everything in SAID."""

_QUOTED = re.compile(r'"([^"\n]{1,200})"')
_CLAUSE = re.compile(r"[,;!?](?=\s|$)|\.(?=\s|$)|\n|\s[—–]\s|\s(?:and|but|with|while|plus)(?=\s)", re.I)
_ARTICLE = re.compile(r"^(?:(?:an?|the|some|new|good|another|my|our) )+", re.I)
_EMPTY_CATEGORY = re.compile(r"^(?:something|anything|one|it|them|that|which|advice|help|products?|options?)\b", re.I)
_LEAD = re.compile(r"(?:^|\s)(?:for|at|so|that|where|because|ideally|a|an|the)\s*$", re.I)
_MONEY = rf"(?:[$€£₱]|(?-i:[A-Z]{{3}}) ?)(?:{NUMBER})|(?:{NUMBER}) ?(?:[€₱]|(?-i:[A-Z]{{3}})\b|dollars|euros?|pesos)"
_SLOTS = {
    "a": r"(?P<a>[^,;\"]{1,60}?)",
    "v": r"(?P<v>[^,;\"]{1,60}?)",
    "w": r"(?P<w>[\w -]{2,40}?)",
    "c": r"(?P<c>[^,;\"]{1,180}?)",
    "n": rf"(?P<n>(?:{NUMBER})(?:[ -]?(?:fl\.? ?oz|sq\.? ?ft|[^\W\d_][^\s,;]*|[%°]C?))?)",
    "m": rf"(?P<m>{_MONEY}|{NUMBER})",
    "M": rf"(?P<m>{_MONEY})",
}


@dataclass(slots=True, frozen=True)
class _Pattern:
    attribute: str
    op: str
    regex: re.Pattern[str]


def _compile(book: dict[tuple[str, str], tuple[str, ...]], literal: bool) -> list[_Pattern]:
    out = []
    for (attribute, op), templates in book.items():
        for template in templates:
            text = re.sub(r"\ban (?={a})", "(?:a|an) ", template) if literal else template
            body = re.sub(r"\{(\w)\}", lambda m: _SLOTS[m[1]], text)
            out.append(_Pattern(attribute, op, re.compile(rf"(?:^|.*(?<![\w-]))(?P<phrase>{body})\.?$", re.I)))
    return out


_PATTERNS = [*_compile(SAID, literal=True), *_compile(HEARD, literal=False)]


# --- saying ----------------------------------------------------------------------------------------------------
def say(constraint: Constraint, rng: random.Random) -> str:
    """A phrase for a constraint, without capital or full stop. Raises ValueError for one that is not `utterable`."""
    if not utterable(constraint):
        raise ValueError(f"cannot be said so that it is heard again: {constraint}")
    return _fill(rng.choice(_templates(constraint)), constraint)


def _templates(c: Constraint) -> tuple[str, ...]:
    own = c.attribute if c.attribute in ("price", "category", "opinion") else ""
    templates = SAID.get((own, c.op))
    if templates is None:
        raise ValueError(f"there is no phrase for {c.attribute} {c.op}")
    return templates


def _fill(template: str, c: Constraint) -> str:
    unit = c.unit if c.unit in ("%", "°", '"') else f" {c.unit}" if c.unit else ""
    name = c.attribute
    text = re.sub(r"\ban (?={a})", "an " if name[:1].lower() in "aeiou" else "a ", template)
    slots = {"a": name, "n": f"{c.value}{unit}", "v": f"{c.value}{unit}", "w": c.value}
    if "{m}" in text:
        slots["m"] = amount(c)
    if "{c}" in text:
        slots["c"] = _category_phrase(c.value)
    return re.sub(r"\{(\w)\}", lambda m: slots[m[1]], text)


def _category_phrase(category: str) -> str:
    """A category in a sentence: with an article when it is singular, quoted when it would be cut into clauses."""
    if _CLAUSE.search(category + " ") or _ARTICLE.match(category) or _EMPTY_CATEGORY.match(category) or leading_praise(category):
        return f'"{category}"'
    if category[-1:] in "sS" or ">" in category:
        return category
    return f"{'an' if category[:1].lower() in 'aeiou' else 'a'} {category}"


def join(phrases: Sequence[str], rng: random.Random) -> str:
    """Phrases as running text: sentences of one to three phrases, joined by commas and "and"."""
    sentences, rest = [], list(phrases)
    while rest:
        size = min(len(rest), rng.choice((1, 1, 2, 2, 3)))
        part, rest = rest[:size], rest[size:]
        text = part[0] if size == 1 else ", ".join(part[:-1]) + rng.choice((" and ", ", and ", ", ")) + part[-1]
        sentences.append(text[0].upper() + text[1:] + ".")
    return " ".join(sentences)


# --- hearing ---------------------------------------------------------------------------------------------------
def hear(text: str) -> list[Constraint]:
    """The constraints in a text, in its order, each once, in canonical form. Never raises."""
    text = text[:_MAX_TEXT].replace("\x00", " ").replace("“", '"').replace("”", '"').replace("’", "'")
    quoted: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        quoted.append(match[1])
        return f"\x00{len(quoted) - 1}\x00"

    found: list[Constraint] = []
    for clause in _CLAUSE.split(_QUOTED.sub(put_aside, text)):
        clause = " ".join(clause.split())
        if 3 <= len(clause) <= _MAX_CLAUSE:
            found += [c for c in _hear_clause(clause, quoted) if c not in found]
    return found


def _hear_clause(clause: str, quoted: list[str]) -> list[Constraint]:
    later: list[Constraint] = []
    while clause:
        for pattern in _PATTERNS:
            match = pattern.regex.match(clause)
            heard = _constraints(pattern, match, quoted) if match else []
            if heard:
                later[:0] = heard
                clause = clause[: match.start("phrase")].rstrip()
                while shorter := _LEAD.search(clause):
                    clause = clause[: shorter.start()].rstrip()
                break
        else:
            return later
    return later


def _constraints(pattern: _Pattern, match: re.Match[str], quoted: list[str]) -> list[Constraint]:
    """What a matched phrase says; empty when the match does not hold up."""
    slots = {k: re.sub("\x00(\\d+)\x00", lambda m: quoted[int(m[1])], v) for k, v in match.groupdict().items() if v}
    if "m" in slots:
        amount = price(slots["m"])
        code = currency(slots["m"].replace("dollars", "USD").replace("euro", "EUR").replace("pesos", "PHP"))
        return [] if amount is None else [Constraint("price", pattern.op, number_text(amount), code or "USD")]
    if "c" in slots:
        return _category(pattern.op, slots["c"], literal="\x00" in match["c"])
    if "w" in slots:
        return [Constraint("opinion", pattern.op, slots["w"].lower())]
    name = _ARTICLE.sub("", slots["a"]).strip()
    if not name or name.lower() in ("price", "category", "opinion", "it", "that", "this", "budget"):
        return []
    if "n" in slots:
        found = re.match(rf"({NUMBER})[ -]?(.*)", slots["n"])
        return [Constraint(name, pattern.op, number_text(number(found[1])), found[2])]
    return [canonical(Constraint(name, pattern.op, slots["v"]))]


def _category(op: str, category: str, literal: bool) -> list[Constraint]:
    """A category, and the praise before it ("a quiet blender") as opinions."""
    found = []
    if not literal:
        category = _ARTICLE.sub("", category)
        while word := leading_praise(category):
            found.append(Constraint("opinion", "=", word))
            category = category[len(word) :].strip()
        if not category or _EMPTY_CATEGORY.match(category):
            return found
    return [*found, Constraint("category", op, category)]


# --- what can be said ------------------------------------------------------------------------------------------
def canonical(c: Constraint) -> Constraint:
    """The form in which `hear` gives a constraint back: number and unit apart, numbers without needless digits."""
    if c.attribute == "price":
        return Constraint("price", c.op, number_text(float(c.value)), c.unit or "USD")
    if c.attribute == "category":
        return Constraint("category", c.op, c.value)
    if c.attribute == "opinion":
        return Constraint("opinion", c.op, c.value.lower())
    found = measure(f"{c.value} {c.unit}") if c.unit else measure(c.value)
    if found:
        return Constraint(c.attribute, c.op, number_text(found[0]), found[1])
    if c.op in ("<=", ">=") and (bare := measure(c.value)) and not bare[1]:
        return Constraint(c.attribute, c.op, number_text(bare[0]), c.unit)
    return Constraint(c.attribute, c.op, f"{c.value} {c.unit}".strip())


def sayable(value: str, attribute: str = "kind") -> bool:
    """Whether a value (and an attribute's name) survives being said and heard in any of the phrases."""
    return utterable(Constraint(attribute, "=", value)) and utterable(Constraint(attribute, "!=", value))


def utterable(c: Constraint) -> bool:
    """Whether every phrase for a constraint is heard as that constraint."""
    return _utterable(c.attribute, c.op, c.value, c.unit)


@functools.lru_cache(65536)
def _utterable(attribute: str, op: str, value: str, unit: str) -> bool:
    c = Constraint(attribute, op, value, unit)
    longest = MAX_CATEGORY if attribute == "category" else MAX_VALUE
    if not (0 < len(value) <= longest and 0 < len(attribute) <= MAX_NAME and len(unit) <= MAX_VALUE):
        return False
    if any(re.search(r"[\"\x00-\x1f“”’]|^\s|\s$|\s\s", part) for part in (attribute, value)):
        return False
    try:
        wanted = canonical(c)
        templates = _templates(c)
    except ValueError:
        return False
    before, after = "I need help. ", ", and my budget is $77"
    for template in templates:
        phrase = _fill(template, c)
        if hear(f"{before}{phrase}{after}")[:1] != [wanted] or hear(phrase[0].upper() + phrase[1:] + ".") != [wanted]:
            return False
    return True
