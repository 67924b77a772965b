"""Others' trajectories as conversations of the data set.

1. A record is a JSON object with a list of messages (`messages`, `conversations`, `conversation`), or with ChatML text (`text`). A message
   has `role` and `content`, or `from` and `value`; `ROLES` says which names are known.
2. A call may stand in `tool_calls` (OpenAI), between <tool_call> tags in the text (Hermes, Qwen), or in a message of its own
   (`function_call`, ms-swift's `tool_call`); a result in a message of the role `tool` or `observation`, or between <tool_response> tags in a
   user message. Thinking stands in `reasoning_content` or between <think> tags.
3. What comes out has the form that all of prstack reads: assistant messages with `reasoning_content` and `tool_calls`, each call followed
   by its result, the last message an answer. What cannot be brought into it is `Malformed`, with the field and the reason.
4. Tools come from `tools` or `functions` (OpenAI's form, or bare name and parameters). Where a message describes them itself, between <tools>
   tags, that stands and no others are added.

What becomes of a conversation then: `prstack.distill.imports.importer`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prstack.dialogue.conversation import tool_call_message
from prstack.dialogue.parse import parse_assistant
from prstack.dialogue.render import END_OF_TURN, START_OF_TURN
from prstack.distill.internalise import is_json_object
from prstack.errors import UserError
from prstack.store.records import Bad, canonical_json, read_json_lines

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant",
    "tool": "tool", "observation": "tool", "tool_response": "tool", "function": "tool", "function_response": "tool", "ipython": "tool",
    "function_call": "call", "tool_call": "call",
}  # fmt: skip
LISTS = ("messages", "conversations", "conversation")
_CHATML = re.compile(f"{re.escape(START_OF_TURN)}(\\w+)\\n(.*?)(?:{re.escape(END_OF_TURN)}|\\Z)", re.DOTALL)
_RESPONSES = re.compile(r"\s*(?:<tool_response>.*?</tool_response>\s*)+", re.DOTALL)
_RESPONSE = re.compile(r"<tool_response>\n?(.*?)\n?</tool_response>", re.DOTALL)


class Malformed(Exception):
    """A record that is no conversation: the field, as a path, and what is wrong with it."""

    def __init__(self, field: str, reason: str):
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field, self.reason = field, reason


@dataclass(slots=True)
class Conversation:
    id: str
    messages: list[dict]
    tools: list[dict]
    model: str = ""
    """What wrote it, where the record says so."""


# --- a record ------------------------------------------------------------------------------------------------
def conversation(row: dict) -> Conversation:
    """A record as a conversation. Raises Malformed."""
    field, raw = _raw_messages(row)
    messages: list[dict] = []
    for i, message in enumerate(raw):
        _add(messages, message, f"{field}.{i}")
    _number_calls(messages, field)
    described = any("<tools>" in m["content"] for m in messages if m["role"] in ("system", "user"))
    tools = [] if described else _tools(row)
    given = row.get("id")
    own = str(given) if isinstance(given, str | int) and not isinstance(given, bool) and str(given).strip() else ""
    id = own or hashlib.sha256(canonical_json([messages, tools]).encode()).hexdigest()[:16]
    return Conversation(id, messages, tools, row["model"] if isinstance(row.get("model"), str) else "")


def _raw_messages(row: dict) -> tuple[str, list]:
    field = next((k for k in LISTS if row.get(k) is not None), "")
    if field:
        raw = row[field]
        if not isinstance(raw, list):
            raise Malformed(field, f"expected a list of messages, found {type(raw).__name__}")
    elif isinstance(row.get("text"), str) and START_OF_TURN in row["text"]:
        field, raw = "text", [{"role": role, "content": text} for role, text in _CHATML.findall(row["text"])]
    else:
        raise Malformed("", f"there are no messages: expected {', '.join(LISTS)} or ChatML in text, found the keys {sorted(row)[:8]}")
    if isinstance(row.get("system"), str) and row["system"] and not (raw and _get(raw[0], "role", "from") == "system"):
        raw = [{"role": "system", "content": row["system"]}, *raw]
    return field, raw


def _get(message: Any, *keys: str) -> Any:
    return next((message[k] for k in keys if isinstance(message, dict) and message.get(k) is not None), None)


def _add(messages: list[dict], raw: Any, field: str) -> None:
    """Appends what a raw message says."""
    if not isinstance(raw, dict):
        raise Malformed(field, f"expected a message, found {type(raw).__name__}")
    name = _get(raw, "role", "from")
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise Malformed(f"{field}.role", f"unknown role {name!r}" if name is not None else "the message has no role")
    text = _text(raw, field, may_lack=bool(raw.get("tool_calls")))
    if role == "call":
        if not (messages and messages[-1]["role"] == "assistant"):
            messages.append({"role": "assistant", "content": ""})
        messages[-1].setdefault("tool_calls", []).extend(_calls_of(text, f"{field}.content"))
    elif role == "assistant":
        messages.append(_assistant(raw, text, field))
    elif role == "tool":
        messages.append({"role": "tool", "tool_call_id": raw.get("tool_call_id") or "", "content": text})
    elif role == "user" and _RESPONSES.fullmatch(text):
        messages += [{"role": "tool", "tool_call_id": "", "content": found} for found in _RESPONSE.findall(text)]
    else:
        messages.append({"role": role, "content": text})


def _text(raw: dict, field: str, may_lack: bool) -> str:
    """The text of a message; parts of text are joined."""
    content = _get(raw, "content", "value")
    if isinstance(content, list) and content and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
        content = "".join(p["text"] for p in content)
    if content is None and may_lack:
        return ""
    if not isinstance(content, str):
        raise Malformed(f"{field}.content", f"expected text, found {type(content).__name__}")
    return content


def _assistant(raw: dict, text: str, field: str) -> dict:
    turn = parse_assistant(text)
    if turn.error:
        raise Malformed(f"{field}.content", turn.error)
    message: dict = {"role": "assistant", "content": turn.content}
    if reasoning := _get(raw, "reasoning_content", "reasoning") or turn.reasoning:
        if not isinstance(reasoning, str):
            raise Malformed(f"{field}.reasoning_content", f"expected text, found {type(reasoning).__name__}")
        message["reasoning_content"] = reasoning
    listed = raw.get("tool_calls") or []
    if not isinstance(listed, list):
        raise Malformed(f"{field}.tool_calls", f"expected a list, found {type(listed).__name__}")
    calls = [tool_call_message(c) for c in turn.tool_calls] or [_call(c, f"{field}.tool_calls.{n}") for n, c in enumerate(listed)]
    if calls:
        message["tool_calls"] = calls
    return message


def _calls_of(text: str, field: str) -> list[dict]:
    """The calls that a JSON text holds: one, or a list of them."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise Malformed(field, f"a tool call is not JSON: {e}") from e
    return [_call(call, field) for call in (found if isinstance(found, list) else [found])]


