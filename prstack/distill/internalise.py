"""Reflective internalisation: from a supervised episode to the conversation of one agent.

1. Supervisor turns vanish.
2. The plan that was followed opens the content of the first tool-call turn; earlier plans vanish.
3. A report that was revised vanishes.
4. Tool calls of one turn stay one turn. A corrected tool call stays with its result (`keep_corrected`) or goes (`drop`). It goes in any case when no trainer can
   hold it (no call at all, or arguments that are no JSON object), and stays in any case when a later turn relies on an id
   that only its result shows.
5. Every correction that something better followed becomes a reflection at the head of the reasoning of the next turn that
   stays, so that it stands before the better action (by rule: `prstack.distill.reflections`; by a model: `prstack.distill.writing`).
6. Sentences of the agent's own reasoning, plan and content that speak of the supervision are left out. The final report,
   tool calls and results are never touched.

The input has passed the `format` filter. The result is verified by `prstack.distill.checker`, which shares no code with this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from prstack.dialogue.conversation import tool_call_message, tool_message
from prstack.distill.episode import Turn, correction_keys, groups, turns
from prstack.distill.reflections import reflect, without_supervision
from prstack.tools import results
from prstack.types import Step, Trajectory, Verdict

Policy = Literal["keep_corrected", "drop"]


@dataclass(slots=True)
class Correction:
    """A correction that something better followed."""

    key: str
    """Names it within its episode: `plan-0` is the correction of the first plan, `toolcall-3` that of the fourth tool-call step."""
    step: Step
    """What was sent back."""
    verdict: Verdict
    dropped: bool = False
    """Whether what was sent back leaves the conversation."""
    reflection: str = ""
    """What stands for it."""


@dataclass(slots=True)
class Internalised:
    """The conversation, and the corrections that live on in it."""

    messages: list[dict]
    corrections: list[Correction] = field(default_factory=list)
    dropped_calls: int = 0

    @property
    def reflections(self) -> int:
        return len(self.corrections)


@dataclass(slots=True)
class _Pending:
    """What the next turn that stays begins with."""

    reasoning: list[str] = field(default_factory=list)
    content: list[str] = field(default_factory=list)

    def take(self) -> _Pending:
        taken = _Pending(self.reasoning, self.content)
        self.reasoning, self.content = [], []
        return taken


def internalise(trajectory: Trajectory, system: str, wrong_actions: Policy, written: Mapping[str, str] | None = None) -> Internalised:
    """The conversation that training sees: system, query, tool-call turns with their results, report.

    `system` is the research agent's system prompt. Messages have no keys for what they lack. `written`: reflections by the key of their
    correction, in place of those of the rule (`prstack.distill.writing`).
    """
    done = turns(trajectory)
    out = Internalised([{"role": "system", "content": system}, {"role": "user", "content": trajectory.query}])
    pending = _Pending()
    plans = [t for t in done if t.step.state == "plan"]
    acts = [t for t in done if t.step.state != "plan"]
    keys = correction_keys(done)

    def reflect_on(turn: Turn, position: int, dropped: bool) -> None:
        key, state = keys[id(turn)], turn.step.state
        text = (written or {}).get(key) or reflect(turn.verdict, state, trajectory.id, position, dropped=dropped)
        pending.reasoning.append(text)
        out.corrections.append(Correction(key, turn.step, turn.verdict, dropped, text))

    for i, turn in enumerate(plans[:-1]):
        if turn.corrected:
            reflect_on(turn, i, dropped=True)
    if plans:
        pending.reasoning.append(without_supervision(plans[-1].step.reasoning))
        pending.content.append(without_supervision(plans[-1].step.content))
    for group in groups(acts):
        last = group[-1] == len(acts) - 1
        turn = acts[group[0]]
        if turn.step.state == "report":
            if last:
                out.messages.append(_report_message(turn, pending.take()))
            elif turn.corrected:
                reflect_on(turn, len(plans) + group[0], dropped=True)
            continue
        stay = [i for i in group if _stays(acts[i], acts[i + 1 :], acts, wrong_actions)]
        if stay:
            out.messages += _call_messages(turn.step, [acts[i].step for i in stay], pending.take())
        out.dropped_calls += sum(acts[i].step.tool_call is not None for i in group if i not in stay)
        for i in group:
            if acts[i].corrected and not last:
                reflect_on(acts[i], len(plans) + i, dropped=i not in stay)
    return out


def is_json_object(arguments: str) -> bool:
    """Whether a call's arguments can be written by any chat template."""
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _stays(turn: Turn, later: list[Turn], acts: list[Turn], policy: Policy) -> bool:
    call = turn.step.tool_call
    if call is None or not is_json_object(call.arguments):
        return False
    if not turn.corrected or policy == "keep_corrected":
        return True
    return bool(_relied_on(turn, later, acts))


def _relied_on(turn: Turn, later: list[Turn], acts: list[Turn]) -> set[str]:
    """Ids that only this corrected call's result lists or opens, and that a later call or the final report names."""
    shown = _shown(turn.step)
    for other in acts:
        if other is not turn and not other.corrected:
            shown -= _shown(other.step)
    texts = [t.step.tool_call.arguments for t in later if t.step.tool_call and not t.corrected]
    if acts[-1].step.state == "report":
        texts.append(acts[-1].step.content)
    return {id for _, id in shown if any(re.search(rf"(?<![\w-]){re.escape(id)}(?![\w-])", text) for text in texts)}


def _shown(step: Step) -> set[tuple[str, str]]:
    """("listed" or "opened", id) of what a successful tool result shows."""
    if step.tool_result is None or not step.tool_result.ok:
        return set()
    text = step.tool_result.text
    listed = {("listed", hit.id) for hit in [*results.parse_search(text), *results.parse_web_search(text)]}
    page = results.parse_product(text) or results.parse_web_page(text)
    return listed | {("opened", page.id)} if page else listed


def _call_messages(head: Step, calls: list[Step], before: _Pending) -> list[dict]:
    """A turn with those of its calls that stay. `head`: its first step, which says what the turn says; a malformed one says nothing."""
    message = _assistant(
        _join([*before.reasoning, without_supervision(head.reasoning)]),
        _join([*before.content, without_supervision(head.content if head.tool_call else "")]),
    )
    message["tool_calls"] = [tool_call_message(step.tool_call) for step in calls]
    return [message, *(tool_message(step) for step in calls)]


def _report_message(turn: Turn, before: _Pending) -> dict:
    """A plan that no tool call followed goes into the reasoning, so that the content is the report alone."""
    return _assistant(_join([*before.reasoning, *before.content, without_supervision(turn.step.reasoning)]), turn.step.content)


def _assistant(reasoning: str, content: str) -> dict:
    message = {"role": "assistant", "content": content}
    if reasoning:
        message["reasoning_content"] = reasoning
    return message


def _join(pieces: list[str]) -> str:
    return "\n\n".join(p for p in pieces if p.strip())
