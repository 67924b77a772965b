"""Wrong and reworded plans: one line of the expert's plan is rewritten from the rubric's typed needs."""

from __future__ import annotations

import random
import re
from dataclasses import replace

from benchmarks.supervision.kinds import harmless, wrong
from benchmarks.supervision.moments import Moment
from benchmarks.supervision.texts import FINER, OTHER_UNIT, SYMBOLS, category, needs, numeric, plain
from prstack.types import Constraint
from prstack.world.language import say
from prstack.world.names import usual

_OPS = {"<=": "at most", ">=": "at least", "=": "has to be", "!=": "must not be"}
_TURNED = {"<=": ">=", ">=": "<="}


def _amount(c: Constraint) -> str:
    if c.attribute == "price":
        return f"{SYMBOLS.get(c.unit or 'USD', c.unit)}{float(c.value):,.2f}".removesuffix(".00")
    return f"{c.value} {c.unit}".strip()


def _line(c: Constraint) -> str:
    return f"- {'' if c.op in _TURNED else 'the '}{c.attribute} {_OPS[c.op]} {_amount(c)}"


def _stated(moment: Moment) -> list[Constraint]:
    """The needs that the plan holds, in the words of `_line`."""
    return [c for c in needs(moment.trajectory) if _line(c) in moment.step.content.split("\n")]


def _one(moment: Moment, rng: random.Random, wanted) -> Constraint | None:
    found = [c for c in _stated(moment) if wanted(c)]
    return rng.choice(found) if found else None


def _rewritten(moment: Moment, old: Constraint, new: Constraint | None, why: str) -> Moment:
    """The plan with a need's line replaced, or gone."""
    lines = [line for line in moment.step.content.split("\n") if line != _line(old) or new is not None]
    return moment.said(why, "\n".join(_line(new) if new is not None and line == _line(old) else line for line in lines))


@wrong("plan", "covers_needs", planned=True)
def plan_leaves_need_out(moment: Moment, rng: random.Random) -> Moment | None:
    c = _one(moment, rng, lambda c: c.attribute != "price")
    return c and _rewritten(moment, c, None, f"the plan does not name {c.attribute}")


@wrong("plan", "covers_needs", planned=True)
def plan_leaves_budget_out(moment: Moment, rng: random.Random) -> Moment | None:
    c = _one(moment, rng, lambda c: c.attribute == "price")
    if c is None:
        return None
    gone = _rewritten(moment, c, None, "the plan does not name the budget")
    return gone.said(gone.why, gone.step.content.replace(" within the budget", ""))


@wrong("plan", "covers_needs", planned=True)
def plan_limit_times_ten(moment: Moment, rng: random.Random) -> Moment | None:
    c = _one(moment, rng, lambda c: c.op in _TURNED)
    return c and _rewritten(moment, c, replace(c, value=plain(float(c.value) * rng.choice((10, 0.1)))), f"the limit of {c.attribute} is {c.value}")


@wrong("plan", "covers_needs", planned=True)
def plan_limit_a_little_off(moment: Moment, rng: random.Random) -> Moment | None:
    """Looser by a tenth or two."""
    c = _one(moment, rng, lambda c: c.op in _TURNED and float(c.value) >= 10)
    if c is None:
        return None
    share = rng.choice((0.1, 0.15, 0.2))
    return _rewritten(
        moment, c, replace(c, value=plain(round(float(c.value) * (1 + share if c.op == "<=" else 1 - share)))), f"the limit of {c.attribute} is {c.value}"
    )


@wrong("plan", "covers_needs", planned=True)
def plan_direction_turned(moment: Moment, rng: random.Random) -> Moment | None:
    c = _one(moment, rng, lambda c: c.op in _TURNED)
    return c and _rewritten(moment, c, replace(c, op=_TURNED[c.op]), f"{c.attribute} has to be {_OPS[c.op]} its limit")


@wrong("plan", "covers_needs", planned=True)
def plan_unit_changed(moment: Moment, rng: random.Random) -> Moment | None:
    c = _one(moment, rng, lambda c: numeric(c) and c.unit in OTHER_UNIT)
    return c and _rewritten(moment, c, replace(c, unit=OTHER_UNIT[c.unit]), f"the limit of {c.attribute} is in {c.unit}")


@wrong("plan", "covers_needs", planned=True)
def plan_need_invented(moment: Moment, rng: random.Random) -> Moment | None:
    named = {usual(c.attribute) for c in needs(moment.trajectory)}
    offered = [a for p in moment.shop.of(category(moment.trajectory)) for a in p.attributes if a.number is not None and usual(a.name) not in named]
    offered = [a for a in offered if a.name not in moment.trajectory.query]
    if not offered:
        return None
    a = rng.choice(offered)
    invented = _line(Constraint(a.name, rng.choice(("<=", ">=")), plain(a.number), a.unit))
    return moment.said(f"the query does not name {a.name}", moment.step.content.replace("\nSteps:", f"\n{invented}\nSteps:"))


@wrong("plan", "covers_needs")
def plan_other_category(moment: Moment, rng: random.Random) -> Moment | None:
    right = category(moment.trajectory)
    other = rng.choice(moment.shop.others(right))
    return moment.said(f"the query is about {right}", moment.step.content.replace(right, other)) if right in moment.step.content else None


@wrong("plan", "covers_needs")
def plan_negation_dropped(moment: Moment, rng: random.Random) -> Moment | None:
    c = _one(moment, rng, lambda c: c.op == "!=")
    return c and _rewritten(moment, c, replace(c, op="="), f"{c.value} is not wanted as the {c.attribute}")


