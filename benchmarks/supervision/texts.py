"""What mutators read and write: needs, product pages, and reports in the form in which the expert writes them.

`needs` are the typed items of the rubric, not what one hears in the query. `Page` and `Draft` are read by patterns of this file, which are as
narrow as the texts are regular; a text that does not fit gives None, and no mutant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from benchmarks.supervision.moments import Moment
from prstack.types import Constraint, Trajectory

_TYPES = {"budget_match", "attribute_match", "numeric_range", "negative_attribute"}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?) ?(\S+)")
OTHER_UNIT = {
    "kPa": "bar", "bar": "kPa", "min": "hours", "hours": "min", "s": "min", "ms": "s", "l": "ml", "kg": "g", "g": "kg",
    "W": "kW", "mAh": "Ah", "cm": "mm", "mm": "cm", "m": "cm", "km": "m", "months": "years", "years": "months", "m³/h": "l",
    "dB": "%", "lm": "W", "nits": "lm", "Hz": "kHz", "m²": "cm", "lb": "kg", "oz": "lb", "in": "cm",
}  # fmt: skip
"""A unit → another, in which the same number is another value."""
FINER = {
    "l": ("ml", 1000),
    "kg": ("g", 1000),
    "kPa": ("Pa", 1000),
    "cm": ("mm", 10),
    "m": ("cm", 100),
    "hours": ("min", 60),
    "min": ("s", 60),
    "km": ("m", 1000),
    "years": ("months", 12),
}
"""A unit → a finer one, and how many of those it holds."""
SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£"}


def needs(t: Trajectory) -> list[Constraint]:
    """What the rubric asks of every product, its category aside."""
    return [Constraint("price" if i.type == "budget_match" else i.attribute, i.op, i.value, i.unit) for i in t.rubric if i.type in _TYPES]


def category(t: Trajectory) -> str:
    return next(i.value for i in t.rubric if i.type == "entity_match")


def budget(t: Trajectory) -> float | None:
    return next((float(c.value) for c in needs(t) if c.attribute == "price" and c.op == "<="), None)


def numeric(c: Constraint) -> bool:
    return c.op in ("<=", ">=") and c.attribute != "price"


def plain(number: float) -> str:
    return f"{number:.4f}".rstrip("0").rstrip(".")


def scaled(value: str, factor: float) -> str:
    """A measured value ("21.5 kPa") times a factor, with as many decimals; the unit stays."""
    m = _NUMBER.fullmatch(value)
    decimals = len(m[1].partition(".")[2])
    return f"{float(m[1]) * factor:.{decimals}f} {m[2]}"


def measured(value: str) -> tuple[float, str] | None:
    """(number, unit) of a value that is one number with a unit."""
    m = _NUMBER.fullmatch(value)
    return (float(m[1]), m[2]) if m else None


# --- pages -----------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Page:
    """What a product's page shows. `aspects`: attribute → (good, bad). `text`: all of it."""

    id: str
    title: str
    category: str
    price: float | None
    in_stock: bool
    listed: dict[str, str]
    aspects: dict[str, tuple[int, int]]
    text: str
    rating: float | None = None

    def holds(self, c: Constraint) -> bool | None:
        """Whether a need is met by the list, with a tenth to spare where it is a number; None where that is not clear, as when a review
        or the description speaks of the property, too."""
        if c.attribute == "price":
            return None if self.price is None else self.price <= float(c.value)
        value = self.listed.get(c.attribute)
        prose = self.text.partition("\ndescription: ")[2].lower()
        if value is None or re.search(rf"\b{re.escape(c.attribute)}\b", prose.replace(f"- {c.attribute}: ", "")):
            return None
        if not numeric(c):
            return (value == c.value) == (c.op == "=")
        found = measured(value)
        if found is None or found[1] != c.unit:
            return None
        number, limit = found[0], float(c.value)
        slack = 0.1 * limit
        if abs(number - limit) < slack and number != limit:
            return None
        return number <= limit if c.op == "<=" else number >= limit


