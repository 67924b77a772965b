"""Do the steps of a trajectory form a whole episode?

A supervised one: plan, tool calls, reports, each followed by its verdict (the last may lack it). One without a supervisor (no step of that
role): tool calls and a report, a plan before them or not, and every turn acts. Both end with one report in its tags, the last of `reports`.
"""

from __future__ import annotations

import re

from prstack.types import Step, Trajectory

PHASES = {"plan": ("plan", "toolcall", "report"), "toolcall": ("toolcall", "report"), "report": ("toolcall", "report")}
"""State → states that may follow."""
_WORD = re.compile(r"\w")


def fault(t: Trajectory) -> tuple[str, str] | None:
    """(what is wrong, in words) of the first fault; None for a whole episode."""
    if not t.steps:
        return "no_steps", f"the episode ended ({t.termination}) before its first step: {t.detail}".rstrip(": ")
    supervised = any(s.role == "supervisor" for s in t.steps)
    order = _supervised(t.steps) if supervised else _alone(t.steps)
    return order or _calls(t.steps) or _reports(t) or (None if _WORD.search(t.query) else ("no_query", f"the query holds no word: {t.query[:80]!r}"))


def _supervised(steps: list[Step]) -> tuple[str, str] | None:
    before: Step | None = None
    state = "plan"
    for i, step in enumerate(steps):
        if step.role == "research":
            if before is not None and before.role == "research":
                return "no_verdict", f"step {i - 1} has no verdict after it"
            if step.state not in PHASES[state]:
                return "order", f"step {i}: {step.state} after {state}"
            state = step.state
        elif step.role == "supervisor":
            if before is None or before.role != "research" or step.state != before.state or step.verdict is None:
                return "order", f"step {i}: a verdict must follow a step of the research agent in the same state"
        else:
            return "order", f"step {i} is by the role {step.role}"
        before = step
    if steps[0].state != "plan":
        return "no_plan", "the episode does not begin with a plan"
    return None


def _alone(steps: list[Step]) -> tuple[str, str] | None:
    state = "plan"
    for i, step in enumerate(steps):
        if step.role != "research":
            return "order", f"step {i} is by the role {step.role}"
        if step.state not in PHASES[state]:
            return "order", f"step {i}: {step.state} after {state}"
        if step.state == "toolcall" and step.tool_call is None:
            return "no_action", f"step {i} neither calls a tool nor reports: {step.content[:80]!r}"
        state = step.state
    return None


def _calls(steps: list[Step]) -> tuple[str, str] | None:
    ids: set[str] = set()
    before = ""  # state of the research step before
    for i, step in enumerate(steps):
        call, result = step.tool_call, step.tool_result
        if step.joined and (step.role, step.state, before) != ("research", "toolcall", "toolcall"):
            return "misplaced_join", f"step {i} ({step.role}, {step.state}) is joined to a turn, and none of tool calls is before it"
        before = step.state if step.role == "research" else before
        if (call is None) != (result is None):
            return "unpaired_call", f"step {i} has a tool call without its result, or the reverse"
        if call and (step.role != "research" or step.state != "toolcall"):
            return "misplaced_call", f"step {i} ({step.role}, {step.state}) calls a tool"
        if call and result and result.call_id != call.id:
            return "unpaired_call", f"step {i}: the result answers {result.call_id!r}, the call is {call.id!r}"
        if call and (not call.id or call.id in ids):
            return "call_ids", f"step {i}: call id {call.id!r} is empty or was used before"
        if call:
            ids.add(call.id)
    return None


def _reports(t: Trajectory) -> tuple[str, str] | None:
    research = [s for s in t.steps if s.role == "research"]
    if research[-1].state != "report":
        return "no_report", f"the episode ended ({t.termination}) without a report: {t.detail}".rstrip(": ")
    final = research[-1].content
    if not (final.startswith("<report>") and final.endswith("</report>") and final.count("<report>") == 1):
        return "report_tags", f"the final report is not between <report> and </report>: {final[:80]!r}"
    if not t.reports or t.reports[-1] != final:
        return "report_mismatch", "the last of `reports` is not what the last report step says"
    return None
