"""The expert as user agent: persona, query and rubric from the events in the prompt.

1. What complaints, returns and dialogues let one hear about a category becomes a need, with the events as evidence.
2. With fewer than two such needs, repeated or recent choices (properties of what was bought there) are added.
3. The budget is a fifth above the dearest thing bought in the category.
4. A need that the gate's problems name is given up.
"""

from __future__ import annotations

import json
import math
import random

from prstack.prompts import json_lines, sections
from prstack.types import Constraint
from prstack.world.language import canonical, hear, hear_complaint, say, utterable
from prstack.world.opinions import praise_words
from prstack.world.units import number_text, parse_attribute

PROBLEMS = "Problems with your last answer"
MAX_NEEDS = 3
OPENINGS = [
    "I could use some advice.",
    "Hello, I need help with a purchase.",
    "I have been putting this off for weeks and would like a proper recommendation.",
    "Could you do the research for me?",
    "Time for something better than what I have had so far.",
]


def reply(task: str, prompt: str, rng: random.Random) -> str:
    parts = sections(prompt)
    answer = {"persona": _persona, "query": _query, "rubric": _rubric}[task](parts, rng)
    return json.dumps(answer, ensure_ascii=False)


def _persona(parts: dict[str, str], rng: random.Random) -> dict:
    events = json_lines(parts["History"])
    given_up = {(c.attribute, c.op) for c in hear(parts.get(PROBLEMS, ""))}
    category, needs = "", {}
    for category in _candidates(events, rng):
        needs = _needs(events, category, rng)
        needs = {k: n for k, n in needs.items() if k not in given_up} or dict(list(needs.items())[:1])
        if set(needs) - {("price", "<=")}:
            break
    limit = needs.pop(("price", "<="), None)
    prices = [e["price"] for e in events if e.get("category") == category and e.get("price")]
    budget = float(limit["value"]) if limit else _round_up(1.2 * max(prices)) if prices else None
    kept = [n for n in needs.values() if n["attribute"] not in ("price", "category")][:MAX_NEEDS]
    summary = f"Shops for {category}; cares about " + (", ".join(n["attribute"] for n in kept) or "the price") + "."
    return {"summary": summary, "category": category, "budget": budget, "needs": kept}


def _candidates(events: list[dict], rng: random.Random) -> list[str]:
    """Categories, the likeliest first: complained of (latest first), bought (in a seeded order), merely seen."""
    complained = [e["category"] for e in reversed(events) if e.get("category") and hear_complaint(e.get("text", ""))]
    bought = [e["category"] for e in events if e.get("category") and e["type"] in ("purchase", "review")]
    rng.shuffle(bought)
    return list(dict.fromkeys([*complained, *bought, *(e["category"] for e in events if e.get("category"))]))


def _needs(events: list[dict], category: str, rng: random.Random) -> dict[tuple[str, str], dict]:
    """(attribute, op) → need row, what was complained of first."""
    needs: dict[tuple[str, str], dict] = {}
    for event in events:
        if event.get("category") == category:
            for c in hear_complaint(event.get("text", "")):
                _add(needs, c, event["id"], rng)
    for c, event_id in _choices(events, category, rng):
        if len([k for k in needs if k[0] != "price"]) < 2:
            _add(needs, c, event_id, rng)
    return needs


def _add(needs: dict[tuple[str, str], dict], c: Constraint, event_id: str, rng: random.Random) -> None:
    """A need from a constraint that can be said; one that was heard before gains evidence instead."""
    if not utterable(c):
        return
    c = canonical(c)
    if (c.attribute, c.op) in needs:
        evidence = needs[c.attribute, c.op]["evidence"]
        evidence += [event_id] if event_id not in evidence else []
    else:
        row = {"text": say(c, rng), "evidence": [event_id], "attribute": c.attribute, "op": c.op, "value": c.value, "unit": c.unit}
        needs[c.attribute, c.op] = row


def _choices(events: list[dict], category: str, rng: random.Random) -> list[tuple[Constraint, str]]:
    """Properties of what was bought and kept in a category, the latest purchase first, in a seeded order."""
    out = []
    for event in reversed(events):
        if event.get("category") != category or event["type"] in ("return", "search"):
            continue
        properties = sorted((event.get("attributes") or {}).items())
        rng.shuffle(properties)
        for name, value in properties:
            a = parse_attribute(name, value)
            if a.number is None:
                out.append((Constraint(name, "=", value), event["id"]))
            elif a.unit:
                out.append((Constraint(name, ">=", number_text(a.number), a.unit), event["id"]))
    return out


def _round_up(price: float) -> float:
    step = 5 if price < 200 else 25
    return float(math.ceil(price / step) * step)


def _query(parts: dict[str, str], rng: random.Random) -> dict:
    persona = json.loads(parts["Persona"])
    category = say(Constraint("category", "=", persona["category"]), rng)
    wants = [n["text"] for n in persona["needs"]]
    if persona["budget"]:
        wants.append(say(Constraint("price", "<=", number_text(persona["budget"]), persona["currency"]), rng))
    rng.shuffle(wants)
    return {"query": " ".join([rng.choice(OPENINGS), *map(_sentence, [category, *wants])])}


def _sentence(phrase: str) -> str:
    return phrase[0].upper() + phrase[1:].rstrip(".") + "."


def _rubric(parts: dict[str, str], rng: random.Random) -> dict:
    persona = json.loads(parts["Persona"])
    problems = parts.get(PROBLEMS, "")
    items = [_item(f"Recommends {persona['category']}", "entity_match", 1, "instruction_following", "search", "category", "=", persona["category"])]
    if persona["budget"]:
        value = number_text(persona["budget"])
        items.append(_item(f"Stays within {value} {persona['currency']}", "budget_match", 2, "instruction_following", "search", "price", "<=", value, persona["currency"]))
    for n in persona["needs"]:
        kind = "negative_attribute" if n["op"] == "!=" else "numeric_range" if n["op"] in ("<=", ">=") else "attribute_match"
        items.append(_item(n["text"], kind, 3, "instruction_following", "product_page", n["attribute"], n["op"], n["value"], n["unit"]))
    for n in persona["needs"]:
        words = praise_words(n["attribute"])
        text = f"Says that reviewers find it {words[0]}" if words else ""
        if words and text not in problems:
            items.append(_item(text, "review_opinion", 2, "depth", "reviews", n["attribute"], "=", words[0]))
            break
    items.append(_item("Compares the products by the same properties", "comparison", 1, "comprehensiveness", "report"))
    items.append(_item("Every claim rests on what the tools showed", "grounding", 2, "depth", "product_page"))
    total = sum(i["weight"] for i in items)
    for i in items:
        i["weight"] = round(i["weight"] / total, 4)
    return {"items": items}


def _item(text: str, type: str, weight: float, dimension: str, source: str, attribute: str = "", op: str = "=", value: str = "", unit: str = "") -> dict:
    return {
        "text": text,
        "type": type,
        "weight": weight,
        "dimension": dimension,
        "source": source,
        "negative": type == "negative_attribute",
        "attribute": attribute,
        "op": op,
        "value": value,
        "unit": unit,
    }
