"""Faults in the course of an episode: its form, its end, its rounds and calls, and needs that are held out."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

from benchmarks.filters.edit import Kind, acts, report, reported, step_at, with_verdict, without
from prstack.types import Need, Step, ToolCall, ToolResult, Trajectory


def _verdict_gone(t: Trajectory, rng: Random) -> Trajectory:
    return without(t, {rng.choice(acts(t)) + 1})


def _result_gone(t: Trajectory, rng: Random) -> Trajectory:
    return step_at(t, rng.choice(acts(t)), tool_result=None)


def _results_swapped(t: Trajectory, rng: Random) -> Trajectory | None:
    a, b = rng.sample(acts(t), 2)
    one, other = t.steps[a].tool_result, t.steps[b].tool_result
    return step_at(step_at(t, a, tool_result=other), b, tool_result=one)


def _same_id(t: Trajectory, rng: Random) -> Trajectory:
    a, b = rng.sample(acts(t), 2)
    call = t.steps[a].tool_call
    return step_at(t, b, tool_call=replace(t.steps[b].tool_call, id=call.id), tool_result=replace(t.steps[b].tool_result, call_id=call.id))


def _plan_late(t: Trajectory, rng: Random) -> Trajectory:
    plan, first = t.steps[:2], t.steps[2:4]
    return replace(t, steps=[*first, *plan, *t.steps[4:]])


def _another_role(t: Trajectory, rng: Random) -> Trajectory:
    at = rng.choice(acts(t)) + 2
    return replace(t, steps=[*t.steps[:at], Step("user", "toolcall", 0, content="Please hurry."), *t.steps[at:]])


def _no_report(t: Trajectory, rng: Random) -> Trajectory:
    return replace(t, steps=[s for s in t.steps if s.state != "report"])


def _tag_open(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, report(t).removesuffix("</report>").rstrip())


def _two_in_one(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, report(t).replace("</report>", "<report>\nA second one.\n</report>"))


def _talk_around(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, "Here is what I found.\n" + report(t))


def _other_report(t: Trajectory, rng: Random) -> Trajectory:
    return replace(t, reports=[*t.reports[:-1], t.reports[-1].replace("\n", "\n\n", 1)])


def _empty_query(t: Trajectory, rng: Random) -> Trajectory:
    return replace(t, query=rng.choice(["", " \n", "\u200b", "—"]))


def _ended(t: Trajectory, rng: Random) -> Trajectory:
    return replace(t, termination=rng.choice(["max_rounds", "max_tool_calls", "max_tokens", "time", "error"]), detail="cut off")


PAIR = ("battery life", "weight")


def _held_out(*names: str):
    def change(t: Trajectory, rng: Random) -> Trajectory:
        return replace(t, persona=replace(t.persona, category=rng.choice(names)))

    return change


def _held_out_pair(t: Trajectory, rng: Random) -> Trajectory:
    """Two attributes of headphones that no training user asks for together."""
    needs = [Need(f"a word on the {name}", ["e1"], name, "<=", "250", "") for name in PAIR]
    return replace(t, persona=replace(t.persona, category="Headphones", needs=needs))


def _more_reports(t: Trajectory, rng: Random) -> Trajectory:
    at = len(t.steps) - 2
    step, verdict = with_verdict(t, at)
    back = replace(verdict, verdict=replace(verdict.verdict, decision="revise", reason="The report leaves a point open."))
    more = [s for n in range(rng.randint(4, 8)) for s in (replace(step, round=n), back)]
    rounds = len(more) // 2
    return replace(t, steps=[*t.steps[:at], *more, step, verdict], reports=[t.reports[-1]] * (rounds + 1), scores=[1.0] * (rounds + 1))


def _few_calls(left: int):
    def change(t: Trajectory, rng: Random) -> Trajectory:
        keep = set(acts(t)[1 : 1 + left])
        return without(t, {m for n in acts(t) if n not in keep for m in (n, n + 1)})

    return change


def _many_calls(t: Trajectory, rng: Random) -> Trajectory:
    at = acts(t)[-1] + 2
    verdict = t.steps[at - 1]
    more = []
    for n in range(rng.randint(66, 90)):
        call = ToolCall(f"x{n}", "web_search", json.dumps({"query": f"guide number {n}"}))
        more += [Step("research", "toolcall", 0, f"I look for guide number {n}.", tool_call=call, tool_result=ToolResult(call.id, True, "0 results")), verdict]
    return replace(t, steps=[*t.steps[:at], *more, *t.steps[at:]])


def _failing(share: float, honest: bool):
    """A share of calls that failed; where not honest, the result is an error text that is marked as fine."""

    def change(t: Trajectory, rng: Random) -> Trajectory:
        for at in rng.sample(acts(t), max(2, round(share * len(acts(t))))):
            text = "error: the service did not answer; try again"
            t = step_at(t, at, tool_result=replace(t.steps[at].tool_result, ok=not honest, text=text, error="timeout" if honest else ""))
        return t

    return change


KINDS = [
    Kind("a verdict is gone", "format", _verdict_gone),
    Kind("a result is gone", "format", _result_gone),
    Kind("two results exchanged", "format", _results_swapped),
    Kind("two calls of one id", "format", _same_id),
    Kind("the plan after a call", "format", _plan_late),
    Kind("a turn of the user", "format", _another_role),
    Kind("no report", "format", _no_report),
    Kind("report without end tag", "format", _tag_open),
    Kind("two reports in one", "format", _two_in_one),
    Kind("talk before the report", "format", _talk_around),
    Kind("`reports` says another", "format", _other_report),
    Kind("an empty query, also of a zero-width space or a dash", "format", _empty_query),
    Kind("ended otherwise", "termination", _ended),
    Kind("a held-out category", "held_out", _held_out("Tents", "Monitors", "Electric Kettles")),
    Kind("the same, written otherwise", "held_out", _held_out("tents", "MONITORS", "electric  kettles", "Electric-Kettles")),
    Kind("the same, in the singular", "held_out", _held_out("Tent", "Monitor", "Electric Kettle")),
    Kind("a held-out combination", "held_out", _held_out_pair),
    Kind("five to nine reports", "rounds", _more_reports),
    Kind("no call", "tool_calls", _few_calls(0)),
    Kind("one call", "tool_calls", _few_calls(1)),
    Kind("seventy calls and more", "tool_calls", _many_calls),
    Kind("half of the calls fail", "tool_errors", _failing(0.5, True)),
    Kind("all fail", "tool_errors", _failing(1.0, True)),
    Kind("half are errors that are marked as fine", "tool_errors", _failing(0.5, False)),
]