@wrong("plan", "covers_needs")
def plan_other_value(moment: Moment, rng: random.Random) -> Moment | None:
    c = _one(moment, rng, lambda c: c.op in ("=", "!="))
    if c is None:
        return None
    values = sorted({a.value for p in moment.shop.of(category(moment.trajectory)) for a in p.attributes if a.name == c.attribute} - {c.value})
    return _rewritten(moment, c, replace(c, value=rng.choice(values)), f"the query speaks of {c.value}") if values else None


@wrong("plan", "covers_needs")
def plan_other_currency(moment: Moment, rng: random.Random) -> Moment | None:
    c = _one(moment, rng, lambda c: c.attribute == "price")
    other = rng.choice([u for u in SYMBOLS if c and u != (c.unit or "USD")] or [""])
    return c and _rewritten(moment, c, replace(c, unit=other), f"the budget is in {c.unit or 'USD'}")


@wrong("plan", "covers_needs")
def plan_limits_exchanged(moment: Moment, rng: random.Random) -> Moment | None:
    """Two limits have each other's number."""
    found = [c for c in _stated(moment) if numeric(c)]
    pairs = [(a, b) for n, a in enumerate(found) for b in found[n + 1 :] if float(a.value) != float(b.value)]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    lines = {_line(a): _line(replace(a, value=b.value)), _line(b): _line(replace(b, value=a.value))}
    text = "\n".join(lines.get(line, line) for line in moment.step.content.split("\n"))
    return moment.said(f"{a.attribute} has the limit {a.value}, {b.attribute} {b.value}", text)


@wrong("plan", "covers_needs")
def plan_without_steps(moment: Moment, rng: random.Random) -> Moment | None:
    return moment.said("the plan does not say how anything is checked", moment.step.content.partition("\nSteps:")[0])


@wrong("plan", "covers_needs")
def plan_skips_pages(moment: Moment, rng: random.Random) -> Moment | None:
    ways = (
        "1. Search for it.\n2. Report the first hits of the list; there is no need to open their pages.",
        "1. Search once.\n2. Recommend the best rated hits straight from the search results.",
        "1. Write the report from what is generally known about such products.",
    )
    return moment.said("no product's page is opened", moment.step.content.partition("\nSteps:")[0] + "\nSteps:\n" + rng.choice(ways))


# --- said in another way ---------------------------------------------------------------------------------------
_STEPS = """
Steps:
1. Run product_search for candidates.
2. Open each promising page with visit_product and verify every need.
3. Write the report with a comparison."""


def _complete(moment: Moment) -> list[Constraint]:
    """All needs with the category, where the plan holds all; else nothing."""
    found = _stated(moment)
    return [Constraint("category", "=", category(moment.trajectory)), *found] if len(found) == len(needs(moment.trajectory)) else []


@harmless("plan")
def plan_in_other_words(moment: Moment, rng: random.Random) -> Moment | None:
    """Phrases of the phrase book, as running text."""
    found = _complete(moment)
    phrases = [say(c, rng) for c in found]
    return moment.said("", "What is needed: " + " ".join(p[0].upper() + p[1:] + "." for p in phrases) + _STEPS) if found else None


@harmless("plan")
def plan_in_plain_lists(moment: Moment, rng: random.Random) -> Moment | None:
    """As models write lists: bold names, signs for limits, a word for the budget."""
    words = {
        "<=": ("max. {}", "≤ {}", "no more than {}", "{} or less"),
        ">=": ("min. {}", "≥ {}", "at least {}", "{} or more"),
        "!=": ("anything but {}", "not {}", "no {}"),
        "=": ("{}",),
    }
    found = _complete(moment)
    lines = [
        f"- **Product**: {c.value}"
        if c.attribute == "category"
        else f"- **{'Budget' if c.attribute == 'price' else c.attribute.capitalize()}**: {rng.choice(words[c.op]).format(_amount(c))}"
        for c in found
    ]
    return moment.said("", "## Needs\n" + "\n".join(lines) + _STEPS) if found else None


@harmless("plan")
def plan_units_converted(moment: Moment, rng: random.Random) -> Moment | None:
    c = _one(moment, rng, lambda c: numeric(c) and c.unit in FINER)
    if c is None:
        return None
    unit, times = FINER[c.unit]
    return _rewritten(moment, c, replace(c, value=plain(float(c.value) * times), unit=unit), "")


@harmless("plan")
def plan_reordered(moment: Moment, rng: random.Random) -> Moment | None:
    head, _, steps = moment.step.content.partition("\nSteps:\n")
    lines = head.split("\n")[1:]
    rng.shuffle(lines)
    steps = re.sub(r"^\d+\. ", "- ", steps, flags=re.M)
    return moment.said("", "Steps:\n" + steps + "\nNeeds that every product has to meet:\n" + "\n".join(lines))


@harmless("plan")
def plan_in_prose(moment: Moment, rng: random.Random) -> Moment | None:
    """As models write plans: what is wanted in one sentence, then what comes next."""
    words = {"<=": "at most {v} for the {a}", ">=": "at least {v} for the {a}", "!=": "no {v} as the {a}", "=": "{v} as the {a}"}
    found = _complete(moment)
    wants = [f"a budget of {_amount(c)}" if c.attribute == "price" else words[c.op].format(a=c.attribute, v=_amount(c)) for c in found[1:]]
    ways = (
        "I will search the catalogue first, open the pages of the most promising results to verify these values, and report the two or three best.",
        "First I run a search. Then I visit each candidate and check every requirement there. At the end I compare what is left.",
        "Next: search, read the product pages of likely hits one by one, drop those that fail, and write the report.",
    )
    return moment.said("", f"The user wants {found[0].value} with {', '.join(wants)}. {rng.choice(ways)}") if found else None
