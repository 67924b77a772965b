"""The text of an assistant turn, both ways.

    <think>
    reasoning
    </think>

    content
    <tool_call>
    {"name": "product_search", "arguments": {"query": "quiet blender"}}
    </tool_call>

Every part may be missing. A report is content that is one `<report>…</report>` and nothing else; it ends a
conversation, so no tool call stands beside it. The tags are those of Qwen3 and Hermes, so that models trained on
them feel at home.

`format_assistant` writes the canonical text; `parse_assistant` reads any text. White space around the parts is not
kept, everything inside them is, arguments that are not JSON included:
`parse_assistant(format_assistant(reasoning, content, call))` gives the stripped parts back, as long as none of
them contains a tag of the format itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from prstack.types import ToolCall

TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<report>", "</report>")
_HEAD = re.compile(r'\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:')


@dataclass(slots=True)
class Turn:
    """What an assistant turn says. `report` is the text between the report tags, `content` holds the tags too.

    `error` is empty for a well-formed turn, otherwise the first thing that is wrong, in words that can be shown to
    the model; what could be read is in the other fields all the same.
    """

    reasoning: str = ""
    content: str = ""
    tool_call: ToolCall | None = None
    report: str | None = None
    error: str = ""


def parse_assistant(text: str, call_id: str = "") -> Turn:
    """Reads an assistant turn; never raises. `call_id` becomes the id of the tool call, if there is one."""
    reasoning, rest, error = _split_reasoning(text)
    content, call, report = rest.strip(), None, None
    if content.startswith("<report>"):
        end = content.rfind("</report>")
        if end < 0:
            error = error or "the report is not closed with </report>"
        else:
            report = content[len("<report>") : end].strip()
            if content[end + len("</report>") :].strip():
                error = error or "there is text after </report>"
            content = content[: end + len("</report>")]
    elif "<tool_call>" in content:
        before, _, after = content.partition("<tool_call>")
        body, closed, tail = after.partition("</tool_call>")
        content = before.strip()
        call, call_error = _parse_call(body, call_id)
        if not closed:
            error = error or "the tool call is not closed with </tool_call>"
        elif "<tool_call>" in tail:
            error = error or "more than one tool call in a turn; only the first counts"
        elif tail.strip():
            error = error or "there is text after </tool_call>"
        error = error or call_error
    if report is None and not error:
        stray = next((t for t in TAGS if t in content), "")
        error = f"{stray} where it does not belong" if stray else ""
    return Turn(reasoning, content, call, report, error)


def format_assistant(reasoning: str = "", content: str = "", tool_call: ToolCall | None = None) -> str:
    """The canonical text of an assistant turn, without the end-of-turn token. The chat template writes the same."""
    reasoning, content = reasoning.strip(), content.strip()
    text = f"<think>\n{reasoning}\n</think>\n\n{content}" if reasoning else content
    if tool_call is None:
        return text.rstrip()
    name = json.dumps(tool_call.name, ensure_ascii=False)
    call = f'<tool_call>\n{{"name": {name}, "arguments": {tool_call.arguments.strip()}}}\n</tool_call>'
    return f"{text}\n{call}" if content else text + call


def _split_reasoning(text: str) -> tuple[str, str, str]:
    """Reasoning, the rest, and what is wrong. A model whose prompt opened the thinking only closes it."""
    body = text.lstrip()
    opened = body.startswith("<think>")
    body = body.removeprefix("<think>")
    before, closed, rest = body.partition("</think>")
    if closed:
        return before.strip(), rest, ""
    if opened:
        return body.strip(), "", "the thinking is not closed with </think>"
    return "", text, ""


def _parse_call(body: str, call_id: str) -> tuple[ToolCall | None, str]:
    body = body.strip()
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError):
        whole = None
    head = _HEAD.match(body)
    if isinstance(whole, dict):
        name, arguments = whole.get("name"), whole.get("arguments")
        if not isinstance(name, str) or not name:
            return None, 'the tool call has no "name"'
        raw = body[head.end() : -1].strip() if head and set(whole) == {"name", "arguments"} else json.dumps(arguments, ensure_ascii=False)
        if not isinstance(arguments, dict):
            what = "are not a JSON object" if "arguments" in whole else "are missing"
            return ToolCall(call_id, name, raw), f"the arguments of the tool call {what}"
        return ToolCall(call_id, name, raw), ""
    if head is None:
        return None, "the tool call is not a JSON object with a name and arguments"
    raw = body[head.end() :].removesuffix("}").strip()
    return ToolCall(call_id, _unquote(head[1]), raw), "the arguments of the tool call are not JSON"


def _unquote(text: str) -> str:
    try:
        return json.loads(text)
    except ValueError:
        return text[1:-1]
