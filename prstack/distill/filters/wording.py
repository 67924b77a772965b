"""How a text is written: runs of the same words, words that are none, and its language.

- A run: a unit of up to `UNIT` words again and again, `TIMES` in a row ("Bora Bora Bora …", "- brew time: 8 min" line after line), or
  syllables within a word ("ententent…"), or one symbol in a row that is no rule of dashes. Numbers may differ where a unit holds `PHRASE` words
  besides: such a loop counts.
- Sentences again, in whatever order: of `SENTENCES` or more, most stood in the text before.
- A word that is none: more than `LONGEST` letters without a break (the longest in German dictionaries are a little shorter), or `CODE`
  characters as base64 has them.
- The language, of the Latin script: by function words, which say it even in short texts (Grefenstette 1995, "Comparing two language
  identification schemes"). The lists below share no word with that of English, and few with each other.
"""

from __future__ import annotations

import re

UNIT, PHRASE, TIMES, LONGEST, CODE = 24, 4, 10, 40, 60
SENTENCES, OFTEN, WORDS = 20, 0.5, 3
"""Share of sentences that stood in a text before from which it repeats itself; sentences of fewer words are labels."""
FOREIGN, FOREIGN_SHARE = 8, 0.05
"""Letters of another script from which a text is taken for it: so many, and such a share. Fewer are names and units."""
OTHER = 4
"""Function words of another language from which a text is taken for it, when they are more than twice those of its own."""
LONG, LEAST, FEW = 40, 0.02, 12
"""What somebody wrote in `LONG` words holds a share of `LEAST` of its language's function words, and `FEW` words of prose hold one of them. A
report alone may not: it is lists and names."""

FUNCTION_WORDS = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the and of to is are with for that this it from not which but have has by at than be on or my each all only as its would should must",
        "de": "der das und ist nicht mit für ein eine einen auf den dem von zu sich auch wird sind im bei oder ich nach zum zur über aber kann",
        "es": "el los las una que con por para es del pero como su este esta son más y en lo muy también sobre entre",
        "fr": "le les des une est dans pour que qui avec sur pas plus du au ce cette sont mais et elle il aux nous vous très",
        "it": "il gli una che di per con non è del della sono più ma questo questa anche nel alla dei delle molto",
        "nl": "de het een van en niet met voor zijn dat op te aan ook maar deze bij worden heeft wordt naar uit",
        "pt": "os uma que com para não é do da em mais mas esta são por dos das você ao na no pelo muito também",
    }.items()
}
_LANGUAGES = {word: [language for language, known in FUNCTION_WORDS.items() if word in known] for known in FUNCTION_WORDS.values() for word in known}
"""Function word → the languages that have it."""
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")
_LETTERS = re.compile(r"[^\W\d_]")
_NOT_LATIN = re.compile(r"[^\W\d_\u0000-\u024f\u1e00-\u1eff]")
_GREEK_UNIT = re.compile(r"[µμΩπ]")
_NO_WORD = re.compile(rf"[^\W\d_]{{{LONGEST + 1},}}")
_SYLLABLES = re.compile(r"(.{1,8}?)\1{9,}")
_SYMBOLS = re.compile(r"([^\x00-\x7f\w\s\u2010-\u2015\u2022\u2026\u2500-\u257f])(?:\s?\1){9,}")
"""Dots, bullets, dashes and lines are how texts are set."""
_CODE = re.compile(rf"(?<![\w/.:+=-])[A-Za-z0-9+/]{{{CODE},}}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def run_in(text: str) -> str | None:
    """The unit of the first run of a text; None where there is none."""
    words = _WORD.findall(text.lower())
    masked = [_NUMBER.sub("0", w) for w in words]
    for size in range(1, min(UNIT, len(words) // TIMES) + 1):
        for kind, least in ((words, 1), (masked, PHRASE)):
            if unit := _periodic(kind, size, least):
                return unit
    if m := _SYMBOLS.search(text):
        return m[1]
    long = (w for w in words if len(w) >= TIMES)
    return next((m[1] for w in long if (m := _SYLLABLES.search(w)) and _LETTERS.search(m[1])), None)


def _periodic(words: list[str], size: int, least: int) -> str | None:
    """The first unit of `size` words that comes `TIMES` in a row and holds `least` words that are no numbers."""
    same = 0
    for n, (word, before) in enumerate(zip(words[size:], words, strict=False)):
        same = same + 1 if word == before else 0
        if same == size * (TIMES - 1):
            unit = words[n + 1 : n + 1 + size]
            if sum(bool(_LETTERS.search(w)) for w in unit) >= least:
                return " ".join(unit)
            same = 0
    return None


def sentences_again(text: str) -> float | None:
    """Share of the sentences that stood in the text before, where they are too many; else None."""
    said = [" ".join(words) for part in _SENTENCE.split(text) if len(words := _WORD.findall(part.lower())) >= WORDS]
    share = 1 - len(set(said)) / len(said) if len(said) >= SENTENCES else 0.0
    return share if share > OFTEN else None


def no_word(text: str) -> str | None:
    """The first word that is none."""
    if found := _NO_WORD.search(text):
        return found[0]
    return next((m[0] for m in _CODE.finditer(text) if re.search(r"\d", m[0]) and re.search(r"[a-z]", m[0]) and re.search(r"[A-Z]", m[0])), None)


def foreign_letters(text: str) -> int:
    """Letters of other scripts than Latin, where they are enough to be a text in one; else 0."""
    n = len(_NOT_LATIN.findall(_GREEK_UNIT.sub("", text)))
    return n if n >= FOREIGN and n >= FOREIGN_SHARE * len(_LETTERS.findall(text)) else 0


def other_language(text: str, wanted: str) -> str | None:
    """The language that a text is in, where that is not the wanted one."""
    hits = dict.fromkeys(FUNCTION_WORDS, 0)
    for word in _WORD.findall(text.lower()):
        for language in _LANGUAGES.get(word, ()):
            hits[language] += 1
    own = hits.pop(wanted)
    most = max(hits, key=lambda language: hits[language])
    return most if hits[most] >= OTHER and hits[most] > 2 * own else None


def lacks(text: str, language: str, few: int | None = None) -> bool:
    """Whether a text is too long for the few function words of a language that it holds: `few`, or too small a share."""
    words = [w for w in _WORD.findall(text.lower()) if not w.isdigit()]
    held = sum(w in FUNCTION_WORDS[language] for w in words)
    return len(words) >= LONG and held < LEAST * len(words) if few is None else len(words) >= FEW and held <= few
