"""The four tools as JSON schemas, and the check of arguments against them.

`check` covers what the schemas below use: types, required and unknown keys, bounds and lengths.
"""

from __future__ import annotations

import json
import math
from typing import Any

MAX_QUERY, MAX_ID, MAX_PAGE_NUMBER = 400, 64, 50


def _tool(name: str, description: str, required: list[str], **properties: dict) -> dict:
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _text(description: str, longest: int) -> dict:
    return {"type": "string", "description": description, "minLength": 1, "maxLength": longest}


SCHEMAS: list[dict] = [
    _tool(
        "product_search",
        "Search the product catalogue. Returns ten products a page with id, title, category, price and rating.",
        ["query"],
        query=_text("What to look for, in a few words.", MAX_QUERY),
        category=_text("Only products of this category.", 200),
        max_price={"type": "number", "description": "Only products up to this price.", "minimum": 0},
        min_rating={"type": "number", "description": "Only products rated at least so, in stars.", "minimum": 0, "maximum": 5},
        page={"type": "integer", "description": "Page of results, from 1.", "minimum": 1, "maximum": MAX_PAGE_NUMBER},
    ),
    _tool(
        "visit_product",
        "Open a product's page: price, availability, attributes, description and reviews.",
        ["product_id"],
        product_id=_text("Product id from a search result.", MAX_ID),
    ),
    _tool(
        "web_search",
        "Search web pages: buying guides, lab tests, forum threads, brand pages.",
        ["query"],
        query=_text("What to look for, in a few words.", MAX_QUERY),
    ),
    _tool("web_visit", "Read a web page.", ["page_id"], page_id=_text("Page id from a web search result.", MAX_ID)),
]
"""OpenAI tools format."""

PARAMETERS: dict[str, dict] = {t["function"]["name"]: t["function"]["parameters"] for t in SCHEMAS}


class BadArguments(ValueError):
    """`code` is `invalid_json` or `invalid_arguments`; the text says what is wrong and what is right."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def check(name: str, arguments: str) -> dict[str, Any]:
    """The arguments of a call to a known tool. Raises BadArguments."""
    schema = PARAMETERS[name]
    usage = "give " + ", ".join(k if k in schema["required"] else f"{k} (optional)" for k in schema["properties"])
    try:
        given = json.loads(arguments, parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise BadArguments("invalid_json", f"the arguments are not JSON; {usage} as a JSON object") from e
    if not isinstance(given, dict):
        raise BadArguments("invalid_json", f"the arguments are not a JSON object; {usage}")
    given = {k: v for k, v in given.items() if v is not None or k in schema["required"]}
    for key in given:
        if key not in schema["properties"]:
            raise BadArguments("invalid_arguments", f"unknown argument {key[:40]!r}; {usage}")
    for key in schema["required"]:
        if key not in given:
            raise BadArguments("invalid_arguments", f"the argument {key} is missing; {usage}")
    for key, value in given.items():
        if problem := _problem(value, schema["properties"][key]):
            raise BadArguments("invalid_arguments", f"{key} {problem}")
    return given


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _problem(value: Any, rule: dict) -> str:
    if rule["type"] == "string":
        if not isinstance(value, str):
            return "must be a string"
        if not value.strip():
            return "must not be empty"
        return f"must have at most {rule['maxLength']} characters" if len(value) > rule["maxLength"] else ""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return "must be a number"
    if rule["type"] == "integer" and value != int(value):
        return "must be a whole number"
    if value < rule["minimum"]:
        return f"must be at least {rule['minimum']}"
    return f"must be at most {rule['maximum']}" if value > rule.get("maximum", math.inf) else ""
