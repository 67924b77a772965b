"""An imported conversation through filters, rendering and context: what `prstack.distill.distiller` is for an episode.

1. The conversation is seen as an episode without plan, supervisor and rubric. The filters that need none of these (`FILTERS`, and the user's
   own) judge it as they judge prstack's episodes.
2. Where tools are listed, every call is of one of them.
3. It is rendered with its own system prompt and tools, and has to fit the longest context.
4. Near-duplicates are refused when it is taken (`prstack.distill.committed`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from prstack.dialogue.render import TEMPLATES, Renderer
from prstack.distill import filters
from prstack.distill.card import IMPORTED
from prstack.distill.distiller import STAGE, Outcome
from prstack.distill.export import dataset_row
from prstack.distill.filters.near import signature
from prstack.distill.filters.selection import NEAR_DUPLICATES
from prstack.distill.imports.formats import Conversation
from prstack.settings import DistillConfig
from prstack.types import Persona, Rejected, Step, ToolCall, ToolResult, Trajectory

FILTERS = ("contamination", "tool_calls", "repetition", "language", "report_length")
"""The built-in filters that apply."""
AFTER_FILTERS = ("tools", "render", "context", NEAR_DUPLICATES)


def as_episode(c: Conversation) -> Trajectory:
    """The conversation as an episode without plan, supervisor and rubric, for filters."""
    results = {m["tool_call_id"]: m["content"] for m in c.messages if m["role"] == "tool"}
    steps = []
    for m in (m for m in c.messages if m["role"] == "assistant"):
        said = (m.get("reasoning_content", ""), m["content"])
        for n, call in enumerate(m.get("tool_calls", [])):
            made = ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
            answer = ToolResult(call["id"], True, results[call["id"]])
            steps.append(Step("research", "toolcall", 0, *(("", "") if n else said), made, answer, joined=n > 0))
        if not m.get("tool_calls"):
            steps.append(Step("research", "report" if m is c.messages[-1] else "toolcall", 0, *said))
    return Trajectory(
        id=c.id,
        user_id="",
        seed=0,
        persona=Persona("", "", []),
        query=next(m["content"] for m in c.messages if m["role"] == "user"),
        rubric=[],
        steps=steps,
        reports=[c.messages[-1]["content"]],
        scores=[],
        termination="finished",
        engines={"research": c.model} if c.model else {},
        world=IMPORTED,
    )


class Importer:
    """A conversation through filters, rendering and context: what `Distiller` is for an episode."""

    def __init__(self, config: DistillConfig, tokenizer: Path | str):
        """Raises UserError for a tokenizer that cannot be read and for a filter that cannot be imported."""
        self.renderer = Renderer(tokenizer, TEMPLATES[config.chat_template])
        self.longest = max([config.context, *config.more_contexts])
        own = set(filters.FILTERS) - set(FILTERS)
        self.filters = {name: keep for name, keep in filters.chain(config.filters).items() if name not in own}
        self.steps = [*self.filters, *AFTER_FILTERS]
        """What can reject a conversation, in order."""

    def __call__(self, c: Conversation) -> Outcome:
        t = as_episode(c)
        size = len(self.renderer.encode_text("\n".join(self._texts(c))))
        for name, keep in self.filters.items():
            if rejection := keep(t):
                return _reject(c, name, rejection, size)
        offered = {tool["function"]["name"] for tool in c.tools}
        if unknown := {s.tool_call.name for s in t.steps if s.tool_call} - offered if offered else set():
            return _reject(c, "tools", ("unknown_tool", f"{min(unknown)} is called, but not among the tools"), size)
        try:
            rendered = self.renderer.render(c.messages, c.tools)
        except ValueError as e:
            return _reject(c, "render", ("render", str(e)), size)
        tokens = len(rendered.input_ids)
        if tokens > self.longest:
            return _reject(c, "context", ("too_long", f"{tokens} tokens, a pack holds {self.longest}"), size)
        none = dict.fromkeys(("reflections", "by_model", "dropped_calls", "accepted", "refused", "pairs", "unpaired"), 0) | {"fallbacks": "{}"}
        calls = sum(s.tool_call is not None for s in t.steps)
        row = dataset_row(
            t, c.messages, c.tools, score=None, calls=calls, tokens=tokens, learned_tokens=sum(rendered.loss_mask), source_tokens=size, **none
        )
        return Outcome(c.id, None, row, rendered.input_ids, rendered.loss_mask, signature=signature(c.messages))

    @staticmethod
    def _texts(c: Conversation) -> Iterator[str]:
        """What the assistant wrote and the tools answered."""
        for m in (m for m in c.messages if m["role"] in ("assistant", "tool")):
            yield from (m.get("reasoning_content", ""), m["content"])
            yield from (part for call in m.get("tool_calls", []) for part in (call["function"]["name"], call["function"]["arguments"]))


def _reject(c: Conversation, step: str, rejection: filters.Rejection, size: int) -> Outcome:
    return Outcome(c.id, Rejected(c.id, f"{STAGE}/{step}", rejection[0], rejection[1], as_record(c), size))


def as_record(c: Conversation) -> str:
    """The conversation as one JSON line, which can be imported again."""
    return json.dumps({"id": c.id, "messages": c.messages, "tools": c.tools}, ensure_ascii=False)
