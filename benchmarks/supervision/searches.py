"""Searches and visits that do not help, and unusual ones that do: the call is rewritten, and the tool really answers it.

A search mutant takes the place of a search, a visit mutant that of a visit. What makes a result irrelevant is checked on the result
itself: no hit of the wanted category, every product above the budget, and so on.
"""

from __future__ import annotations

import json
import random

from benchmarks.supervision.calls import call_of, calls, listed_ids
from benchmarks.supervision.kinds import harmless, wrong
from benchmarks.supervision.moments import Moment
from benchmarks.supervision.texts import budget, category, hits, needs, read_page

UNRELATED = (
    "late films and long flights",
    "a birthday present for my sister",
    "something nice for the weekend",
    "morning smoothies and baby food",
    "studying in the evening",
    "two-storey homes with parquet floors",
    "walks with the dog",
    "video calls at home",
    "weekend brunches for six",
    "muddy trails after rain",
)
"""Searches without relation to anybody's needs, in words of which products' descriptions hold some."""


# --- searches ------------------------------------------------------------------------------------------------------
def _search(moment: Moment, why: str, arguments: dict) -> Moment | None:
    """A search in the place of a search, if it lists something and was not made before."""
    if not calls(moment, "product_search"):
        return None
    made = moment.called(why, "product_search", arguments)
    before = [json.loads(s.tool_call.arguments) for s in moment.earlier("product_search")]
    return made if made.step.tool_result.ok and listed_ids(made.step) and arguments not in before else None


def _of_category(moment: Moment, made: Moment | None) -> bool:
    """Whether a search lists anything of the wanted category."""
    return made is not None and any(c == category(moment.trajectory) for _, c, _ in hits(made.step.tool_result.text).values())


@wrong("toolcall", "relevant_result", planned=True)
def search_other_category(moment: Moment, rng: random.Random) -> Moment | None:
    other = rng.choice(moment.shop.others(category(moment.trajectory)))
    limit = budget(moment.trajectory)
    made = _search(
        moment, f"the query is about {category(moment.trajectory)}", {"query": other} | ({"max_price": limit} if limit and rng.random() < 0.5 else {})
    )
    return None if _of_category(moment, made) else made


@wrong("toolcall", "relevant_result", planned=True)
def search_unrelated(moment: Moment, rng: random.Random) -> Moment | None:
    made = _search(moment, "the search has nothing to do with any need", {"query": rng.choice(UNRELATED)})
    return None if _of_category(moment, made) else made


@wrong("toolcall", "relevant_result", planned=True)
def search_finds_nothing(moment: Moment, rng: random.Random) -> Moment | None:
    if not calls(moment, "product_search"):
        return None
    arguments = call_of(moment)[1]
    made = moment.called(
        "the search lists nothing", "product_search", rng.choice((arguments | {"page": 50}, {"query": "qwxz vlkrm"}, arguments | {"max_price": 1}))
    )
    return made if made.step.tool_result.ok and not listed_ids(made.step) else None


@wrong("toolcall", "relevant_result")
def search_above_budget(moment: Moment, rng: random.Random) -> Moment | None:
    """The search lets through what is too dear, and lists some of it."""
    limit = budget(moment.trajectory)
    if limit is None or not calls(moment, "product_search"):
        return None
    made = _search(moment, f"the budget is {limit:g}", call_of(moment)[1] | {"max_price": round(limit * rng.choice((1.5, 2, 10)))})
    return made if made and any(p is not None and p > limit for _, _, p in hits(made.step.tool_result.text).values()) else None


@wrong("toolcall", "relevant_result")
def search_floor_above_budget(moment: Moment, rng: random.Random) -> Moment | None:
    """Nothing that is listed can be paid for."""
    limit = budget(moment.trajectory)
    if limit is None or not calls(moment, "product_search"):
        return None
    return _search(moment, f"the budget is {limit:g}", {"query": call_of(moment)[1]["query"], "min_price": round(limit * 1.1) + 1})


