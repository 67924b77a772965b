"""A conversation of the data set as a row: `messages` and `tools` as TRL and other trainers read them, and what is known of it.

    dataset/part-*.parquet        id, messages, tools (JSON text), and what is known of each conversation
    preferences/part-*.parquet    prompt, chosen, rejected (`prstack.distill.preferences`)
    packed/part-*.parquet         packs of tokens for our own trainer; packed_<n>/ for a further context of n tokens
    README.md                     the card; its head names the files, so that the folder is a data set of its own (`prstack.distill.card`)
    chat_template.jinja           the template the tokens were made with, with {% generation %} markers
    chat_templates/               every template there is, by name
    jsonl/ ms_swift/ llama_factory/   the same conversations in the layouts of other trainers (`prstack.distill.layouts`)

`datasets.load_dataset("parquet", data_dir=".../dataset")` and `datasets.load_dataset("...")` on the folder both load it.
A key that a message does not have is null; tool arguments are JSON text, as the model wrote them.
"""

from __future__ import annotations

import json

import pyarrow as pa

from prstack.types import SCHEMA_VERSION, Trajectory

_TEXT = pa.large_string()
MESSAGE = pa.struct(
    [
        ("role", _TEXT),
        ("content", _TEXT),
        ("reasoning_content", _TEXT),
        ("tool_calls", pa.list_(pa.struct([("id", _TEXT), ("type", _TEXT), ("function", pa.struct([("name", _TEXT), ("arguments", _TEXT)]))]))),
        ("tool_call_id", _TEXT),
        ("name", _TEXT),
    ]
)
DATASET_SCHEMA = pa.schema(
    [
        ("id", _TEXT),
        ("messages", pa.list_(MESSAGE)),
        ("tools", _TEXT),
        ("user_id", _TEXT),
        ("world", _TEXT),
        ("category", _TEXT),
        ("teacher", _TEXT),
        ("prompt_version", _TEXT),
        ("score", pa.float64()),
        ("tool_calls", pa.int64()),
        ("reflections", pa.int64()),
        ("by_model", pa.int64()),
        ("fallbacks", _TEXT),
        ("dropped_calls", pa.int64()),
        ("accepted", pa.int64()),
        ("refused", pa.int64()),
        ("pairs", pa.int64()),
        ("unpaired", pa.int64()),
        ("tokens", pa.int64()),
        ("learned_tokens", pa.int64()),
        ("source_tokens", pa.int64()),
        ("spared", _TEXT),
    ],
    metadata={"prstack.schema_version": str(SCHEMA_VERSION), "prstack.record": "Conversation"},
)
COLUMNS = {
    "id": "the trajectory's id",
    "messages": "system, user, then assistant and tool turns in alternation, the report last",
    "tools": "the tools on offer, JSON text (OpenAI format)",
    "user_id": "whose behaviour history the query came from",
    "world": "the shopping environment",
    "category": "kind of product that is looked for",
    "teacher": "engine and model that played the research agent",
    "prompt_version": "hash of the prompts in force",
    "score": "verifiable rubric score of the report, 0 to 1; null where there is no rubric",
    "tool_calls": "tool calls in the conversation",
    "reflections": "corrections that live on: as the agent's own reflections, unless distill.internalise is turns or none",
    "by_model": "reflections that a model wrote (distill.internalise=llm); the others are the rule's",
    "fallbacks": "JSON text: for each reflection that is the rule's since the model's were refused, which (plan, toolcall or report and a number) and why",
    "dropped_calls": "corrected tool calls that were left out",
    "accepted": "opened products that the agent's reasoning keeps",
    "refused": "opened products that the agent's reasoning drops",
    "pairs": "preference pairs that the episode gave",
    "unpaired": "its earlier reports, and draws that were not taken, that gave none",
    "tokens": "length when rendered with the template",
    "learned_tokens": "tokens with loss mask 1: what the assistant wrote",
    "source_tokens": "length of the research agent's turns and tool results in the trajectory",
    "spared": "the filter that would have rejected it, had there been enough with a corrected mistake; empty for most",
}


def dataset_row(t: Trajectory, messages: list[dict], tools: list[dict], **measures: float | int | None) -> dict:
    """A row of DATASET_SCHEMA; `calls` among the measures becomes the column tool_calls."""
    measures["tool_calls"] = measures.pop("calls")
    return {
        "id": t.id,
        "messages": [message_row(m) for m in messages],
        "tools": json.dumps(tools, ensure_ascii=False),
        "user_id": t.user_id,
        "world": t.world,
        "category": t.persona.category,
        "teacher": t.engines.get("research", ""),
        "prompt_version": t.prompt_version,
        **measures,
    }


def message_row(message: dict) -> dict:
    """A message with null for every key that it lacks."""
    return {f.name: message.get(f.name) for f in MESSAGE}


def plain_message(row: dict) -> dict:
    """A message of a row, without its nulls."""
    return {k: v for k, v in row.items() if v is not None}
