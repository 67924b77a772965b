"""Tool text is data: nothing in it may pass for the dialogue's own markup.

Zero-width, control and direction-changing characters go first, so that they cannot hide markup from the second step:
the opening "<" of template tokens (`<|im_start|>`), of the dialogue's tags (`<tool_call>`, `<think>`, `<report>`, …) and of
common turn markers becomes "‹". The words stay readable; a tokenizer no longer sees a special token in them.
"""

from __future__ import annotations

import re
import unicodedata

_TAGS = "tool_call|tool_response|tool|tools|think|thinking|report|answer|system|user|assistant|function|im_start|im_end|s"
_OPEN = re.compile(rf"<(?=\s*/?\s*(?:{_TAGS})\b|\s*[|｜])", re.I)
_CLOSE = re.compile(r"([|｜]\s*)>")
_TURN = re.compile(r"\[(?=\s*/?\s*(?:INST|SYS)\s*\])", re.I)


def neutralise(text: str) -> str:
    """Text in which no markup of the dialogue is left. Idempotent; never raises, whatever the characters."""
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    return _TURN.sub("(", _CLOSE.sub(r"\1›", _OPEN.sub("‹", text)))


def one_line(text: str, limit: int | None = None) -> str:
    """Neutralised text on one line, cut at a word near `limit` characters."""
    text = " ".join(neutralise(text).split())
    if limit is None or len(text) <= limit:
        return text
    return text[:limit].rsplit(" ", 1)[0].rstrip(" ,;:") + " …"


def cell(text: str, limit: int | None = None) -> str:
    """One-line text that can stand between " | " separators."""
    return one_line(text.replace("|", "/"), limit)
