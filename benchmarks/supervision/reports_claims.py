"""Reports that give wrong values for the right products: numbers, units, prices, ratings."""

from __future__ import annotations

import random
from dataclasses import replace

from benchmarks.supervision.kinds import harmless, wrong
from benchmarks.supervision.moments import Moment
from benchmarks.supervision.reports_products import draft_of
from benchmarks.supervision.texts import (
    FINER,
    OTHER_UNIT,
    Block,
    Draft,
    measured,
    pages,
    plain,
    scaled,
)

WRONG_PROSE = (
    "With a {a} of {v} it leaves nothing to be desired.",
    "Its {a} comes to {v}, which is plenty.",
    "You get {v} of {a} here.",
    "The maker states a {a} of {v} for it.",
)


def _values(moment: Moment, draft: Draft, wanted=lambda name, value: True) -> list[tuple[int, str, str]]:
    """(block, name, value) of the lines that hold a measured value which stands on the product's page, and nowhere else there."""
    opened = pages(moment)
    return [
        (n, name, value)
        for n, b in enumerate(draft.blocks)
        for name, value in b.lines
        if measured(value) and name != "rating" and opened[b.id].listed.get(name) == value and opened[b.id].text.count(value) == 1 and wanted(name, value)
    ]


def _edit(moment: Moment, rng: random.Random, new, why: str, wanted=lambda name, value: True) -> Moment | None:
    """One value replaced by `new(name, value)`, which the page does not hold."""
    draft = draft_of(moment)
    found = _values(moment, draft, wanted) if draft else []
    if not found:
        return None
    n, name, value = rng.choice(found)
    block, said = draft.blocks[n], new(name, value)
    if said is None or said in pages(moment)[block.id].text:
        return None
    return moment.said(why.format(id=block.id, name=name, value=value), draft.with_block(n, block.put(name, said)).text())


def _off(rng: random.Random, value: str) -> str | None:
    """A measured value that is a third or more away."""
    said = scaled(value, rng.choice((0.6, 1.35, 1.8)))
    return None if abs(measured(said)[0] - measured(value)[0]) < 0.2 * measured(value)[0] else said


# --- values --------------------------------------------------------------------------------------------------------
@wrong("report", "supported", planned=True)
def report_wrong_value(moment: Moment, rng: random.Random) -> Moment | None:
    return _edit(moment, rng, lambda name, value: _off(rng, value), "the page of {id} says {name} {value}")


@wrong("report", "supported")
def report_unit_changed(moment: Moment, rng: random.Random) -> Moment | None:
    def other(name: str, value: str) -> str:
        number, unit = value.split(" ", 1)
        return f"{number} {OTHER_UNIT[unit]}"

    return _edit(moment, rng, other, "the page of {id} says {name} {value}", lambda name, value: measured(value)[1] in OTHER_UNIT)


@wrong("report", "supported")
def report_value_of_other_product(moment: Moment, rng: random.Random) -> Moment | None:
    """A value that stands on another recommended product's page."""
    draft = draft_of(moment)
    found = _values(moment, draft) if draft else []
    pairs = [
        (n, name, value, b.value(name))
        for n, name, value in found
        for b in draft.blocks
        if (m := measured(b.value(name))) and m[1] == measured(value)[1] and m != measured(value)
    ]
    if not pairs:
        return None
    n, name, value, other = rng.choice(pairs)
    return moment.said(f"the page of {draft.blocks[n].id} says {name} {value}", draft.with_block(n, draft.blocks[n].put(name, other)).text())


@wrong("report", "supported")
def report_rating_misquoted(moment: Moment, rng: random.Random) -> Moment | None:
    draft = draft_of(moment)
    rated = [(n, b) for n, b in enumerate(draft.blocks) if b.value("rating")] if draft else []
    if not rated:
        return None
    n, block = rng.choice(rated)
    true = float(block.value("rating").split()[0])
    said = true + 1 if true <= 4 else true - 1
    return moment.said(f"{block.id} has {true:g} stars", draft.with_block(n, block.put("rating", f"{said:g} stars")).text())


@wrong("report", "supported", "meets_constraints")
def report_wrong_price(moment: Moment, rng: random.Random) -> Moment | None:
    draft = draft_of(moment)
    if draft is None:
        return None
    block = rng.choice(draft.blocks)
    said = f"${float(block.price[1:].replace(',', '')) * rng.choice((0.7, 0.85)):,.2f}"
    return moment.said(f"{block.id} costs {block.price}", moment.step.content.replace(block.price, said))


@wrong("report", "supported")
def report_other_currency(moment: Moment, rng: random.Random) -> Moment | None:
    return moment.said("prices are in dollars", moment.step.content.replace("$", rng.choice("€£"))) if draft_of(moment) else None


@wrong("report", "supported")
def report_prose_wrong_value(moment: Moment, rng: random.Random) -> Moment | None:
    """A wrong value in a sentence, in the place of the right one on a line."""
    draft = draft_of(moment)
    found = _values(moment, draft) if draft else []
    if not found:
        return None
    n, name, value = rng.choice(found)
    said, block = _off(rng, value), draft.blocks[n]
    if said is None or said in pages(moment)[block.id].text:
        return None
    sentence = rng.choice(WRONG_PROSE).format(a=name, v=said)
    return moment.said(f"the page of {block.id} says {name} {value}", draft.with_block(n, replace(block.without(name), after=sentence)).text())


# --- said in another way -------------------------------------------------------------------------------------------
@harmless("report")
def report_prose(moment: Moment, rng: random.Random) -> Moment | None:
    """The measured values in sentences."""
    draft = draft_of(moment)
    if draft is None:
        return None

    def told(b: Block) -> Block:
        said = [(n, v) for n, v in b.lines if measured(v) and n != "rating"]
        return replace(b.without(*(n for n, _ in said)), after=" ".join(f"Its {n} is {v}." for n, v in said))

    made = replace(draft, blocks=[told(b) for b in draft.blocks]).text()
    return moment.said("", made) if made != moment.step.content else None


@harmless("report")
def report_units_converted(moment: Moment, rng: random.Random) -> Moment | None:
    def finer(name: str, value: str) -> str:
        number, unit = measured(value)
        other, times = FINER[unit]
        return f"{plain(number * times)} {other}"

    return _edit(moment, rng, finer, "", lambda name, value: measured(value)[1] in FINER)
