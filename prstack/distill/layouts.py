"""The data set in the layouts of other trainers, made from the committed rows.

    jsonl/            messages.jsonl {messages, tools}, preferences.jsonl {prompt, chosen, rejected, tools}: OpenAI's message format
    ms_swift/         messages.jsonl {tools, messages}, preferences.jsonl {tools, messages, rejected_messages}: an assistant turn with calls
                      is an `assistant` message with its thinking and text, then a `tool_call` message a call; results are `tool_response`
    llama_factory/    dataset_info.json, messages.jsonl {conversations, system, tools}, preferences.jsonl (+ chosen, rejected): ShareGPT
                      messages; a turn with calls is one `function_call` (thinking, text, then the calls as a JSON list between <tool_call>
                      tags), the results that follow it are one `observation`

Reasoning stands between <think> tags, as both read it. ms-swift: `--dataset ms_swift/messages.jsonl`. LLaMA-Factory (from 0.9.5, which
takes text beside calls): `dataset_dir: llama_factory`, `dataset: prstack`, or `prstack_preferences` for DPO.

A file appears whole, by rename, and holds the rows in the order of the parts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from prstack.distill.export import plain_message
from prstack.store.parts import write_text

MESSAGES, PREFERENCES = "messages.jsonl", "preferences.jsonl"
_SEVERAL = "\n</tool_response>\n<tool_response>\n"
"""Between the results of one turn: LLaMA-Factory's templates of the Qwen family write the outer tags."""
_TAGS = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt", "observation_tag": "observation", "function_tag": "function_call", "system_tag": "system"}  # fmt: skip
_COLUMNS = {"messages": "conversations", "system": "system", "tools": "tools"}
DATASET_INFO = {
    "prstack": {"file_name": MESSAGES, "formatting": "sharegpt", "columns": _COLUMNS, "tags": _TAGS},
    "prstack_preferences": {
        "file_name": PREFERENCES,
        "formatting": "sharegpt",
        "ranking": True,
        "columns": _COLUMNS | {"chosen": "chosen", "rejected": "rejected"},
        "tags": _TAGS,
    },
}


READERS = {"jsonl": "as OpenAI's messages", "ms_swift": "for ms-swift", "llama_factory": "for LLaMA-Factory"}
"""Layout → for whom it is, as the card says it."""


def write(folder: Path, wanted: Iterable[str], conversations: Callable[[], Iterable[dict]], preferences: Callable[[], Iterable[dict]]) -> None:
    """Writes the layouts `wanted` that are not there yet. `conversations` and `preferences` read the committed rows anew on each call."""
    for layout in wanted:
        place = folder / layout
        if place.is_dir():
            continue
        making = place.with_name(f".{place.name}.tmp")
        making.mkdir(parents=True, exist_ok=True)
        message, preference = ROWS[layout]
        _write_lines(making / MESSAGES, map(message, conversations()))
        paired = _write_lines(making / PREFERENCES, map(preference, preferences()))
        if not paired:
            (making / PREFERENCES).unlink()
        if layout == "llama_factory":
            known = DATASET_INFO if paired else {"prstack": DATASET_INFO["prstack"]}
            write_text(json.dumps(known, indent=2) + "\n", making / "dataset_info.json")
        os.replace(making, place)


def _write_lines(path: Path, rows: Iterable[dict]) -> int:
    """Writes rows as JSON lines; returns how many."""
    n = 0
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            n += 1
        file.flush()
        os.fsync(file.fileno())
    return n


# --- jsonl ---------------------------------------------------------------------------------------------------
def plain(row: dict) -> dict:
    return {"id": row["id"], "messages": [plain_message(m) for m in row["messages"]], "tools": json.loads(row["tools"])}


def plain_pair(row: dict) -> dict:
    sides = {side: [plain_message(m) for m in row[side]] for side in ("prompt", "chosen", "rejected")}
    return {"id": row["id"], **sides, "tools": json.loads(row["tools"])}


# --- ms-swift ------------------------------------------------------------------------------------------------
def swift(row: dict) -> dict:
    return {"tools": row["tools"], "messages": list(_swift_messages(row["messages"]))}


def swift_pair(row: dict) -> dict:
    chosen, rejected = (list(_swift_messages([*row["prompt"], *row[side]])) for side in ("chosen", "rejected"))
    return {"tools": row["tools"], "messages": chosen, "rejected_messages": rejected}


def _swift_messages(messages: list[dict]) -> Iterator[dict]:
    for m in messages:
        if m["role"] == "tool":
            yield {"role": "tool_response", "content": m["content"]}
            continue
        calls = m.get("tool_calls") or []
        said = _said(m, before_calls=bool(calls))
        if said or not calls:
            yield {"role": m["role"], "content": said}
        for call in calls:
            yield {"role": "tool_call", "content": json.dumps(_function(call), ensure_ascii=False)}


# --- LLaMA-Factory -------------------------------------------------------------------------------------------
def llama_factory(row: dict) -> dict:
    system, turns = _sharegpt(row["messages"])
    return {"conversations": turns, "system": system, "tools": row["tools"]}


def llama_factory_pair(row: dict) -> dict:
    system, turns = _sharegpt(row["prompt"])
    chosen, rejected = (_sharegpt(row[side])[1][0] for side in ("chosen", "rejected"))
    return {"conversations": turns, "chosen": chosen, "rejected": rejected, "system": system, "tools": row["tools"]}


def _sharegpt(messages: list[dict]) -> tuple[str, list[dict]]:
    """(system prompt, turns); turns of the person or the tools alternate with those of the model."""
    turns = []
    for role, group in groupby(messages, key=lambda m: m["role"]):
        found = list(group)
        if role == "tool":
            turns.append({"from": "observation", "value": _SEVERAL.join(m["content"] for m in found)})
        elif role != "system":
            turns += [_sharegpt_turn(m) for m in found]
    return "\n\n".join(m["content"] for m in messages if m["role"] == "system"), turns


def _sharegpt_turn(m: dict) -> dict:
    calls = [_function(call) for call in m.get("tool_calls") or []]
    if not calls:
        return {"from": "human" if m["role"] == "user" else "gpt", "value": _said(m)}
    listed = json.dumps(calls if len(calls) > 1 else calls[0], ensure_ascii=False).replace("</", "<\\/")  # no tag inside a string
    return {"from": "function_call", "value": f"{_said(m, before_calls=True)}<tool_call>{listed}</tool_call>"}


# --- both ----------------------------------------------------------------------------------------------------
def _said(m: dict, before_calls: bool = False) -> str:
    """Reasoning and text of a message, without its calls; both trainers put the first call right behind it."""
    reasoning, content = (m.get("reasoning_content") or "").strip(), m.get("content") or ""
    text = f"<think>\n{reasoning}\n</think>\n\n{content}" if reasoning else content
    return f"{text}\n" if before_calls and content else text


def _function(call: dict) -> dict:
    return {"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}


ROWS: dict[str, tuple[Callable[[dict], dict], Callable[[dict], dict]]] = {
    "jsonl": (plain, plain_pair),
    "ms_swift": (swift, swift_pair),
    "llama_factory": (llama_factory, llama_factory_pair),
}
"""Layout, which is its folder as well → (row of the data set, row of the preferences) as that trainer reads them."""