@wrong("toolcall", "relevant_result")
def search_filter_other_category(moment: Moment, rng: random.Random) -> Moment | None:
    right = category(moment.trajectory)
    made = (
        _search(moment, f"the query is about {right}", call_of(moment)[1] | {"category": rng.choice(moment.shop.others(right))})
        if calls(moment, "product_search")
        else None
    )
    return None if _of_category(moment, made) else made


@wrong("toolcall", "relevant_result")
def search_excluded_value(moment: Moment, rng: random.Random) -> Moment | None:
    """The search names the very thing that is not wanted."""
    unwanted = [c for c in needs(moment.trajectory) if c.op == "!="]
    if not unwanted:
        return None
    c = rng.choice(unwanted)
    return _search(moment, f"{c.value} is not wanted as the {c.attribute}", {"query": f"{category(moment.trajectory)} {c.value}"})


# --- visits --------------------------------------------------------------------------------------------------------
def _left(moment: Moment) -> list[str]:
    """Listed products of the category and within the budget that were not opened."""
    limit, right = budget(moment.trajectory), category(moment.trajectory)
    opened = {json.loads(s.tool_call.arguments)["product_id"] for s in moment.earlier("visit_product")}
    listed = {id: h for s in moment.earlier("product_search") for id, h in hits(s.tool_result.text).items()}
    return [id for id, (_, c, p) in listed.items() if id not in opened and c == right and (limit is None or (p is not None and p <= limit))]


def _visit(moment: Moment, why: str, id: str) -> Moment | None:
    return moment.called(why, "visit_product", {"product_id": id}) if calls(moment, "visit_product") else None


@wrong("toolcall", "relevant_result", planned=True)
def visit_other_category(moment: Moment, rng: random.Random) -> Moment | None:
    right, shown = category(moment.trajectory), moment.shown()
    others = [p for c in moment.shop.others(right) for p in moment.shop.of(c)]
    listed = [p for p in others if f"] {p.id} |" in shown]
    return _visit(moment, f"it is none of the {right}", rng.choice(listed or others).id) if _left(moment) else None


@wrong("toolcall", "relevant_result", planned=True)
def visit_over_budget(moment: Moment, rng: random.Random) -> Moment | None:
    limit, shown = budget(moment.trajectory), moment.shown()
    if limit is None or not _left(moment):
        return None
    dear = [p for p in moment.shop.of(category(moment.trajectory)) if p.price is not None and p.price > 1.05 * limit]
    dear = [p for p in dear if f"] {p.id} |" in shown or f"{p.id} (" in shown] or dear
    return _visit(moment, f"the budget is {limit:g}", rng.choice(dear).id) if dear else None


@wrong("toolcall", "relevant_result", "valid_call")
def visit_unlisted(moment: Moment, rng: random.Random) -> Moment | None:
    """A product that exists and may even fit, but that nothing has shown: its id was guessed."""
    limit, shown = budget(moment.trajectory), moment.shown()
    guessed = [p for p in moment.shop.of(category(moment.trajectory)) if p.id not in shown and p.price is not None and (limit is None or p.price <= limit)]
    return _visit(moment, "no result has shown this id", rng.choice(guessed).id) if guessed else None


@wrong("toolcall", "valid_call", "relevant_result")
def visit_unknown_id(moment: Moment, rng: random.Random) -> Moment | None:
    return _visit(moment, "there is no such product", f"P{rng.randrange(900_000, 999_999)}")


# --- the web -------------------------------------------------------------------------------------------------------
@wrong("toolcall", "relevant_result")
def web_search_other_subject(moment: Moment, rng: random.Random) -> Moment | None:
    right = category(moment.trajectory)
    made = moment.called(f"the query is about {right}", "web_search", {"query": f"how to choose {rng.choice(moment.shop.others(right))}"})
    return made if made.step.tool_result.ok and right.lower() not in made.step.tool_result.text.lower() else None


