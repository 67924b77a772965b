"""From the steps of an episode to the research agent's messages.

1. Steps are gathered into turns: a step that is `joined` belongs to the turn of the research step before it.
2. A turn is one assistant message with all its tool calls, then a tool message for each.
3. What the supervisor has to say follows: plan requests and corrections are user turns here, in the order of the calls that they
   are about. They are what internalisation takes out again.

The conversation is append-only: messages after n + 1 turns begin with the messages after n.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prstack.prompts import Prompts
from prstack.types import State, Step, ToolCall, Verdict

MAX_CALLS = 8
"""Tool calls of one turn that are executed. A model that repeats itself fills a turn with calls, and the next prompt holds every result:
this many product pages of the generated world are some 2,400 tokens, two fifths of the default context (`engine.max_model_len`)."""


def turns_of(steps: Iterable[Step]) -> list[list[Step]]:
    """The steps of each turn: a research step, those joined to it, and the verdicts among and after them."""
    turns: list[list[Step]] = []
    for step in steps:
        if not turns or (step.role == "research" and not step.joined):
            turns.append([])
        turns[-1].append(step)
    return turns


def turn_messages(steps: Sequence[Step]) -> list[dict]:
    """The research steps of one turn as an assistant message, and the results of its tool calls as tool messages."""
    message: dict = {"role": "assistant", "content": "\n".join(s.content for s in steps if s.content)}
    if steps[0].reasoning:
        message["reasoning_content"] = steps[0].reasoning
    if calls := [tool_call_message(s.tool_call) for s in steps if s.tool_call]:
        message["tool_calls"] = calls
    return [message, *(tool_message(s) for s in steps if s.tool_result)]


def tool_call_message(call: ToolCall) -> dict:
    return {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": call.arguments}}


def tool_message(step: Step) -> dict:
    """The result of a research step's tool call as a tool message."""
    return {"role": "tool", "tool_call_id": step.tool_result.call_id, "name": step.tool_call.name, "content": step.tool_result.text}


def correction_message(state: State, verdict: Verdict, prompts: Prompts, n: int = 1, of: int = 1) -> dict:
    """A correction as the agent is told it. `n`, `of`: which of the turn's steps it is about."""
    named = state if of == 1 else f"{state}, call {n} of {of}"
    findings = [i.reason for i in verdict.items if not i.ok]
    return {"role": "user", "content": prompts.render("research_feedback", state=named, reason=verdict.reason, items=findings)}


def research_messages(query: str, steps: list[Step], prompts: Prompts, forced: bool = False) -> list[dict]:
    """System, query, and every turn so far; ends with a user or tool message. `forced` asks for the report at a cap."""
    messages = [
        {"role": "system", "content": prompts.render("research_system")},
        {"role": "user", "content": f"{query}\n\n{prompts.render('research_plan')}"},
    ]
    for turn in turns_of(steps):
        done = [s for s in turn if s.role == "research"]
        messages += turn_messages(done) if done else []
        judged = 0  # of the steps in `done`
        for step in turn:
            if step.role == "research":
                judged += 1
            elif step.verdict.decision == "revise":
                messages.append(correction_message(step.state, step.verdict, prompts, judged, len(done)))
            elif step.state == "plan":
                messages.append({"role": "user", "content": prompts.render("research_act")})
    if forced:
        messages.append({"role": "user", "content": prompts.render("research_force_report")})
    elif messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": prompts.render("research_act")})
    return messages
