"""The text of an assistant turn, both ways.

    <think>
    reasoning
    </think>

    content
    <tool_call>
    {"name": "product_search", "arguments": {"query": "quiet blender"}}
    </tool_call>

Every part may be missing, and several tool calls may stand one right after the other. A report is content that is one
`<report>…</report>` and nothing else; it ends a conversation, so no tool call stands beside it. The tags are those of
Qwen3 and Hermes, so that models trained on them feel at home.

`format_assistant` writes the canonical text; `parse_assistant` reads any text. White space around the parts is not
kept, everything inside them is, arguments that are not JSON included:
`parse_assistant(format_assistant(reasoning, content, *calls))` gives the stripped parts back, as long as reasoning and
content hold no tag of the format itself. The strings of a call may: a call ends where its JSON does, not at the first
tag in it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from prstack.types import ToolCall

TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<report>", "</report>")
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_HEAD = re.compile(r'\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:')
_BLANKS, _END_OF_CALL = re.compile(r"\s*"), re.compile(rf"\s*{_CLOSE}")
_LENIENT = json.JSONDecoder(strict=False)  # raw control characters in strings do not hide where the JSON ends


@dataclass(slots=True)
class Turn:
    """What an assistant turn says. `report` is the text between the report tags, `content` holds the tags too.

    `calls`: what stands between tool-call tags, in order: a call, or the bare text of what has no name and so is none.
    `error` is empty for a well-formed turn, otherwise the first thing that is wrong, in words that can be shown to
    the model; what could be read is in the other fields all the same.
    """

    reasoning: str = ""
    content: str = ""
    calls: list[ToolCall | str] = field(default_factory=list)
    report: str | None = None
    error: str = ""

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls that could be read."""
        return [c for c in self.calls if isinstance(c, ToolCall)]

    @property
    def tool_call(self) -> ToolCall | None:
        """The first of them."""
        return next(iter(self.tool_calls), None)


def parse_assistant(text: str) -> Turn:
    """Reads an assistant turn; never raises. The calls have no id yet: who executes them gives them theirs.

    Text after a tool call ends what is read, calls behind it included.
    """
    reasoning, rest, error = _split_reasoning(text)
    content, calls, report = rest.strip(), [], None
    if content.startswith("<report>"):
        end = content.rfind("</report>")
        if end < 0:
            error = error or "the report is not closed with </report>"
        else:
            report = content[len("<report>") : end].strip()
            if content[end + len("</report>") :].strip():
                error = error or "there is text after </report>"
            content = content[: end + len("</report>")]
    elif _OPEN in content:
        content, _, blocks = content.partition(_OPEN)
        content = content.strip()
        calls, call_error = _read_calls(blocks)
        error = error or call_error
    if report is None and not error:
        stray = next((t for t in TAGS if t in content), "")
        error = f"{stray} where it does not belong" if stray else ""
    return Turn(reasoning, content, calls, report, error)


def format_assistant(reasoning: str = "", content: str = "", *tool_calls: ToolCall | None) -> str:
    """The canonical text of an assistant turn, without the end-of-turn token. The chat template writes the same.

    None among the calls stands for no call.
    """
    reasoning, content = reasoning.strip(), content.strip()
    text = f"<think>\n{reasoning}\n</think>\n\n{content}" if reasoning else content
    calls = "\n".join(format_call(call) for call in tool_calls if call is not None)
    if not calls:
        return text.rstrip()
    return f"{text}\n{calls}" if content else text + calls


def format_call(call: ToolCall) -> str:
    """A tool call between its tags."""
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{_OPEN}\n{{"name": {name}, "arguments": {call.arguments.strip()}}}\n{_CLOSE}'


def _split_reasoning(text: str) -> tuple[str, str, str]:
    """Reasoning, the rest, and what is wrong. A model whose prompt opened the thinking only closes it."""
    body = text.lstrip()
    opened = body.startswith("<think>")
    body = body.removeprefix("<think>")
    end = _end_of_thinking(body)
    if end >= 0:
        return body[:end].strip(), body[end + len("</think>") :], ""
    if opened:
        return body.strip(), "", "the thinking is not closed with </think>"
    return "", text, ""


def _end_of_thinking(text: str) -> int:
    """Where the first `</think>` stands that is not inside a tool call; -1 for none."""
    end, call = text.find("</think>"), text.find(_OPEN)
    while 0 <= call < end:
        _, after = _json_block(text, call + len(_OPEN))
        if after > end:
            end = text.find("</think>", after)
        call = text.find(_OPEN, max(after, call + len(_OPEN)))
    return end


def _json_block(text: str, start: int) -> tuple[str, int]:
    """The JSON at `start` and the position after the closing tag behind it; ("", -1) where that is not what stands there."""
    begin = _BLANKS.match(text, start).end()
    try:
        _, end = _LENIENT.raw_decode(text, begin)
    except (ValueError, RecursionError):
        return "", -1
    closed = _END_OF_CALL.match(text, end)
    return (text[begin:end], closed.end()) if closed else ("", -1)


def _read_calls(text: str) -> tuple[list[ToolCall | str], str]:
    """The calls of a text that begins after an opening tag, and the first thing that is wrong."""
    calls: list[ToolCall | str] = []
    error, at = "", 0
    while True:
        body, after = _json_block(text, at)
        if after < 0:
            end = text.find(_CLOSE, at)
            body, after = (text[at:], len(text)) if end < 0 else (text[at:end], end + len(_CLOSE))
            error = error or ("the tool call is not closed with </tool_call>" if end < 0 else "")
        next_tag = _BLANKS.match(text, after).end()
        more = text.startswith(_OPEN, next_tag)
        if not more and next_tag < len(text):
            error = error or "there is text after </tool_call>"
        call, call_error = _parse_call(body)
        error = error or call_error
        calls.append(body.strip() if call is None else call)
        if not more:
            return calls, error
        at = next_tag + len(_OPEN)


def _parse_call(body: str) -> tuple[ToolCall | None, str]:
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
            return ToolCall("", name, raw), f"the arguments of the tool call {what}"
        return ToolCall("", name, raw), ""
    if head is None:
        return None, "the tool call is not a JSON object with a name and arguments"
    raw = body[head.end() :].removesuffix("}").strip()
    return ToolCall("", _unquote(head[1]), raw), "the arguments of the tool call are not JSON"


def _unquote(text: str) -> str:
    try:
        return json.loads(text)
    except ValueError:
        return text[1:-1]
