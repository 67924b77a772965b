"""Markdown tables in a report.

A table has a row of headings over a rule (`|---|---|`). Its products stand in rows (an id, or a pitched product's name, in one of the
first three cells) or in columns (in the headings); the other cells are claims named by the heading of their column, or by the first
cell of their row. A unit in brackets behind a name ("Noise (dB)") belongs to the values. Empty cells and dashes claim nothing. A row
that says "rejected" is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prstack.scoring.reading.claims import PRODUCT_ID, Claim, tidy

_RULE = re.compile(r"^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_UNIT = re.compile(r"^(.*?)\s*\(([^()\d]{1,8})\)$")
_EMPTY = {"", "-", "–", "—", "n/a", "na", "none", "not stated", "unknown", "?"}
_REJECTED = re.compile(r"\b(?:rejected|ruled out|excluded|discarded|not recommended|disqualified|eliminated)\b", re.I)
_NAMES = {"product", "name", "title", "item", "id", "product id", "asin", "sku", "model", "#", "no.", "rank", "option", "pick"}


@dataclass(slots=True)
class TableProduct:
    """What a table says of one product."""

    product_id: str
    text: str
    start: int
    claims: list[Claim] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    products: list[TableProduct]


def table_end(lines: Sequence[tuple[int, str]], n: int) -> int:
    """The line behind the table that begins at line `n`; 0 when none begins there."""
    if "|" not in lines[n][1] or n + 1 >= len(lines) or "|" not in lines[n + 1][1] or not _RULE.match(lines[n + 1][1]):
        return 0
    end = n + 2
    while end < len(lines) and "|" in lines[end][1]:
        end += 1
    return end


def read_table(lines: Sequence[tuple[int, str]], titles: Mapping[str, str]) -> Table:
    """The products of a table. `titles`: names of products that the report has pitched, in lower case → their ids."""
    head = [_plain(c) for _, c in _cells(*lines[0])]
    rows = [(at, line, _cells(at, line)) for at, line in lines[2:]]
    columns = {n: id for n, cell in enumerate(head) if n and (id := _product(cell, titles))}
    if columns:
        return Table(_by_columns(columns, rows, lines[0]))
    found: dict[str, TableProduct] = {}
    for at, line, cells in rows:
        named = next(((n, id) for n, (_, cell) in enumerate(cells[:3]) if (id := _product(_plain(cell), titles))), None)
        if named is None or _REJECTED.search(line):
            continue
        product = found.setdefault(named[1], TableProduct(named[1], line, at))
        for n, (start, cell) in enumerate(cells[: len(head)]):
            if n != named[0] and tidy(head[n]) not in _NAMES and not PRODUCT_ID.search(cell):
                product.claims += _claim(head[n], cell, start)
    return Table(list(found.values()))


def _by_columns(columns: Mapping[int, str], rows: Sequence[tuple[int, str, list[tuple[int, str]]]], head: tuple[int, str]) -> list[TableProduct]:
    found = {id: TableProduct(id, head[1], head[0]) for id in columns.values()}
    for _, _, cells in rows:
        for n, id in columns.items():
            if 0 < n < len(cells):
                found[id].claims += _claim(_plain(cells[0][1]), cells[n][1], cells[n][0])
    return list(found.values())


def _claim(name: str, cell: str, start: int) -> list[Claim]:
    value, unit = _plain(cell), _UNIT.match(name)
    if value.lower() in _EMPTY or not re.match(r"[A-Za-z]", name):
        return []
    name, suffix = (unit[1], f" {unit[2]}") if unit and re.fullmatch(r"[\d.,]+", value) else (unit[1] if unit else name, "")
    return [Claim(tidy(name), value + suffix, start, start + len(cell.strip()))]


def _product(cell: str, titles: Mapping[str, str]) -> str:
    if m := PRODUCT_ID.search(cell):
        return m[1]
    return titles.get(" ".join(cell.lower().split()), "")


def _plain(cell: str) -> str:
    return re.sub(r"\*\*|__|`", "", cell).strip()


def _cells(at: int, line: str) -> list[tuple[int, str]]:
    """(position, text) of each cell."""
    text = line.rstrip().removesuffix("|")
    pos = len(text) - len(text.lstrip())
    pos += text[pos : pos + 1] == "|"
    out = []
    for cell in text[pos:].split("|"):
        out.append((at + pos + len(cell) - len(cell.lstrip()), cell))
        pos += len(cell) + 1
    return out