def read_page(text: str) -> Page | None:
    lines = text.split("\n")
    head = re.fullmatch(r"(\S+) \| (.*)", lines[0])
    if not head or not text.partition("\n")[2].startswith("category: "):
        return None
    fields = dict(line.split(": ", 1) for line in lines[1:6] if ": " in line)
    listing = text.partition("\nattributes:\n")[2].partition("\ndescription:")[0]
    listed = dict(line[2:].split(": ", 1) for line in listing.split("\n") if line.startswith("- ") and ": " in line)
    counted = text.partition("\nreviewers on:\n")[2].partition("\nreviews:")[0]
    aspects = {}
    for m in re.finditer(r"^- ([^:\n]+): (?:(\d+) good)?(?:, )?(?:(\d+) bad)?$", counted, re.M):
        aspects[m[1]] = (int(m[2] or 0), int(m[3] or 0))
    price = re.search(r"[\d,]+\.\d\d", fields.get("price", ""))
    rating = re.match(r"[\d.]+", fields.get("rating", ""))
    amount = float(price[0].replace(",", "")) if price else None
    return Page(
        head[1], head[2], fields["category"], amount, fields.get("availability") == "in stock", listed, aspects, text, float(rating[0]) if rating else None
    )


def pages(moment: Moment) -> dict[str, Page]:
    """The pages that were opened before, by id."""
    read = [read_page(s.tool_result.text) for s in moment.earlier("visit_product")]
    return {p.id: p for p in read if p}


def hits(text: str) -> dict[str, tuple[str, str, float | None]]:
    """id → (title, category, price) of a search's lines."""
    found = {}
    for m in re.finditer(r"^\[\d+\] (\S+) \| ([^|\n]*) \| ([^|\n]*) \| ([^|\n]*) \|", text, re.M):
        price = re.search(r"[\d,]+\.\d\d", m[4])
        found[m[1]] = (m[2], m[3], float(price[0].replace(",", "")) if price else None)
    return found


# --- reports ---------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Block:
    """A recommended product: `price` as written, and its `- name: value` lines."""

    id: str
    title: str
    price: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    after: str = ""
    """Text below the lines."""

    def value(self, name: str) -> str:
        return next((v for n, v in self.lines if n == name), "")

    def put(self, name: str, value: str) -> Block:
        return replace(self, lines=[(n, value if n == name else v) for n, v in self.lines])

    def without(self, *names: str) -> Block:
        return replace(self, lines=[(n, v) for n, v in self.lines if n not in names])

    def text(self, number: int) -> str:
        rows = [f"{number}. [{self.id}] {self.title} — {self.price}", *(f"- {n}: {v}" for n, v in self.lines)]
        return "\n".join([*rows, self.after] if self.after else rows)


@dataclass(slots=True)
class Draft:
    """A report. `comparison` is the text below that heading, empty without one; `before` and `after` stand around all."""

    blocks: list[Block]
    comparison: str = ""
    before: str = ""
    after: str = ""

    def text(self) -> str:
        body = "\n".join(b.text(n) for n, b in enumerate(self.blocks, 1))
        parts = [self.before, body, f"## Comparison\n{self.comparison}" if self.comparison else "", self.after]
        return tagged("\n\n".join(p for p in parts if p))

    def with_block(self, n: int, block: Block) -> Draft:
        return replace(self, blocks=[block if i == n else b for i, b in enumerate(self.blocks)])


def tagged(body: str) -> str:
    return f"<report>\n{body.strip()}\n</report>"


def read_draft(text: str) -> Draft | None:
    """A report of the expert; None for any other text."""
    body, _, comparison = text.removeprefix("<report>\n").removesuffix("\n</report>").partition("\n\n## Comparison\n")
    draft = Draft([], comparison)
    for line in body.split("\n"):
        if m := re.fullmatch(r"\d+\. \[(\S+)\] (.*) — (.*)", line):
            draft.blocks.append(Block(m[1], m[2], m[3]))
        elif (m := re.fullmatch(r"- ([^:]+): (.*)", line)) and draft.blocks:
            draft.blocks[-1].lines.append((m[1], m[2]))
    return draft if draft.blocks and draft.text() == text else None
