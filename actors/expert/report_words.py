"""What a report says beside its claims of the form `name: value`: comparisons, prose, limits repeated, the language it is in.

1. Who is called the cheapest, the dearest or the best rated, alone or beside another, has to be so by the pages.
2. A sentence on a product claims more than its page shows when most of its words that say something, and `STRANGE` or more of them, stand
   neither on the page nor in the query or the rubric.
3. A limit that is repeated as what was asked for is the query's.
4. Function words tell a report's language from the query's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from actors.expert.findings import finding, stem, stems, words
from prstack.scoring.evidence import Evidence
from prstack.scoring.report import Pitch, Report
from prstack.tools.results import ProductPage
from prstack.types import Constraint, RubricItem
from prstack.world.language import hear
from prstack.world.limits import limit
from prstack.world.names import fold
from prstack.world.units import NUMBER, convert, number

STRANGE, SHARE = 3, 0.6
"""Least number, and least share of a sentence's words, that stand nowhere."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n|;\s")
_STATED = re.compile(r"^[\s>*+\-•|#]*(?:\*\*|__)?[A-Za-z][\w /()'&-]{0,48}?(?:\*\*|__)?\s*:|^\s*\||^\s*#|^\s*\d{1,2}[.)]\s")
_ASKED = re.compile(r"\b(?:you|your|asked|wanted|limit|budget|requirements?|needs?)\b", re.I)
_LIMIT = re.compile(
    r"(?:(?P<upper>at most|no more than|up to|not over|a maximum of|≤)|at least|no less than|a minimum of|≥) ?"
    rf"(?P<n>{NUMBER}) ?(?P<unit>[^\W\d_][\w²³]*(?:/\w)?|[%°])",
    re.I,
)
_ORDERS = [
    (re.compile(rf"\b(?:{most})\b", re.I), re.compile(rf"\b(?:{more}) than\b", re.I), field, sign)
    for most, more, field, sign in (
        ("cheapest|least expensive|lowest[ -]priced?|lowest price", "cheaper|less expensive|costs less", "price", -1),
        ("most expensive|dearest|priciest|highest price", "dearer|more expensive|costs more", "price", 1),
        ("best[ -]rated|highest[ -]rated|highest rating", "better[ -]rated|higher[ -]rated", "rating", 1),
    )
]
"""(superlative, comparative, field, whether it means more or less of it)."""
_FUNCTION = {
    "English": "the and of to is in it for that with are this you they from at by not its was have",
    "German": "der die das und ist ein eine mit für nicht von zu sie auf den im dem sind bei wird weil alle",
    "French": "le la les des est et un une pour dans avec que qui ce sur pas du vous sont car tous cet reste",
    "Spanish": "el la los las es y un una para con que en por su del se este lo al porque todos sobre",
    "Italian": "il lo gli è e un una per con che di non sono della questo nel si tutti perché più",
    "Dutch": "de het een en is van voor met niet dat op zijn te deze aan ook alle omdat in",
    "Portuguese": "o os as é e um uma para com que em por não do da este são mais todos porque",
}
_FUNCTION_WORDS = {language: words(text) for language, text in _FUNCTION.items()}
LEAST_WORDS = 12
"""Words of prose from which a language can be told."""
_PLAIN = words(
    "a about above again against all also always among an and another any are argue as asked at available be because been before below best better between "
    "both but buy by call called can check checked choice come comes compared comparison cost costs could decide differ differs do does each either else "
    "enough even every everything fit fits first for from get gets give gives go good great had has have here how however i if in into is it its just keep "
    "keeps kind least leave leaves less like limit limits list listed listing little live look looks make makes many matter matters may me meet meets might "
    "more most much must my need needs never no none not nothing now of on one only open opened option or other others otherwise our out over own page "
    "pages perfect pick plenty point price priced product products range rate rated rating ratings read reason reasonable recommend recommended "
    "recommendation remain remains report requirement requirements review reviewer reviewers reviews right room said same say says second see seen sense "
    "shown shows since so solid some spend star stars state stated states stay stays still such suit suits sure take takes taste than that the their them "
    "then there therefore these they third this those though through to top under up value want wanted wants was way well were what when where whether "
    "which while who why will with within without would yet you your"
)
"""Words that claim nothing of a product."""
_PLAIN_STEMS = {stem(w) for w in _PLAIN}


