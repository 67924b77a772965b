"""Tool calls that are none, and tool calls that were made before; what a tool answers to them is its real answer."""

from __future__ import annotations

import json
import random
from dataclasses import replace

from benchmarks.supervision.kinds import wrong
from benchmarks.supervision.moments import Moment
from benchmarks.supervision.texts import budget, category, hits
from prstack.types import Step

SPEECH = (
    "I should open the most promising page next.",
    "Let me think about which of these could fit.",
    "The search has brought up good candidates. I will look at them more closely.",
)


def call_of(moment: Moment) -> tuple[str, dict]:
    return moment.step.tool_call.name, json.loads(moment.step.tool_call.arguments)


def calls(moment: Moment, tool: str) -> bool:
    return moment.step.tool_call is not None and moment.step.tool_call.name == tool


def listed_ids(step: Step) -> list[str]:
    return list(hits(step.tool_result.text))


# --- calls that are none -----------------------------------------------------------------------------------------
@wrong("toolcall", "valid_call", planned=True)
def call_arguments_not_json(moment: Moment, rng: random.Random) -> Moment | None:
    name, arguments = call_of(moment)
    text = json.dumps(arguments, ensure_ascii=False)
    return moment.called("the arguments are not JSON", name, rng.choice((text[:-1], text.replace('"', "'"), text.replace(": ", " = "))))


@wrong("toolcall", "valid_call", planned=True)
def call_argument_missing(moment: Moment, rng: random.Random) -> Moment | None:
    name, arguments = call_of(moment)
    key = next(iter(arguments))
    wrongly = {(rng.choice(("text", "item", "value")) if k == key else k): v for k, v in arguments.items()}
    return moment.called(f"{name} needs {key}", name, wrongly)


@wrong("toolcall", "has_action", planned=True)
def call_without_action(moment: Moment, rng: random.Random) -> Moment | None:
    return moment.changed("no tool is called", Step("research", "toolcall", moment.step.round, content=rng.choice(SPEECH)))


@wrong("toolcall", "valid_call")
def call_unknown_tool(moment: Moment, rng: random.Random) -> Moment | None:
    arguments = call_of(moment)[1]
    unknown = rng.choice(("search_products", "open_page", "browse", "product_lookup"))
    return moment.called(f"there is no tool {unknown}", unknown, arguments)


@wrong("toolcall", "valid_call", "relevant_result")
def call_wrong_tool(moment: Moment, rng: random.Random) -> Moment | None:
    """A product's id as that of a web page."""
    if not calls(moment, "visit_product"):
        return None
    id = call_of(moment)[1]["product_id"]
    return moment.called(f"{id} is no web page", "web_visit", {"page_id": id})


@wrong("toolcall", "valid_call", "relevant_result")
def call_result_of_other_product(moment: Moment, rng: random.Random) -> Moment | None:
    """The page that comes back is another product's, of the same category."""
    if not calls(moment, "visit_product"):
        return None
    id = call_of(moment)[1]["product_id"]
    limit = budget(moment.trajectory)
    others = [p for p in moment.shop.of(category(moment.trajectory)) if p.id != id and p.price is not None and (limit is None or p.price <= limit)]
    if not others:
        return None
    other = rng.choice(others)
    result = replace(moment.step.tool_result, text=moment.shop.visit(other.id).tool_result.text)
    return moment.changed(f"the page is that of {other.id}", replace(moment.step, tool_result=result))


# --- calls that were made before -----------------------------------------------------------------------------------
def _again(moment: Moment, rng: random.Random, *tools: str) -> tuple[str, dict, Step] | None:
    """An earlier call."""
    earlier = moment.earlier(*tools)
    if not earlier:
        return None
    step = rng.choice(earlier)
    return step.tool_call.name, json.loads(step.tool_call.arguments), step


@wrong("toolcall", "not_duplicate", planned=True)
def call_duplicate(moment: Moment, rng: random.Random) -> Moment | None:
    again = _again(moment, rng)
    return again and moment.called("the same call was made before", again[0], again[1])


@wrong("toolcall", "not_duplicate")
def call_duplicate_reordered(moment: Moment, rng: random.Random) -> Moment | None:
    again = _again(moment, rng, "product_search")
    if again is None or len(again[1]) < 2:
        return None
    text = json.dumps(dict(reversed(again[1].items())), ensure_ascii=False, indent=rng.choice((None, 1)), separators=rng.choice(((",", ":"), (" , ", " : "))))
    return moment.called("the same call was made before, with its arguments in another order", again[0], text)


@wrong("toolcall", "not_duplicate")
def call_duplicate_default_added(moment: Moment, rng: random.Random) -> Moment | None:
    """With an argument that says what holds anyway."""
    again = _again(moment, rng, "product_search")
    if again is None or "page" in again[1]:
        return None
    made = moment.called(
        "the same search was made before; what was added is the default",
        again[0],
        again[1] | rng.choice(({"page": 1}, {"sort": "relevance"}, {"brand": None}, {"page": 1, "sort": "relevance"})),
    )
    assert made.step.tool_result.text == again[2].tool_result.text
    return made


@wrong("toolcall", "not_duplicate")
def call_duplicate_respelled(moment: Moment, rng: random.Random) -> Moment | None:
    """The same in other characters: brackets or spaces around an id, 260.0 for 260, capitals."""
    again = _again(moment, rng, "product_search", "visit_product")
    if again is None:
        return None
    name, arguments, step = again
    if name == "visit_product":
        arguments = {"product_id": rng.choice(("[{}]", " {}", "{} ")).format(arguments["product_id"])}
    else:
        way = rng.choice(("number", "case", "space"))
        query = arguments["query"]
        arguments = {k: float(v) if way == "number" and isinstance(v, int) else v for k, v in arguments.items()}
        arguments["query"] = query.upper() if way == "case" else query.replace(" ", "  ") if way == "space" else query
    text = json.dumps(arguments)
    if text == step.tool_call.arguments:
        return None
    made = moment.called("the same call was made before in other characters", name, text)
    return made if made.step.tool_result.text == step.tool_result.text or listed_ids(made.step) == listed_ids(step) != [] else None