def _call(raw: Any, field: str) -> dict:
    function = raw.get("function", raw) if isinstance(raw, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise Malformed(field, "a tool call has no name")
    arguments = function.get("arguments", function.get("parameters"))
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if not isinstance(arguments, str) or not is_json_object(arguments):
        raise Malformed(f"{field}.arguments", "the arguments of a tool call are not a JSON object")
    given = raw.get("id")
    return {"type": "function", "id": given if isinstance(given, str) else "", "function": {"name": function["name"], "arguments": arguments}}


def _number_calls(messages: list[dict], field: str) -> None:
    """Gives every call an id of its own and every result the id and name of its call; checks the order of messages. Raises Malformed."""
    at = next((i for i, m in enumerate(messages) if m["role"] != "system"), None)
    if at is None or at > 1 or messages[at]["role"] != "user":
        raise Malformed(field, "a conversation begins with a user message, after at most one system message")
    waiting: list[tuple[str, dict]] = []  # (the id that its record gave, the call)
    numbers = itertools.count(1)
    before = ""
    for i, m in enumerate(messages):
        where = f"message {i + 1} ({m['role']})"
        if m["role"] == "tool":
            given = [w for w in waiting if not m["tool_call_id"] or w[0] == m["tool_call_id"]] or [w for w in waiting if not w[0]]
            if not given:
                raise Malformed(field, f"{where} is a result without a call before it")
            waiting.remove(given[0])
            call = given[0][1]
            m |= {"tool_call_id": call["id"], "name": call["function"]["name"]}
        elif waiting:
            raise Malformed(field, f"{where} comes before the result of a call of {waiting[0][1]['function']['name']}")
        elif m["role"] == before or (m["role"] == "system" and i) or (m["role"] == "user" and before == "tool"):
            raise Malformed(field, f"{where} comes after a message of the role {before}")
        for call in m.get("tool_calls", []):
            waiting.append((call["id"], call))
            call["id"] = f"c{next(numbers)}"
        before = m["role"]
    if waiting or before != "assistant" or not messages[-1]["content"].strip():
        raise Malformed(field, "the conversation does not end with an answer of the assistant")


def _tools(row: dict) -> list[dict]:
    field = next((k for k in ("tools", "functions") if row.get(k)), "")
    found = row.get(field, [])
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError) as e:
            raise Malformed(field, f"the tools are not JSON: {e}") from e
    if not isinstance(found, list):
        raise Malformed(field, f"expected a list of tools, found {type(found).__name__}")
    tools = []
    for n, tool in enumerate(found):
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Malformed(f"{field}.{n}", "a tool has no name")
        tools.append({"type": "function", "function": function})
    return tools


# --- a file --------------------------------------------------------------------------------------------------
def conversations(file: Path, on_bad: Callable[[Bad], None]) -> Iterator[tuple[int, Conversation]]:
    """(line, conversation) of a JSONL file, or (row, conversation) of a Parquet file; what is none goes to `on_bad`.

    Raises UserError for a file that is not readable as a whole.
    """
    for line, row in _parquet_rows(file) if file.suffix == ".parquet" else read_json_lines(file, on_bad):
        try:
            yield line, conversation(row)
        except Malformed as e:
            on_bad(Bad(str(file), line, e.field, e.reason, json.dumps(row, ensure_ascii=False, default=str)[:500]))


def _parquet_rows(file: Path) -> Iterator[tuple[int, dict]]:
    try:
        with pq.ParquetFile(file) as parquet:
            rows = (row for batch in parquet.iter_batches(batch_size=64) for row in batch.to_pylist())
            yield from enumerate(map(_without_nulls, rows), 1)
    except (pa.ArrowException, OSError) as e:
        raise UserError(f"{file}: not a readable Parquet file ({' '.join(str(e).split())[:200]})") from e


def _without_nulls(value: Any) -> Any:
    """A Parquet value without the nulls that stand for keys that are not there."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
