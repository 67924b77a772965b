"""From the steps of an episode to the research agent's messages.

The conversation is append-only: messages for n + 1 steps begin with the messages for n. Plan requests and corrections are
user turns here; they are what internalisation takes out again.
"""

from __future__ import annotations

from prstack.prompts import Prompts
from prstack.types import Step, ToolCall


def assistant_message(step: Step) -> dict:
    """A research step as an assistant message."""
    message: dict = {"role": "assistant", "content": step.content}
    if step.reasoning:
        message["reasoning_content"] = step.reasoning
    if step.tool_call:
        message["tool_calls"] = [tool_call_message(step.tool_call)]
    return message


def tool_call_message(call: ToolCall) -> dict:
    return {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": call.arguments}}


def tool_message(step: Step) -> dict:
    """The result of a research step's tool call as a tool message."""
    return {"role": "tool", "tool_call_id": step.tool_result.call_id, "name": step.tool_call.name, "content": step.tool_result.text}


def research_messages(query: str, steps: list[Step], prompts: Prompts, forced: bool = False) -> list[dict]:
    """System, query, and every step so far; ends with a user or tool message. `forced` asks for the report at a cap."""
    messages = [
        {"role": "system", "content": prompts.render("research_system")},
        {"role": "user", "content": f"{query}\n\n{prompts.render('research_plan')}"},
    ]
    for step in steps:
        if step.role == "research":
            messages.append(assistant_message(step))
            if step.tool_result:
                messages.append(tool_message(step))
        elif step.verdict.decision == "revise":
            findings = [i.reason for i in step.verdict.items if not i.ok]
            text = prompts.render("research_feedback", state=step.state, reason=step.verdict.reason, items=findings)
            messages.append({"role": "user", "content": text})
        elif step.state == "plan":
            messages.append({"role": "user", "content": prompts.render("research_act")})
    if forced:
        messages.append({"role": "user", "content": prompts.render("research_force_report")})
    elif messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": prompts.render("research_act")})
    return messages
