"""The episode as it was, not internalised (`distill.internalise=turns` and `none`): what training on supervision itself, or on uncorrected
attempts, is compared with.

`turns`: every correction stays as the user turn in which the agent was told it; what the assistant writes is trained on, corrections are not.
`none`: the supervisor's turns vanish, and so do the agent's sentences that speak of them; what was sent back stays as it was, with no
word on it before the better action.

In both, as after internalisation:
1. The plan that was followed opens the content of the next turn. A plan that was sent back is a turn of its own before its correction
   (`turns`), or stands before the better one in the same turn (`none`).
2. Calls of one turn stay one turn with their results. A call whose arguments are no JSON object goes, since no trainer can hold it; a turn
   of nothing else goes with its correction.
3. The last report is the end. Reports that were sent back stay as turns before it, so that with `none` two assistant turns may
   follow each other.
4. Requests for the plan, for carrying on and for a report at a cap are left out.

`prstack.distill.checker.violations(…, internalised=False)` verifies the result.
"""

from __future__ import annotations

from prstack.dialogue.conversation import correction_message, tool_call_message, tool_message
from prstack.distill.episode import Turn, correction_keys, groups, turns
from prstack.distill.internalise import Correction, Internalised, is_json_object
from prstack.distill.reflections import without_supervision
from prstack.prompts import Prompts
from prstack.types import Trajectory


def as_it_was(trajectory: Trajectory, system: str, prompts: Prompts | None) -> Internalised:
    """The conversation, with corrections as `prompts` words them, or without any (None). Its corrections are those that something better
    followed, as in an internalised one, without a reflection."""
    done = turns(trajectory)
    plans = [t for t in done if t.step.state == "plan"]
    acts = [t for t in done if t.step.state != "plan"]
    out = Internalised([{"role": "system", "content": system}, {"role": "user", "content": trajectory.query}])
    keys = correction_keys(done)
    before: list[Turn] = []  # plans that the next turn begins with
    for plan in plans:
        before.append(plan)
        if plan.corrected and plan is not plans[-1]:
            out.corrections.append(Correction(keys[id(plan)], plan.step, plan.verdict))
            if prompts:
                out.messages += [_message(before, prompts), correction_message("plan", plan.verdict, prompts)]
                before = []
    for group in groups(acts):
        last = group[-1] == len(acts) - 1
        made = [acts[i] for i in group]
        stay = [t for t in made if t.step.tool_call is None or is_json_object(t.step.tool_call.arguments)]
        out.dropped_calls += len(made) - len(stay)
        out.corrections += [Correction(keys[id(t)], t.step, t.verdict) for t in made if t.corrected and not last]
        if not stay:
            continue
        message = _message([*before, *stay], prompts)
        before = []
        if calls := [tool_call_message(t.step.tool_call) for t in stay if t.step.tool_call]:
            message["tool_calls"] = calls
        out.messages += [message, *(tool_message(t.step) for t in stay if t.step.tool_call)]
        if prompts and not last:
            out.messages += [correction_message(t.step.state, t.verdict, prompts, n, len(stay)) for n, t in enumerate(stay, 1) if t.corrected]
    return out


def _message(said: list[Turn], prompts: Prompts | None) -> dict:
    """What the steps say as one assistant message. A report is the content alone: a plan before it goes into the reasoning."""
    clean = (lambda text: text) if prompts else without_supervision
    reasoning, content = [clean(t.step.reasoning) for t in said], [t.step.content if t.step.state == "report" else clean(t.step.content) for t in said]
    if said[-1].step.state == "report":
        reasoning, content = [*reasoning[:-1], *content[:-1], reasoning[-1]], content[-1:]
    message = {"role": "assistant", "content": "\n\n".join(c for c in content if c.strip())}
    if joined := "\n\n".join(r for r in reasoning if r.strip()):
        message["reasoning_content"] = joined
    return message
