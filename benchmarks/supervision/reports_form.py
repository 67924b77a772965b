"""Reports whose form is wrong or unusual: another language, copied pages, empty or cut parts, tables, headings."""

from __future__ import annotations

import random
from dataclasses import replace

from benchmarks.supervision.kinds import harmless, wrong
from benchmarks.supervision.moments import Moment
from benchmarks.supervision.reports_products import draft_of
from benchmarks.supervision.texts import Block, Draft, measured, needs, pages, scaled, tagged

LANGUAGES = (
    (
        "Ich empfehle die folgenden Produkte, weil sie alle Anforderungen erfüllen.",
        "Das Gerät erfüllt die Anforderungen mit {v} und bleibt im vorgegebenen Budget.",
        "Im Vergleich unterscheiden sich die Produkte vor allem im Preis.",
    ),
    (
        "Je recommande les produits suivants, car ils répondent à tous vos besoins.",
        "Cet appareil convient avec {v} et reste dans le budget prévu.",
        "La différence entre ces produits est surtout leur prix.",
    ),
    (
        "Recomiendo los siguientes productos porque cumplen todos los requisitos.",
        "Este producto cumple lo que se pide con {v} y no supera el presupuesto.",
        "Los productos se diferencian sobre todo en el precio.",
    ),
)
"""Opening, a sentence for each product, closing."""


@wrong("report", "format")
def report_other_language(moment: Moment, rng: random.Random) -> Moment | None:
    """All that is not a name or a value is in a language that the shopper did not write."""
    draft = draft_of(moment)
    if draft is None:
        return None
    opening, each, closing = rng.choice(LANGUAGES)
    blocks = [replace(b, lines=[], after=each.format(v=", ".join(v for n, v in b.lines if measured(v) and n != "rating") or b.price)) for b in draft.blocks]
    return moment.said("the query is in English", Draft(blocks, before=opening, after=closing).text())


@wrong("report", "format", "answers_rubric")
def report_copies_page(moment: Moment, rng: random.Random) -> Moment | None:
    """In the place of a report the pages of its products."""
    draft, opened = draft_of(moment), pages(moment)
    return draft and moment.said("it is a copy of what the tools showed", tagged("\n\n".join(opened[b.id].text for b in draft.blocks)))


@wrong("report", "format")
def report_empty_sections(moment: Moment, rng: random.Random) -> Moment | None:
    """Headings with nothing below them."""
    draft = draft_of(moment)
    empty = rng.choice(("## Comparison\n\n## Why these", "## Comparison", "## Comparison\n\n## Caveats\n\n## Conclusion"))
    return draft and moment.said("a heading has nothing below it", replace(draft, comparison="", after=empty).text())


@wrong("report", "format")
def report_cut_off(moment: Moment, rng: random.Random) -> Moment | None:
    """The text ends in the middle of a word."""
    draft = draft_of(moment)
    if draft is None:
        return None
    body = moment.step.content.removeprefix("<report>\n").removesuffix("\n</report>")
    ends = [n for n in range(int(0.6 * len(body)), len(body) - 1) if body[n - 1].isalpha() and body[n].isalpha()]
    return moment.said("the report ends in the middle of a word", tagged(body[: rng.choice(ends)])) if ends else None


def _table(moment: Moment, draft: Draft) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table in the place of the lines of all products."""
    names = [c.attribute for c in needs(moment.trajectory) if c.attribute != "price" and any(b.value(c.attribute) for b in draft.blocks)]
    return ["Product", "Price", *names], [[b.id, b.price, *(b.value(n) or "–" for n in names)] for b in draft.blocks]


def _with_table(moment: Moment, draft: Draft, columns: list[str], rows: list[list[str]]) -> Draft:
    names = set(columns[2:])
    table = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns), *("| " + " | ".join(r) + " |" for r in rows)]
    return replace(draft, blocks=[b.without(*names) for b in draft.blocks], after="\n".join(table))


@wrong("report", "supported")
def report_table_wrong_cell(moment: Moment, rng: random.Random) -> Moment | None:
    draft, opened = draft_of(moment), pages(moment)
    if draft is None:
        return None
    columns, rows = _table(moment, draft)
    cells = [(r, n) for r in range(len(rows)) for n in range(2, len(columns)) if measured(rows[r][n]) and opened[rows[r][0]].text.count(rows[r][n]) == 1]
    if not cells:
        return None
    r, n = rng.choice(cells)
    true = rows[r][n]
    rows[r][n] = scaled(true, rng.choice((0.6, 1.6)))
    if rows[r][n] in opened[rows[r][0]].text:
        return None
    return moment.said(f"the page of {rows[r][0]} says {columns[n]} {true}", _with_table(moment, draft, columns, rows).text())


# --- said in another way -------------------------------------------------------------------------------------------
@harmless("report")
def report_table(moment: Moment, rng: random.Random) -> Moment | None:
    draft = draft_of(moment)
    return draft and moment.said("", _with_table(moment, draft, *_table(moment, draft)).text())


@harmless("report")
def report_headings(moment: Moment, rng: random.Random) -> Moment | None:
    """A heading for each product, bold names of properties, an opening sentence."""
    draft = draft_of(moment)
    if draft is None:
        return None

    def block(n: int, b: Block) -> str:
        return "\n".join([f"### {n}. {b.title} ({b.id})", f"- **Price:** {b.price}", *(f"- **{name.capitalize()}:** {v}" for name, v in b.lines)])

    body = "\n\n".join(block(n, b) for n, b in enumerate(draft.blocks, 1))
    end = f"\n\n## Comparison\n{draft.comparison}" if draft.comparison else ""
    return moment.said("", tagged(f"## Recommendations\n\nThese products meet every need.\n\n{body}{end}"))