@wrong("toolcall", "relevant_result")
def web_visit_other_subject(moment: Moment, rng: random.Random) -> Moment | None:
    """A page about other things, which a search did list."""
    right = category(moment.trajectory)
    other = rng.choice(moment.shop.others(right))
    found = moment.shop.step("web_search", {"query": f"how to choose {right} or {other}"})
    listed = [line.split(" | ") for line in found.tool_result.text.split("\n") if line.startswith("[")]
    ids = [parts[0].split("] ")[1] for parts in listed if other.lower() in parts[1].lower() and right.lower() not in parts[1].lower()]
    if not ids:
        return None
    visit = moment.shop.step("web_visit", {"page_id": rng.choice(ids)}, moment.step.round)
    return moment.changed(f"the page is about {other}", visit, [found]) if right.lower() not in visit.tool_result.text.lower() else None


# --- unusual, but right --------------------------------------------------------------------------------------------
def _fresh(moment: Moment, extra: dict, *without: str) -> Moment | None:
    """A search that lists what the last one did not, of the wanted category."""
    if not calls(moment, "product_search"):
        return None
    made = _search(moment, "", {k: v for k, v in (call_of(moment)[1] | extra).items() if k not in without})
    return made if _of_category(moment, made) and made.step.tool_result.text != moment.step.tool_result.text else None


@harmless("toolcall")
def search_next_page(moment: Moment, rng: random.Random) -> Moment | None:
    """After a search, its next page."""
    searches = moment.earlier("product_search")
    if not searches or not calls(moment, "visit_product"):
        return None
    last = json.loads(searches[-1].tool_call.arguments)
    arguments = last | {"page": last.get("page", 1) + 1}
    if arguments in [json.loads(s.tool_call.arguments) for s in searches]:
        return None
    made = moment.called("", "product_search", arguments)
    return made if _of_category(moment, made) else None


@harmless("toolcall")
def search_sorted(moment: Moment, rng: random.Random) -> Moment | None:
    return _fresh(moment, {"category": category(moment.trajectory), "sort": rng.choice(("rating", "price_low", "reviews"))})


@harmless("toolcall")
def search_filtered(moment: Moment, rng: random.Random) -> Moment | None:
    return _fresh(moment, {"category": category(moment.trajectory), "min_rating": 3})


@harmless("toolcall")
def search_reworded(moment: Moment, rng: random.Random) -> Moment | None:
    right = category(moment.trajectory)
    return _fresh(moment, {"query": rng.choice((f"good {right.lower()}", f"{right} within my budget", f"best rated {right.lower().removesuffix('s')}"))})


@harmless("toolcall")
def search_below_budget(moment: Moment, rng: random.Random) -> Moment | None:
    limit = budget(moment.trajectory)
    return _fresh(moment, {"max_price": round(0.7 * limit)}) if limit else None


@harmless("toolcall")
def visit_related(moment: Moment, rng: random.Random) -> Moment | None:
    """A product within the budget that an opened page names as like it."""
    limit = budget(moment.trajectory)
    opened = {json.loads(s.tool_call.arguments)["product_id"] for s in moment.earlier("visit_product")}
    named = [line for s in moment.earlier("visit_product") for line in s.tool_result.text.split("\n") if line.startswith("related: ")]
    ids = [part.split(" (")[0] for line in named for part in line.removeprefix("related: ").split(", ")]
    for id in rng.sample(ids, len(ids)):
        page = read_page(moment.shop.visit(id).tool_result.text)
        if id not in opened and page and page.category == category(moment.trajectory) and page.price is not None and (limit is None or page.price <= limit):
            return _visit(moment, "", id)
    return None


@harmless("toolcall")
def guide_search(moment: Moment, rng: random.Random) -> Moment | None:
    """A web search about the category; it stands before any other of its kind."""
    if moment.earlier("web_search") or calls(moment, "web_search"):
        return None
    right = category(moment.trajectory)
    made = moment.called("", "web_search", {"query": rng.choice((f"{right} buying guide", f"{right} tested", f"which {right.lower()} are good"))})
    return made if right.lower() in made.step.tool_result.text.lower() else None
