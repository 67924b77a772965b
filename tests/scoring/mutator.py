"""Small lies: one thing of a correct report is changed, by plain regular expressions on its text.

Nothing here is shared with what reads reports, nor with what writes them. A correct report has the form

    1. [P12] Aurel Kettle — $49.00
    - noise level: 58 dB
    - body material: stainless steel
    - reviewers: quiet
    - rating: 4.3 stars

and `STYLES` gives the same content in other forms that language models write. `comparing` makes reports of it that compare two products in
one sentence, and lies about that.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

HEAD = re.compile(r"^(\d)\. \[(P\d+)\] (.*) — (\$[\d,]+\.\d\d)$")
PROPERTY = re.compile(r"^- ([a-z][\w -]*): (.+)$")
MEASURED = re.compile(r"^(\d+(?:\.\d+)?) ?([^\d\s]+)$")
OTHER_WORDS = ("bamboo", "titanium", "folding", "hexagonal", "solar", "magnetic", "marble", "canvas", "ultrasonic")
OTHER_UNITS = {"kg": ("g", "cm", "W"), "g": ("kg", "ml", "cm"), "l": ("ml", "kg"), "ml": ("l", "g"), "min": ("s", "h", "cm"), "s": ("min", "dB"), "h": ("min", "kg"), "cm": ("m", "kg"), "mm": ("cm", "g"), "m": ("cm", "kg"), "W": ("kW", "dB"), "mAh": ("Ah", "g"), "years": ("months", "days"), "months": ("years", "days"), "lm": ("W", "kg"), "Hz": ("kHz", "cm")}
"""A unit → others in which the same number is another amount."""


@dataclass
class Mutation:
    """`report`: the changed text. `product`, `name`: whose property was changed (the id as it was); `new`: what it reads now; `number`: of a changed number."""

    kind: str
    report: str
    product: str
    name: str
    new: str
    number: float | None = None


def mutations(report: str, strangers: list[str], rng: random.Random) -> Iterator[Mutation]:
    """One change of each kind that the report gives occasion for. `strangers`: ids of products that were seen but are not in the report."""
    lines = report.split("\n")
    found: dict[str, list[tuple[int, str, str, str, str]]] = {}
    """Kind → (line, product, name, its text, the new text)."""
    product = ""
    for n, line in enumerate(lines):
        if m := HEAD.match(line):
            product = m[2]
            amount = float(m[4][1:].replace(",", ""))
            found.setdefault("price", []).append((n, product, "price", m[4], f"${amount * rng.choice((0.5, 0.8, 1.15, 1.6)):.2f}"))
            found.setdefault("invented id", []).append((n, product, "id", m[2], f"P{rng.randrange(700_000, 800_000)}"))
            if strangers:
                found.setdefault("other id", []).append((n, product, "id", m[2], rng.choice(strangers)))
        elif product and (m := PROPERTY.match(line)):
            for kind, new in _changed(m[1], m[2], rng):
                found.setdefault(kind, []).append((n, product, m[1], m[2], new))
        elif line.startswith("#"):
            product = ""
    for kind, places in found.items():
        n, product, name, old, new = rng.choice(places)
        changed = lines[n].replace(old, new, 1) if kind != "invented id" and kind != "other id" else lines[n].replace(f"[{old}]", f"[{new}]")
        number = re.search(r"\d+(?:\.\d+)?", new.replace(",", "")) if kind in ("price", "number") else None
        yield Mutation(kind, "\n".join([*lines[:n], changed, *lines[n + 1 :]]), product, name, new, float(number[0]) if number else None)


def _changed(name: str, value: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    if name == "reviewers":
        yield "reviewers negated", f"not {value}"
    elif name == "rating":
        stars = float(value.split()[0])
        yield "rating", f"{stars + rng.choice((-0.4, -0.2, 0.3, 0.6)):.1f} stars"
    elif m := MEASURED.match(value):
        number = float(m[1]) * rng.choice((0.4, 0.7, 1.4, 2.5))
        yield "number", f"{number:.3g} {m[2]}" if number < 1000 else f"{number:.0f} {m[2]}"
        yield "number negated", f"not {value}"
        if m[2] in OTHER_UNITS:
            yield "unit", f"{m[1]} {rng.choice(OTHER_UNITS[m[2]])}"
    else:
        yield "word", rng.choice([w for w in OTHER_WORDS if w not in value])
        yield "word negated", f"not {value}"


# --- one product against another, in a sentence ------------------------------------------------------------------------
SENTENCES = {
    "than, in brackets": "{A} has a {rel} {name} than {B} ({x} against {y}).",
    "compared with": "Compared with {B}, {A} has the {rel} {name}: {x} against {bare}.",
    "against": "{A} has a {name} of {x}, against {y} for {B}.",
    "while": "The {name} of {A} is {x}, while that of {B} is {y}.",
    "each in brackets": "{A} ({x}) has a {rel} {name} than {B} ({y}).",
    "value first": "At {x}, {A} has a {rel} {name} than {B} at {y}.",
}
"""A name → a sentence. `rel`: lower or higher; `bare`: the second value without its unit."""
APART = ("than, in brackets", "compared with")
"""Sentences that say by order alone which value is whose."""


@dataclass
class Comparison:
    """A report that recommends two products and compares them in a sentence; `lies`: kind → the same with one thing changed."""

    form: str
    report: str
    name: str
    lies: dict[str, str]


def comparing(report: str, form: str, titles: bool, rng: random.Random) -> Comparison | None:
    """A comparison of two products of a correct report by a measured property; None where they share none. `titles`: names them so."""
    shared = [(a, b, k, v, w) for a in _blocks(report) for b in _blocks(report) for k, v in a[3] for m, w in b[3] if a[0] != b[0] and k == m and _unlike(v, w)]
    if not shared:
        return None
    (one, title_one, *_), (two, title_two, *_), name, x, y = rng.choice(shared)
    heads = "\n".join(f"{n}. [{id}] {title}" for n, (id, title, _, _) in enumerate(_blocks(report), 1))
    a, b = (title_one, title_two) if titles else (one, two)

    def told(a: str = a, b: str = b, x: str = x, y: str = y, name: str = name, turned: bool = False, wrap: str = "{}") -> str:
        rel = ("lower", "higher")[(_number(x) > _number(y)) != turned]
        sentence = SENTENCES[form].format(A=a, B=b, x=x, y=y, bare=y.split()[0], name=name, rel=rel)
        return f"<report>\n{heads}\n\n{wrap.format(sentence)}\n</report>"

    lies = {
        "products exchanged": told(a=b, b=a),
        "values exchanged": told(x=y, y=x),
        "values exchanged, not the word": told(x=y, y=x, turned=True),
        "first value": told(x=_other(x, rng)),
        "second value": told(y=_other(y, rng)),
        "another property": told(name="warranty" if name != "warranty" else "noise level"),
        "no property": told(name="measurement"),
        "an invented product": told(b=f"P{rng.randrange(700_000, 800_000)}"),
        "half a name": told(b=b.rpartition(" ")[0] if titles else b[:-1]),
        "negated": told(wrap="It is not true that {}"),
    }
    if "{rel}" in SENTENCES[form]:
        lies["another direction"] = told(turned=True)
    return Comparison(form, told(), name, lies)


def _number(value: str) -> float:
    return float(MEASURED.match(value)[1])


def _unlike(v: str, w: str) -> bool:
    """Whether two values are different amounts of one unit."""
    m, n = MEASURED.match(v), MEASURED.match(w)
    return bool(m and n) and m[2] == n[2] and m[1] != n[1]


def _other(value: str, rng: random.Random) -> str:
    number, unit = MEASURED.match(value).groups()
    return f"{float(number) * rng.choice((0.4, 0.7, 1.4, 2.5)):.3g} {unit}" if float(number) < 400 else f"{float(number) * rng.choice((0.5, 1.5)):.0f} {unit}"


# --- the same report in other forms --------------------------------------------------------------------------------------
def _blocks(report: str) -> list[tuple[str, str, str, list[tuple[str, str]]]]:
    """(id, title, price, properties) of every product."""
    out: list[tuple[str, str, str, list[tuple[str, str]]]] = []
    for line in report.split("\n"):
        if m := HEAD.match(line):
            out.append((m[2], m[3], m[4], []))
        elif line.startswith("#"):
            break
        elif out and (m := PROPERTY.match(line)):
            out[-1][3].append((m[1], m[2]))
    return out


def headings(report: str) -> str:
    parts = ["# My recommendations", "I compared several products and found these."]
    for n, (id, title, price, said) in enumerate(_blocks(report), 1):
        parts += [f"## {n}. {title} ({id})", "", f"- **Price:** {price}", *(f"- **{k.capitalize()}:** {v}" for k, v in said), ""]
    return "<report>\n" + "\n".join([*parts, "## Conclusion", "All of them fit."]) + "\n</report>"


def bold(report: str) -> str:
    parts = []
    for id, title, price, said in _blocks(report):
        parts += [f"**{title}** (ID: {id})", f"* Price: {price}", *(f"  * {k.title()}: {v}" for k, v in said), ""]
    return "<report>\n" + "\n".join(parts) + "\n</report>"


def id_lines(report: str) -> str:
    parts = []
    for n, (id, title, price, said) in enumerate(_blocks(report), 1):
        parts += [f"{n}. **{title}**", f"   - Price: {price}", f"   - Product ID: `{id}`", *(f"   - {k}: {v}" for k, v in said)]
    return "<report>\n" + "\n".join(parts) + "\n</report>"


def semicolons(report: str) -> str:
    return "<report>\n" + "\n".join(f"- [{id}] {title}: " + "; ".join(f"{k}: {v}" for k, v in [("price", price), *said]) for id, title, price, said in _blocks(report)) + "\n</report>"


def table(report: str) -> str:
    """Properties that occur twice for a product keep their first value and get lines of their own below."""
    blocks = _blocks(report)
    names = list(dict.fromkeys(k for *_, said in blocks for k, _ in said))
    rows = [f"| {n} | {title} | {id} | {price} | " + " | ".join(dict(reversed(said)).get(k, "–") for k in names) + " |" for n, (id, title, price, said) in enumerate(blocks, 1)]
    below = [f"- {id}: {k}: {v}" for id, _, _, said in blocks for n, (k, v) in enumerate(said) if k in [x for x, _ in said[:n]]]
    return "<report>\n" + "\n".join(["| # | Product | ID | Price | " + " | ".join(n.capitalize() for n in names) + " |", "|---" * (4 + len(names)) + "|", *rows, "", *below]) + "\n</report>"


def columns(report: str) -> str:
    """A table with a column a product."""
    blocks = _blocks(report)
    names = list(dict.fromkeys(k for *_, said in blocks for k, _ in said))
    rows = ["| Price | " + " | ".join(price for _, _, price, _ in blocks) + " |"]
    for k in names:
        for n in range(max(sum(x == k for x, _ in said) for *_, said in blocks)):
            values = [[v for x, v in said if x == k] for *_, said in blocks]
            rows.append(f"| {k} | " + " | ".join(v[n] if n < len(v) else "-" for v in values) + " |")
    head = "| Feature | " + " | ".join(f"{title} ({id})" for id, title, _, _ in blocks) + " |"
    return "<report>\n" + "\n".join([head, "|---" * (1 + len(blocks)) + "|", *rows]) + "\n</report>"


def sentences(report: str) -> str:
    """Prose, for what has a number and a unit; the rest in the usual lines."""
    parts = []
    for id, title, price, said in _blocks(report):
        measured = [(k, v) for k, v in said if MEASURED.match(v)]
        told = ", and ".join(f"a {k} of {v}" for k, v in measured)
        parts += [f"I recommend the {title} ({id}). It costs {price}" + (f" and has {told}." if told else "."), *(f"- {k}: {v}" for k, v in said if (k, v) not in measured), ""]
    return "<report>\n" + "\n".join(parts) + "\n</report>"


STYLES: dict[str, Callable[[str], str]] = {"as it is": lambda r: r, "headings": headings, "bold": bold, "id lines": id_lines, "semicolons": semicolons, "table": table, "columns": columns, "sentences": sentences}
