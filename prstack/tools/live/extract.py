"""HTML → title and readable text, in one pass of linear time over any input.

1. A scanner of our own finds the next tag or comment with one compiled search. The standard library's parser is asked for a
   single tag's attributes, where they may hide it; on whole pages its time can grow with the square of hostile input.
2. A bounded stack holds the open elements. A start tag ends what HTML lets it end (a paragraph, a list item, a cell), an end tag its
   nearest partner. Text counts where no open element is hidden (`hidden`, `aria-hidden=true`, `display:none`,
   `visibility:hidden`) or dropped (scripts, styles, navigation, drawings, templates, …).
3. Block elements end a line, list items begin with "- ", cells of a table row are joined by " | ". Where `<main>` or `<article>`
   holds enough text, only that is kept.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass
from html.parser import HTMLParser

MAX_CHARS, MAX_TAGS, MAX_DEPTH, MAX_TEXT, MAX_TAG = 4_000_000, 100_000, 256, 400_000, 4096
"""Where reading stops: characters and tags read, open elements known, characters of text, characters of a tag that are looked at."""
MAIN_ENOUGH = 300
"""Characters that `<main>` and `<article>` must hold to stand for the page."""

_MARKUP = re.compile(r"<(?:(!--)|[!?]|(/?)([a-zA-Z][^\s/>]{0,60}))")
_TAG_STOP = re.compile(r">|=\s{0,20}[\"']")
_MAY_HIDE = re.compile(r"hidden|style", re.I)
_HIDING_STYLE = re.compile(r"(?:^|;)(?:display:none|visibility:(?:hidden|collapse))")
_LONG_NUMBER = re.compile(r"&#[xX]?[0-9a-fA-F]{12,};?")
_RAW = {n: re.compile(rf"</{n}(?=[\s/>])", re.I) for n in ("script", "style", "iframe", "noembed", "noframes", "xmp", "title", "textarea")}
_DROPPED = {"nav", "svg", "template", "noscript", "canvas", "object", "audio", "video", "select", "datalist"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_BLOCK = {
    *("html", "head", "body", "main", "article", "section", "aside", "nav", "header", "footer", "hgroup", "address", "div", "center", "p", "pre", "blockquote"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "hr", "ul", "ol", "menu", "dir", "li", "dl", "dt", "dd", "figure", "figcaption", "details", "summary", "dialog"),
    *("form", "fieldset", "legend", "table", "caption", "tbody", "thead", "tfoot", "tr"),
}
_CELLS, _TABLE = ("td", "th"), {"table", "caption", "tbody", "thead", "tfoot", "tr", "td", "th"}
_ENDS = {
    **dict.fromkeys(_BLOCK - _TABLE - {"body", "html"}, ({"p"}, {"table", "td", "th", "caption", "button"})),
    "li": ({"li", "p"}, {"ul", "ol", "menu", "dir", "table"}),
    **dict.fromkeys(("dt", "dd"), ({"dt", "dd", "p"}, {"dl", "table"})),
    **dict.fromkeys(_CELLS, ({"td", "th"}, {"tr", "table"})),
    "tr": ({"tr", "td", "th"}, {"table"}),
    **dict.fromkeys(("tbody", "thead", "tfoot"), ({"tbody", "thead", "tfoot", "tr", "td", "th", "caption"}, {"table"})),
}
"""Start tag → the open elements that it ends, and the elements beyond which it ends none."""
_BOXES = _BLOCK | _TABLE
_KEPT_BY = {n: {*_CELLS, "table"} for n in _BLOCK} | {n: {"table"} for n in _TABLE} | {n: set() for n in ("table", *_DROPPED)}
"""End tag → the elements whose end it does not cross; of the others, any of `_BOXES`."""
_WHOLE = ("html", "body")
"""Never hidden: pages hide these until their scripts have run."""


@dataclass(frozen=True, slots=True)
class Document:
    title: str
    text: str


def extract(page: str, xhtml: bool = False) -> Document:
    """The title and text of HTML (`xhtml`: "/>" closes an element). Never raises; any text is some HTML."""
    reader = _Reader(page[:MAX_CHARS], xhtml)
    reader.read()
    return reader.document()


def plain(fragment: str) -> str:
    """The words of a piece of HTML, on one line."""
    return " ".join(extract(fragment).text.split()) if "<" in fragment or "&" in fragment else " ".join(fragment.split())


class _Tag(HTMLParser):
    """The attributes of one start tag; the first of a name counts."""

    def attributes(self, tag: str) -> dict[str, str]:
        self.reset()
        self.found: dict[str, str] = {}
        self.feed(_LONG_NUMBER.sub("", tag))
        return self.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found = {k: v or "" for k, v in reversed(attrs)}


class _Reader:
    def __init__(self, page: str, xhtml: bool):
        self._page, self._xhtml, self._tag = page, xhtml, _Tag()
        self._stack: list[tuple[str, bool]] = []
        self._open: Counter[str] = Counter()
        self._hidden = self._beyond = self._size = 0
        self._line: list[str] = []
        self._lines: list[tuple[str, bool]] = []
        self._title = self._heading = ""

    def document(self) -> Document:
        main = [line for line, is_main in self._lines if is_main]
        lines = main if sum(map(len, main)) >= MAIN_ENOUGH else [line for line, _ in self._lines]
        return Document(self._title or self._heading, "\n".join(lines))

    def read(self) -> None:
        page, at, tags = self._page, 0, 0
        while at >= 0 and tags < MAX_TAGS and self._size < MAX_TEXT:
            m = _MARKUP.search(page, at)
            self._text(page[at : m.start() if m else len(page)])
            if m is None:
                break
            tags += 1
            at = self._comment(m) if not m[3] else self._end(m) if m[2] else self._start(m)
        self._break()

    # --- markup: each returns where reading goes on, -1 at the end ------------------------------------------------
    def _comment(self, m: re.Match) -> int:
        mark = "-->" if m[1] else ">"
        end = self._page.find(mark, m.start() + 2)
        return end + len(mark) if end >= 0 else -1

    def _end(self, m: re.Match) -> int:
        name = m[3].lower()
        if name in _BLOCK:
            self._break(soft=name not in _TABLE)
        if self._beyond:
            self._beyond -= 1
        else:
            self._close({name}, _KEPT_BY.get(name, _BOXES), first=True)
        return self._after(m.end())

    def _start(self, m: re.Match) -> int:
        name, end = m[3].lower(), self._after(m.end())
        if end < 0:
            return -1
        tag = self._page[m.start() : end]
        closed = name in _VOID or (self._xhtml and tag.endswith("/>"))
        if name in _RAW and not closed:
            return self._raw(name, end)
        if name in _BLOCK or name == "br":
            self._break(soft=name not in _TABLE)
        if name in _ENDS:
            self._close(*_ENDS[name])
        if not closed:
            may_hide = name not in _WHOLE and _MAY_HIDE.search(tag, 0, MAX_TAG) is not None
            self._push(name, name in _DROPPED or (may_hide and self._hides(tag)))
        if name == "li":
            self._add("- ")
        elif name in _CELLS and any(self._line):
            self._add(" | ")
        return end

    def _raw(self, name: str, at: int) -> int:
        """Past an element whose content is no markup; a title is kept."""
        m = _RAW[name].search(self._page, at)
        if name == "title" and not self._title and not self._hidden:
            self._title = " ".join(_unescape(self._page[at : min(m.start() if m else len(self._page), at + 1000)]).split())
        return self._after(m.end()) if m else -1

    def _after(self, at: int) -> int:
        """Past the ">" of a tag; a quoted value may hold others. A quote without a partner is none."""
        while m := _TAG_STOP.search(self._page, at):
            if m[0] == ">":
                return m.end()
            close = self._page.find(m[0][-1], m.end())  # in vain at most once for each kind of quote: this one was the last
            at = close + 1 if close >= 0 else m.end()
        return -1

    def _hides(self, tag: str) -> bool:
        a = self._tag.attributes(tag if len(tag) <= MAX_TAG else tag[:MAX_TAG].rsplit(None, 1)[0] + ">")
        style = re.sub(r"/\*.*?\*/|\s", "", a.get("style", ""), flags=re.S).lower()
        return "hidden" in a or a.get("aria-hidden", "").strip().lower() == "true" or _HIDING_STYLE.search(style) is not None

    # --- the open elements ----------------------------------------------------------------------------------------
    def _push(self, name: str, hidden: bool) -> None:
        if len(self._stack) >= MAX_DEPTH:
            self._beyond += 1
            return
        self._stack.append((name, hidden))
        self._open[name] += 1
        self._hidden += hidden

    def _close(self, names: set[str], stops: set[str], first: bool = False) -> None:
        """Ends the outermost (`first`: the innermost) open element of `names` this side of `stops`, and all within it."""
        if not any(self._open[n] for n in names):
            return
        lowest = len(self._stack)
        for k in range(len(self._stack) - 1, -1, -1):
            name = self._stack[k][0]
            if name in names:
                lowest = k
                if first:
                    break
            elif name in stops:
                break
        while len(self._stack) > lowest:
            name, hidden = self._stack.pop()
            self._open[name] -= 1
            self._hidden -= hidden

    # --- text -----------------------------------------------------------------------------------------------------
    def _text(self, piece: str) -> None:
        if not piece or self._hidden:
            return
        piece = piece[: MAX_TEXT - self._size]
        self._size += len(piece)
        text = _unescape(piece)
        if self._open["pre"]:
            for k, line in enumerate(text.split("\n")):
                if k:
                    self._break()
                self._line.append(line)
        else:
            self._line.append(text)

    def _add(self, text: str) -> None:
        if not self._hidden:
            self._size += len(text)
            self._line.append(text)

    def _break(self, soft: bool = False) -> None:
        """Ends the line. Within a table cell a `soft` end is a space."""
        if soft and (self._open["td"] or self._open["th"]):
            self._line.append(" ")
            return
        line = " ".join("".join(self._line).split())
        self._line = []
        if line.strip("-| "):
            self._lines.append((line, bool(self._open["main"] or self._open["article"])))
            if self._open["h1"] and not self._heading:
                self._heading = line


def _unescape(text: str) -> str:
    return html.unescape(_LONG_NUMBER.sub("\ufffd", text)) if "&" in text else text