def check(report: Report, query: str, items: Sequence[RubricItem], evidence: Evidence) -> list[dict]:
    """The faults that are found."""
    pages = {id: evidence.visited[id] for id in report.product_ids if id in evidence.visited}
    out = [*_comparisons(report, pages), *_limits(report, query)]
    asked = stems(" ".join([query, *(i.text for i in items)]))
    for pitch in report.pitches:
        if pitch.product_id in pages:
            out += _prose(pitch, stems(evidence.texts[evidence.seen_in[pitch.product_id]]) | asked)
    asked_in, language = _language(query), _language(report.text)
    if asked_in and language and asked_in != language:
        out.append(finding("format", f"the report is in {language}, but the need was stated in {asked_in}"))
    return out


def _comparisons(report: Report, pages: dict[str, ProductPage]) -> list[dict]:
    out = []
    for sentence in _SENTENCE.split(report.text):
        for superlative, comparative, field, sign in _ORDERS:
            values = {id: sign * v for id, p in pages.items() if (v := getattr(p, field)) is not None}
            if m := superlative.search(sentence):
                who = _named(sentence, pages, before=m.start()) or _named(sentence, pages, after=m.end())
                if who and all(id in values and values[id] < max(values.values()) for id in who):
                    out.append(finding("supported", f"{who[0]} is said to be the {m[0].lower()}, but another one is"))
            elif m := comparative.search(sentence):
                who, others = _named(sentence, pages, before=m.start()), _named(sentence, pages, after=m.end())
                if who and others and all(a in values and b in values and values[a] < values[b] for a in who for b in others):
                    out.append(finding("supported", f"{who[0]} is said to be {m[0].lower()} {others[0]}, but it is not"))
    return out


def _named(sentence: str, pages: dict[str, ProductPage], before: int | None = None, after: int = 0) -> list[str]:
    """The product that a sentence names, by id or whole title: the last one before a place, else the first one after a place. Several where
    they are called the same; of titles that begin alike, the longest that stands there."""
    places: dict[int, tuple[int, list[str]]] = {}
    for name in dict.fromkeys(n for id, p in pages.items() for n in (id, p.title)):
        for m in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", sentence):
            if len(name) > places.get(m.start(), (0, []))[0]:
                places[m.start()] = len(name), [id for id, p in pages.items() if name in (id, p.title)]
    fitting = [at for at in sorted(places) if (at < before if before is not None else at >= after)]
    return places[fitting[-1 if before is not None else 0]][1] if fitting else []


def _limits(report: Report, query: str) -> list[dict]:
    """Limits that the report repeats as what was asked for, and that are not the query's."""
    asked = [c for c in hear(query) if c.op in ("<=", ">=") and c.attribute != "price"]
    out = []
    for sentence in _SENTENCE.split(report.text):
        if not _ASKED.search(sentence):
            continue
        for m in _LIMIT.finditer(sentence):
            op = "<=" if m["upper"] else ">="
            near = [c for c in asked if c.op == op and fold(c.attribute) in fold(sentence) and convert(number(m["n"]), m["unit"], c.unit) is not None]
            if near and not any(_same_limit(c, number(m["n"]), m["unit"]) for c in near):
                out.append(finding("supported", f"the need was {near[0].attribute} {limit(near[0])}, but the report says {m[0]}"))
    return out


def _same_limit(c: Constraint, value: float, unit: str) -> bool:
    return abs((convert(value, unit, c.unit) or 0.0) - float(c.value)) <= 0.01 * abs(float(c.value))


def _prose(pitch: Pitch, shown: set[str]) -> list[dict]:
    """Sentences that say more of a product than its page does."""
    out = []
    for line in pitch.text.split("\n"):
        if _STATED.match(line):
            continue
        for sentence in _SENTENCE.split(line):
            said = [w for w in dict.fromkeys(map(stem, re.findall(r"[^\W\d_][\w'-]+", sentence))) if w not in _PLAIN_STEMS]
            strange = [w for w in said if w not in shown]
            if len(strange) >= STRANGE and len(strange) >= SHARE * len(said):
                out.append(finding("supported", f"no source shows what is said of {pitch.product_id}: {_short(sentence)}"))
    return out


def _short(sentence: str) -> str:
    return '"' + sentence.strip().rstrip(".").replace('"', "'")[:100] + '"'


def _language(text: str) -> str:
    """The language of a text's prose, by its function words; empty where they are few or two languages are near."""
    prose = " ".join(line for line in text.lower().split("\n") if not _STATED.match(line))
    said = re.findall(r"[^\W\d_]+", prose)
    found = {language: [w for w in said if w in known] for language, known in _FUNCTION_WORDS.items()}
    most, other = sorted(found, key=lambda language: len(found[language]), reverse=True)[:2]
    clear = len(said) >= LEAST_WORDS and len(set(found[most])) >= 3 and len(found[most]) > 1.2 * len(found[other])
    return most if clear else ""
