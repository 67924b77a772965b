"""What a report says, as pitches and claims.

A pitch is a product that the report recommends, by its id (`prstack.scoring.reading.heads` says which lines do so), together with what the
report says about it: up to the next product, the next heading that is not below its own, or a part about other things. A product
named again adds to its pitch. Claims (`prstack.scoring.reading.claims`) are `name: value` pairs, prices, what reviewers say, and quantities
in prose; rows or columns of a table about a product are claims as well (`prstack.scoring.reading.tables`).

1. The text between the tags is read line by line, up to `READ` characters, so that an endless report costs no more.
2. A part whose heading says that its products are not recommended ("Rejected", "Considered but …") pitches none.
3. Positions (`start`, `end`) count characters of `Report.text`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from prstack.scoring.evidence import Span
from prstack.scoring.reading.claims import PRICE, PRODUCT_ID, Claim, line_claims
from prstack.scoring.reading.heads import Head, head_of, level_of, rejects
from prstack.scoring.reading.tables import Table, read_table, table_end

__all__ = ["PRODUCT_ID", "READ", "Claim", "Pitch", "Report", "parse_report", "report_body"]

READ, LINE = 24_000, 2_000
"""Characters of a report, and of a line, that are read."""
_ID_LINE = re.compile(r"^[\s>*+\-•|#_]*(?:product |item )?(?:id|asin|sku)\b", re.I)
_ENTRY = re.compile(r"[\s>*#_]*(\d{1,2})[.)]")
_NUMBERED = re.compile(r"\s{0,3}\d{1,2}[.)]\s+\S")
_NAMED = re.compile(r"\s{0,3}(?:\d{1,2}[.)]\s+\S|\*\*[^*]+\*\*:?$)")


@dataclass(slots=True)
class Pitch:
    """One recommended product: its own text, and what is claimed of it. `start`: where its id, or the line with it, first stands."""

    product_id: str
    text: str
    claims: list[Claim] = field(default_factory=list)
    start: int = 0
    end: int = 0


@dataclass(slots=True)
class Report:
    text: str
    pitches: list[Pitch]
    lines: list[int] = field(default_factory=list)
    """Where each line of the part that is read begins."""
    entries: int = 0
    """Numbered entries of lists that are about one product each."""
    repeats: int = 0
    """Those of them whose product the same list had before."""

    @property
    def product_ids(self) -> list[str]:
        return [p.product_id for p in self.pitches]

    def span(self, start: int, end: int) -> Span:
        """A place in the report."""
        return Span("report", start, end, bisect_right(self.lines, start))


def report_body(text: str) -> str:
    """The report without its tags."""
    inner = re.search(r"<report>(.*?)(?:</report>|$)", text, re.S)
    return (inner.group(1) if inner else text).strip()


def parse_report(text: str) -> Report:
    """Pitches in the order of the report. Never raises; a report without ids has no pitches."""
    body = report_body(text)
    reader = _Reader(body[:READ])
    return Report(body, reader.pitches(), [at for at, _ in reader.lines], reader.entries, reader.repeats)


class _Reader:
    """Reads one report's lines, in their order."""

    def __init__(self, text: str):
        self.lines: list[tuple[int, str]] = []
        at = 0
        for line in text.splitlines(keepends=True):
            self.lines.append((at, line[:LINE].rstrip()))
            at += len(line)
        self.found: dict[str, Pitch] = {}
        self.titles: dict[str, str] = {}
        """A pitched product's name, in lower case → its id: columns of tables may be headed so."""
        self.said: set[tuple[str, str]] = set()
        """Lines of pitches that were read: again, they add nothing."""
        self.current: Pitch | None = None
        self.level = 0
        """Level of the heading that the current pitch began with; 0 when it was none."""
        self.rejecting: int | None = None
        """Level of the heading (0: a label) of a part about products that are not recommended."""
        self.listed = ""
        """What begins the next product of a list: a `number`, `any` line that is but a name, or nothing known."""
        self.entries = self.repeats = 0
        self.list: list[str] = []
        """Products of the numbered list that is being read."""
        self.number = 0
        """The number of its last entry; 0 after a heading between lists."""
        self.pending: list[Claim] = []
        """Claims since a heading or list number without an id, whose product may be named by a line `ID: …` below."""

    def pitches(self) -> list[Pitch]:
        n = 0
        while n < len(self.lines):
            if end := table_end(self.lines, n):
                if self.rejecting is None:
                    self._table(read_table(self.lines[n:end], self.titles))
                n = end
            else:
                self._line(*self.lines[n])
                n += 1
        return list(self.found.values())

    def _line(self, at: int, line: str) -> None:
        if not line.strip():
            return
        level = level_of(line)
        if level and (not self.level or level <= self.level):
            self.current, self.level, self.pending = None, 0, []
        if rejects(line):
            self.current, self.rejecting = None, level
            return
        if self.rejecting is not None and level and level <= (self.rejecting or 6):
            self.rejecting = None
        if level and not _ENTRY.match(line):
            self.number = 0
        head = None if self.rejecting is not None else head_of(line)
        if head:
            self._head(head, at, line, level)
        elif self.listed and (_NUMBERED if self.listed == "number" else _NAMED).match(line):
            self.current, self.pending = None, []  # the next of a list of products, whose id may follow
        elif self.current is None:
            self.pending = [] if _NAMED.match(line) else [*self.pending[-20:], *line_claims(line, at)]
        elif (said := (self.current.product_id, line)) not in self.said:
            self.said.add(said)
            self._add(self.current, at, line, line_claims(line, at, self.current.product_id))

    def _head(self, head: Head, at: int, line: str, level: int) -> None:
        if len(head.ids) == 1 and (entry := _ENTRY.match(line)):
            self._entry(int(entry[1]), head.ids[0])
        for id in head.ids:
            pitch = self.found.setdefault(id, Pitch(id, "", start=at + max(line.find(id), 0)))
            self._add(pitch, at, line, [])
        if head.title and len(head.ids) == 1:
            self.titles.setdefault(" ".join(head.title.lower().split()), head.ids[0])
        if len(head.ids) > 1:
            self.current = None
            return
        self.current = pitch
        self.level = level or (self.level if _ID_LINE.match(line) else 0)
        if _ID_LINE.match(line):
            pitch.claims += self.pending
        self.pending = []
        self.listed = "any" if _ID_LINE.match(line) else "number" if _NUMBERED.match(line) else ""
        price = PRICE.search(line) if head.end else None
        if price:
            pitch.claims.append(Claim("price", price.group(0), at + price.start(), at + price.end()))
        for claim in line_claims(line[head.end :], at + head.end, pitch.product_id):
            if not price or not claim.start <= at + price.start() < claim.end or (claim.name != "price" and claim.loose):
                pitch.claims.append(claim)

    def _entry(self, number: int, id: str) -> None:
        """Another list begins where the numbers do, unless all are 1, as Markdown allows."""
        if not self.number or number == 1 < self.number:
            self.list = []
        self.entries, self.repeats = self.entries + 1, self.repeats + (id in self.list)
        self.list.append(id)
        self.number = number

    def _add(self, pitch: Pitch, at: int, line: str, claims: list[Claim]) -> None:
        pitch.text += ("\n" if pitch.text else "") + line
        pitch.end = at + len(line)
        pitch.claims += claims

    def _table(self, table: Table) -> None:
        for row in table.products:
            pitch = self.found.setdefault(row.product_id, Pitch(row.product_id, "", start=row.start))
            self._add(pitch, row.start, row.text, row.claims)
        self.current = None
