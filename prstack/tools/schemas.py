"""The four tools as JSON schemas, and the check of arguments against a schema.

`check` covers a small part of JSON Schema, which is what a grammar can hold a model to: an object of texts, numbers and truth
values, with bounds, lengths and choices (KEYWORDS). `fault` says where the schema of a user's own tool goes beyond it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_QUERY, MAX_ID, MAX_PAGE_NUMBER = 400, 64, 50
SORTS = ("relevance", "price_low", "price_high", "rating", "reviews")
"""Orders of product search."""


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
        brand=_text("Only products of this brand.", 200),
        min_price={"type": "number", "description": "Only products from this price on.", "minimum": 0},
        max_price={"type": "number", "description": "Only products up to this price.", "minimum": 0},
        min_rating={"type": "number", "description": "Only products rated at least so, in stars.", "minimum": 0, "maximum": 5},
        sort={"type": "string", "description": "Order of the results; relevance if not given.", "enum": list(SORTS)},
        page={"type": "integer", "description": "Page of results, from 1.", "minimum": 1, "maximum": MAX_PAGE_NUMBER},
    ),
    _tool(
        "visit_product",
        "Open a product's page: price, availability, attributes, description, variants, reviews and what they praise or blame.",
        ["product_id"],
        product_id=_text("Product id from a search result.", MAX_ID),
    ),
    _tool(
        "web_search",
        "Search web pages: buying guides, lab tests, forum threads, brand pages.",
        ["query"],
        query=_text("What to look for, in a few words.", MAX_QUERY),
    ),
    _tool(
        "web_visit",
        "Read a web page, or what of it serves a goal.",
        ["page_id"],
        page_id=_text("Page id from a web search result.", MAX_ID),
        goal=_text("What to look for on the page. Leave it out to read from the beginning.", MAX_QUERY),
    ),
]
"""OpenAI tools format."""

PARAMETERS: dict[str, dict] = {t["function"]["name"]: t["function"]["parameters"] for t in SCHEMAS}


class BadArguments(ValueError):
    """`code` is `invalid_json` or `invalid_arguments`; the text says what is wrong and what is right."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def check(schema: dict, arguments: str) -> dict[str, Any]:
    """The arguments of a call, whose JSON text is `arguments`, to a tool with these `parameters`. Raises BadArguments."""
    properties, required = schema["properties"], schema.get("required", ())
    usage = "give " + (", ".join(k if k in required else f"{k} (optional)" for k in properties) or "no arguments")
    try:
        given = json.loads(arguments, parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise BadArguments("invalid_json", f"the arguments are not JSON; {usage} as a JSON object") from e
    if not isinstance(given, dict):
        raise BadArguments("invalid_json", f"the arguments are not a JSON object; {usage}")
    given = {k: v for k, v in given.items() if v is not None or k in required}
    for key in given:
        if key not in properties:
            raise BadArguments("invalid_arguments", f"unknown argument {key[:40]!r}; {usage}")
    for key in required:
        if key not in given:
            raise BadArguments("invalid_arguments", f"the argument {key} is missing; {usage}")
    for key, value in given.items():
        if problem := _problem(value, properties[key]):
            raise BadArguments("invalid_arguments", f"{key} {problem}")
    return {k: int(v) if properties[k]["type"] == "integer" else v for k, v in given.items()}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _problem(value: Any, rule: dict) -> str:
    if rule["type"] == "boolean":
        return "" if isinstance(value, bool) else "must be true or false"
    if rule["type"] == "string":
        if not isinstance(value, str):
            return "must be a string"
        if rule.get("minLength") and not value.strip():
            return "must not be empty"
        if "enum" in rule and value not in rule["enum"]:
            return f"must be one of {', '.join(rule['enum'])}"
        if len(value) < rule.get("minLength", 0):
            return f"must have at least {rule['minLength']} characters"
        return f"must have at most {rule['maxLength']} characters" if len(value) > rule.get("maxLength", math.inf) else ""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return "must be a number"
    if rule["type"] == "integer" and value != int(value):
        return "must be a whole number"
    if value < rule.get("minimum", -math.inf):
        return f"must be at least {rule['minimum']}"
    return f"must be at most {rule['maximum']}" if value > rule.get("maximum", math.inf) else ""


# --- schemas of users' own tools -----------------------------------------------------------------------------------
KEYWORDS = {
    "string": {"minLength", "maxLength", "enum"},
    "number": {"minimum", "maximum"},
    "integer": {"minimum", "maximum"},
    "boolean": set(),
}
"""Type of an argument → the keywords that `check` understands, besides `type` and `description`."""


def fault(tool: Any) -> str:
    """Why a tool in OpenAI's format is none that `check` can hold calls to; empty when it is one."""
    if problem := _keys("the schema", tool, {"type", "function"}, {"type", "function"}):
        return problem
    if problem := _keys("function", function := tool["function"], {"name", "description", "parameters"}, {"name", "description", "parameters"}):
        return problem
    if tool["type"] != "function":
        return "type: must be 'function'"
    if not isinstance(function["name"], str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", function["name"]):
        return f"name: {function['name']!r} must be 1 to 64 letters, digits, _ or -"
    if not _is_text(function["description"]):
        return "description: must say what the tool does"
    parameters = function["parameters"]
    if problem := _keys("parameters", parameters, {"type", "properties", "required", "additionalProperties"}, {"type", "properties"}):
        return problem
    if parameters["type"] != "object" or not isinstance(parameters["properties"], dict):
        return "parameters: must be of type 'object' with properties"
    if parameters.get("additionalProperties", False) is not False:
        return "additionalProperties: must be false; unknown arguments are refused"
    required = parameters.get("required", [])
    if not isinstance(required, list) or not all(isinstance(k, str) and k in parameters["properties"] for k in required):
        return "required: must be a list of names that stand in properties"
    return next((problem for name, rule in parameters["properties"].items() if (problem := _rule_fault(name, rule))), "")


def _rule_fault(name: Any, rule: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier() or name == "world":
        return f"properties: an argument cannot be called {name!r}"
    if problem := _keys(name, rule, {"type", "description", *(k for kind in KEYWORDS.values() for k in kind)}, {"type"}):
        return problem
    if not isinstance(rule["type"], str) or rule["type"] not in KEYWORDS:
        return f"{name}.type: {rule['type']!r} is not supported (supported: {', '.join(KEYWORDS)})"
    for key, value in rule.items():
        if key in ("type", "description"):
            right = _is_text(value)
        elif key not in KEYWORDS[rule["type"]]:
            return f"{name}.{key}: does not go with type {rule['type']!r}"
        elif key == "enum":
            right = isinstance(value, list) and bool(value) and all(map(_is_text, value))
        else:
            kinds = int if key.endswith("Length") else (int, float)
            right = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value) and (value >= 0 or not key.endswith("Length"))
        if not right:
            return f"{name}.{key}: {value!r} is no value for it"
    return ""


def _keys(what: str, given: Any, known: set[str], needed: set[str]) -> str:
    if not isinstance(given, dict):
        return f"{what}: must be a dict"
    if unknown := [k for k in given if k not in known]:
        return f"{what}.{unknown[0]}: is not supported (supported: {', '.join(sorted(known))})"
    missing = next((k for k in sorted(needed) if k not in given), "")
    return f"{what}.{missing}: is missing" if missing else ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
