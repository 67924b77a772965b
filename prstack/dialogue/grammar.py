"""What a model may write in an assistant turn, as a structural tag (the JSON format of xgrammar, which vLLM reads).

A small model loops and forgets its tags; under these grammars every turn parses, and ends within its token budget:

    call       think  tool call         think: <think>…</think>, a third of the budget at most
    report     think  report            tool call: one of the tools, arguments as its schema says
    text       think  text              report, text: what is left

Where several calls may stand in a turn, the first is followed by as many more as leave each the room that it needs.
Free text is bounded in tokens and cannot hold a tag of the format. JSON is bounded in characters: strings, lists and
numbers without a bound get one, and between its parts stands at most one white space at a time. A budget too small
for the tags and a sentence, or text of which a character takes several tokens, can still be cut off.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from prstack.dialogue.parse import TAGS

Choice = Literal["auto", "required", "none"]

TAG_TOKENS = 48  # the tags and the JSON around arguments, spelled out in small tokens
ARGUMENT_TOKENS = 12  # the key of an argument, or a number
NEXT_CALL_TOKENS = 40  # the tags and the name of a further call
CALL_ROOM = 150  # the arguments of each of several calls: every key of the longest schema, and short strings
MIN_STRING, MAX_STRING, MAX_ITEMS, MAX_NUMBER = 16, 300, 8, 1_000_000_000
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BLANK_CONTROLS = {code: " " for code in range(32)}


def reply_format(schema: dict) -> str:
    """A reply that is one JSON value as `schema` says."""
    return _tag(_json(schema, MAX_STRING))


def turn_format(tools: list[dict], tool_choice: Choice, report: Choice, max_tokens: int, calls: int = 1) -> str:
    """A research turn within `max_tokens`, with at most `calls` tool calls.

    `tool_choice="required"` leaves the tool call, `report="required"` the report. `auto` for the tools is a tool call
    or a report (or text, where `report="none"`); `none` is a report or text (text alone, where `report="none"`).
    Raises ValueError where nothing is left: both required, or a tool call required and no tools.
    """
    room = max(8, max_tokens - TAG_TOKENS)
    think, rest = room // 3, room - room // 3
    if (tool_choice == "required" and (report == "required" or not tools)) or tool_choice not in ("auto", "required", "none"):
        raise ValueError(f"tool_choice={tool_choice} with report={report} and {len(tools)} tools leaves nothing to write")
    may_call = bool(tools) and tool_choice != "none" and report != "required"
    ends = [end for n in range(1, calls + 1) for end in _calls(tools, rest, n)] if may_call else []
    if tool_choice != "required" and report != "none":
        ends.append(_sequence("<report>\n", _text(rest), "\n</report>"))
    if tool_choice != "required" and report != "required" and (report == "none" or not may_call):
        ends.append(_text(rest))
    end = ends[0] if len(ends) == 1 else {"type": "or", "elements": ends}
    return _tag(_sequence("<think>\n", _text(think), "\n</think>\n\n", end))


def bounded(schema: Any, max_string: int = MAX_STRING) -> Any:
    """The schema with a bound on every string, list and number that has none; what it admits is a subset."""
    if isinstance(schema, list):
        return [bounded(s, max_string) for s in schema]
    if not isinstance(schema, dict):
        return schema
    out = {}
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions"):
            out[key] = {k: bounded(v, max_string) for k, v in value.items()}
        elif key in ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties"):
            out[key] = bounded(value, max_string)
        else:
            out[key] = value
    types = out.get("type")
    types = {types} if isinstance(types, str) else set(types or ())
    if "enum" in out or "const" in out:
        return out
    if "string" in types and not {"pattern", "format"} & set(out):
        out["maxLength"] = max(out.get("minLength", 0), min(out.get("maxLength", max_string), max_string))
    if "array" in types:
        out.setdefault("maxItems", max(MAX_ITEMS, out.get("minItems", 0)))
    if types & {"integer", "number"}:
        low = out.get("minimum", out.get("exclusiveMinimum"))
        high = out.get("maximum", out.get("exclusiveMaximum"))
        if low is None:
            out["minimum"] = min(-MAX_NUMBER, 2 * high) if high is not None and high < 0 else (0 if high is None else -MAX_NUMBER)
        if high is None:
            out["maximum"] = max(MAX_NUMBER, 2 * low) if low is not None else MAX_NUMBER
    if "object" in types and "properties" in out:
        out.setdefault("additionalProperties", False)
    return out


def clean_json(text: str) -> str:
    """JSON whose strings hold raw control characters, which the grammar cannot exclude, made valid: they become blanks."""
    return _STRING.sub(lambda m: m[0].translate(_BLANK_CONTROLS), text)


def _tag(form: dict) -> str:
    return json.dumps({"type": "structural_tag", "format": form}, ensure_ascii=False)


def _sequence(*parts: str | dict) -> dict:
    return {"type": "sequence", "elements": [{"type": "const_string", "value": p} if isinstance(p, str) else p for p in parts]}


def _text(max_tokens: int) -> dict:
    return {"type": "any_text", "max_tokens": max_tokens, "excludes": list(TAGS)}


def _json(schema: dict, max_string: int) -> dict:
    return {"type": "json_schema", "json_schema": bounded(schema, max_string), "max_whitespace_cnt": 1}


def _calls(tools: list[dict], max_tokens: int, n: int) -> list[dict]:
    """The ways to write `n` calls, a line each; none where several would not have room."""
    each = (max_tokens - NEXT_CALL_TOKENS * (n - 1)) // n
    ways = [_call(t["function"], each) for t in tools]
    if n == 1:
        return ways
    any_call = ways[0] if len(ways) == 1 else {"type": "or", "elements": ways}
    return [_sequence(any_call, *(["\n", any_call] * (n - 1)))] if each >= CALL_ROOM else []


def _call(function: dict, max_tokens: int) -> dict:
    """A tool call whose strings share what its keys and numbers leave of the tokens, one character a token: figures
    and other things that models repeat without end take as much."""
    name = json.dumps(function["name"], ensure_ascii=False)
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    properties = parameters.get("properties", {}).values()
    strings = sum(p.get("type") == "string" and "enum" not in p for p in properties)
    max_string = (max_tokens - ARGUMENT_TOKENS * len(properties)) // max(1, strings)
    return _sequence(f'<tool_call>\n{{"name": {name}, "arguments": ', _json(parameters, max(MIN_STRING, max_string)), "}\n</tool_call>")
