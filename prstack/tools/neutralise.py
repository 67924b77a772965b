"""Tool text is data: nothing in it may pass for a special token, for the dialogue's own markup, or for the line it stands on.

1. Control, format (zero-width, direction-changing, soft hyphens), private and unassigned characters and lone surrogates are
   dropped; line feeds and tabs stay.
2. The text is read as a tokenizer's normaliser or an HTML parser might read it: compatibility forms folded (NFKD, so that all
   that NFKC makes a token counts as that token), marks and fillers left out, entities decoded, up to three times over. What is
   read so is only looked at, never shown.
3. Where it opens markup, the one character that does becomes another in the text itself: "<" becomes "‹", "[" becomes "(", and
   the ">" of "|>" becomes "›". The words stay readable; a tokenizer no longer sees a special token in them.

Markup is, in any case of letters and with white space around its delimiters: `<|` and `|>` (ChatML, Llama 3, harmony, Phi,
Command-R, DeepSeek, …), `[|`, the dialogue's tags (`_TAGS`), tokens and tags of other models between angle brackets
(`_TOKENS`, and every bare tag with an underscore in its name), and turn markers between square brackets (`_TURNS`). All other text
stays as it is, character by character. Left alone on purpose: white space inside a name (`<to ol_call>`) and look-alikes that
no normaliser folds (a Cyrillic "а"), which are other characters to every tokenizer; and instructions in plain words, which stay what
they are: the text of a tool.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable

READ = 50_000
"""Characters of a text that are looked at where it is to fit a line or a page; no tool shows more than 3,000 of them."""

_TAGS = "tool_call|tool_response|tool|tools|think|thinking|report|answer|system|user|assistant|function|im_start|im_end|s"
_TOKENS = (
    "bos|eos|pad|unk|mask|cls|sep|sop|eop|sod|eod|eot|eoh|eoa|eom|bom|sys|inst|image|reponame|filename|source|turn|invoke|parameters?|"
    r"observation|scratchpad|unused\d+|seed:\w+|[a-z0-9]++(?:_[a-z0-9]++)+"
)
_TURNS = (
    "inst|sys|system_prompt|available_tools|tool_calls?|tool_results?|tool_content|model_settings|call_id|args|think|img|img_break|img_end|audio|"
    r"begin_audio|prefix|middle|suffix|gmask|smask|mask|cls|sep|pad|unk|bos|eos|control_\d+"
)
_MARKUP = re.compile(
    rf"(<)(?=\s*+(?:\||(?:/\s*+)?(?:(?:{_TAGS})\b|(?:{_TOKENS})(?:\s*+/?\s*+>|\s*+=|\s++[a-z][\w:-]*+\s*+=))))"
    rf"|(\[)(?=\s*+(?:\||(?:/\s*+)?(?:{_TURNS})\s*+\]))"
    r"|\|\s*+(>)",
    re.I,
)
_INSTEAD = {"<": "‹", "[": "(", ">": "›"}
_SUSPECT = re.compile("[<＜﹤≮>＞﹥≯[［﹇&＆﹠]")
"""What is read as a character that opens or closes markup, or begins an entity; a text without any is done after step 1."""
_ENTITY = re.compile(r"&(?:#0*+(\d{1,7});?|#x0*+([0-9a-f]{1,6});?|(lt|gt|amp);?|([a-z]\w{1,31});)", re.I | re.A)
_UNIT = re.compile(rf"{_ENTITY.pattern}|[^&\x80-\U0010ffff]+|.", re.I | re.A | re.S)
"""What is read as one: an entity, or a character; and a run of ASCII, which is read as it stands."""
_LEVELS = 3
"""Times that entities are decoded: text is escaped twice more often than one would wish."""
_DROPPED = ("Cc", "Cf", "Cs", "Co", "Cn")
_FILLERS = "\u115f\u1160\u2800"  # letters and symbols that show nothing


class _Table(dict):
    """A table for str.translate that is filled by a rule as characters come up."""

    def __init__(self, rule: Callable[[str], str | None]):
        super().__init__()
        self.rule = rule

    def __missing__(self, code: int) -> str | None:
        self[code] = value = self.rule(chr(code))
        return value


def _shown(c: str) -> str | None:
    return c if c in "\n\t" or unicodedata.category(c) not in _DROPPED else None


def _folded(c: str) -> str:
    kept = (d for d in unicodedata.normalize("NFKD", c) if d.isspace() or unicodedata.category(d) not in _DROPPED)
    return "".join(d for d in kept if unicodedata.category(d)[0] != "M" and d not in _FILLERS)


_SHOWN, _FOLDED = _Table(_shown), _Table(_folded)


def neutralise(text: str) -> str:
    """Text in which no markup is left. Idempotent, linear in its length; never raises, whatever the characters."""
    text = text.translate(_SHOWN)
    if not _SUSPECT.search(text) or not _MARKUP.search(_read(text)):
        return text
    read, spans = _aligned(text)
    out, done = [], 0
    for m in _MARKUP.finditer(read):
        start, end = spans[m.start(m.lastindex)]
        if start >= done:  # one character may be read as several
            out += [text[done:start], _INSTEAD[m[m.lastindex]]]
            done = end
    return "".join([*out, text[done:]])


def one_line(text: str, limit: int | None = None) -> str:
    """Neutralised text on one line, cut at a word near `limit` characters. Of a longer text, READ characters are looked at."""
    return _cut(" ".join(neutralise(text[:READ]).split()), limit)


def cell(text: str, limit: int | None = None) -> str:
    """One-line text that can stand between " | " separators, and makes no markup with them."""
    between = neutralise(f"| {text[:READ].replace('|', '/')} |")
    return _cut(" ".join(between[1:-1].split()), limit)


def _cut(text: str, limit: int | None) -> str:
    if limit is None or len(text) <= limit:
        return text
    return neutralise(text[:limit].rsplit(" ", 1)[0].rstrip(" ,;:") + " …")  # a name that went on may end here


def _read(text: str) -> str:
    """The text as it might be read."""
    for _ in range(_LEVELS):
        text = _ENTITY.sub(_decoded, text).translate(_FOLDED)
        if "&" not in text:
            break
    return text


def _aligned(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text as it might be read, and for each character of that the span in the text that it was read from."""
    spans = [(i, i + 1) for i in range(len(text))]
    for _ in range(_LEVELS):
        pieces, at = [], []
        for m in _UNIT.finditer(text):
            piece = _decoded(m).translate(_FOLDED)
            pieces.append(piece)
            at += spans[m.start() : m.end()] if piece == m[0] else [(spans[m.start()][0], spans[m.end() - 1][1])] * len(piece)
        text, spans = "".join(pieces), at
        if "&" not in text:
            break
    return text, spans


def _decoded(m: re.Match[str]) -> str:
    """What an entity stands for; anything else itself."""
    decimal, hexadecimal, legacy, name = m.groups()
    if decimal or hexadecimal:
        return html.unescape(f"&#{int(decimal or hexadecimal, 10 if decimal else 16)};")
    return html.unescape(f"&{legacy or name};") if legacy or name else m[0]
