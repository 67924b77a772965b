"""The research agent on its own, with live tools: how a trained model is evaluated, talked to and trained further.

There is no supervisor and no request for a plan. The conversation is the one that distillation trains on
(`prstack.distill.internalise`): system prompt, query, then the agent's turns and the tools' answers until the report.
Only what training never shows adds a message: a turn that is, or holds, neither a tool call nor a report, and the cap of tool
calls, at which the report is asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from actors.agent import ask, derive_seed
from actors.engine import EngineError, Request
from actors.research import act_options, take_steps
from prstack.dialogue.conversation import turn_messages, turns_of
from prstack.prompts import Prompts
from prstack.scoring.evidence import Evidence
from prstack.scoring.report import parse_report
from prstack.scoring.rubric import score
from prstack.tools.toolbox import Toolbox
from prstack.types import NO_CALL, NO_REPORT, Persona, RubricItem, Step, Termination, Trajectory, Usage

log = logging.getLogger(__name__)

MAX_MALFORMED = 3
"""Malformed turns in a row that end an episode."""


@dataclass(slots=True)
class Rollout:
    """Settings of an episode."""

    max_tool_calls: int = 12
    """Tool calls before the report is asked for (termination `max_tool_calls`)."""
    max_turns: int = 20
    """Assistant turns of an episode (termination `max_rounds` when none of them is a report)."""
    max_tokens: int = 640
    """Longest turn, in tokens."""
    temperature: float | None = None
    """Sampling temperature; by default the engine's."""
    max_seconds: float | None = None
    """Wall time of an episode (termination `time`); without, it has no limit."""
    constrained: bool = False
    """Whether the engine lets through only what parses."""
    shots: list[dict] = field(default_factory=list)
    """Messages between system prompt and query: worked examples."""


def messages(query: str, steps: Sequence[Step], prompts: Prompts, shots: Sequence[dict] = (), forced: bool = False) -> list[dict]:
    """The conversation after `steps`, append-only over the turns of an episode.

    `shots` stand between system prompt and query. `forced`: the report was asked for after the last tool result. After a
    report the conversation ends with it, otherwise with a user or tool message.
    """
    out = [{"role": "system", "content": prompts.render("research_system")}, *shots, {"role": "user", "content": query}]
    turns = turns_of(steps)
    asked_after = max((i for i, turn in enumerate(turns) if any(s.tool_call for s in turn)), default=-1) if forced else len(turns)
    ask_report = {"role": "user", "content": prompts.render("research_force_report")}
    if asked_after < 0:
        out.append(ask_report)
    for i, turn in enumerate(turns):
        out += turn_messages(turn)
        if any(s.tool_result is None and s.state != "report" for s in turn):
            out.append({"role": "user", "content": prompts.render("research_malformed", forced=i > asked_after)})
        if i == asked_after:
            out.append(ask_report)
    return out


async def play(
    pool,
    toolbox: Toolbox,
    prompts: Prompts,
    query: str,
    settings: Rollout,
    *,
    id: str,
    seed: int,
    on_step: Callable[[Step], None] | None = None,
    user_id: str = "",
    rubric: Sequence[RubricItem] = (),
    history: Sequence[dict] = (),
) -> Trajectory:
    """Plays one query to its end. Whatever the engine does, a trajectory with a termination reason comes back.

    `pool` has `async complete(Request) -> Completion`. `on_step` is told every step as it is made. `history`: messages of a
    chat before this query (`settings.shots` stand before them). With a `rubric`, the report is scored.

    Terminations: `finished` (a report), `max_tool_calls` (a report that had to be asked for at the cap), `max_rounds` (turns
    spent), `max_tokens` (the conversation outgrew the context), `time`, `error`.
    """
    t = Trajectory(
        id=id,
        user_id=user_id,
        seed=seed,
        persona=Persona("", "", []),
        query=query,
        rubric=list(rubric),
        steps=[],
        reports=[],
        scores=[],
        termination="error",
        usage=[Usage("research")],
        prompt_version=prompts.version,
        world=toolbox.world.kind,
    )
    limit = asyncio.timeout(settings.max_seconds)
    try:
        async with limit:
            t.termination, t.detail = await _turns(t, pool, toolbox, prompts, settings, [*settings.shots, *history], on_step)
        if t.reports and rubric:
            t.scores.append(round(score(parse_report(t.reports[-1]), t.rubric, Evidence.from_steps(t.steps)).score, 4))
    except EngineError as e:
        t.termination, t.detail = "max_tokens" if e.kind == "context" else "error", str(e)
    except Exception as e:
        if limit.expired():
            t.termination, t.detail = "time", f"not at its end after {settings.max_seconds:g} s"
        else:
            # As with the supervisor: one episode's defect stays on record and does not end the others.
            log.exception("episode %s", t.id)
            t.termination, t.detail = "error", f"{type(e).__name__}: {e}"
    t.usage[0].seconds = round(t.usage[0].seconds, 3)
    return t


async def _turns(
    t: Trajectory,
    pool,
    toolbox: Toolbox,
    prompts: Prompts,
    settings: Rollout,
    before: list[dict],
    on_step: Callable[[Step], None] | None,
) -> tuple[Termination, str]:
    """Appends turn after turn to the trajectory; returns why it ended. Raises actors.engine.EngineError."""
    malformed = 0  # in a row
    for n in range(settings.max_turns):
        calls_left = settings.max_tool_calls - sum(s.tool_call is not None for s in t.steps)
        forced = calls_left <= 0
        task, options = act_options(toolbox, forced)
        request = Request(
            task=f"research.{task}",
            role="research",
            messages=messages(t.query, t.steps, prompts, before, forced),
            episode=t.id,
            seed=derive_seed(t.seed, "research", n),
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            constrained=settings.constrained,
            **options,
        )
        done = await ask(pool, request, t.usage[0])
        t.engines["research"] = done.engine
        steps = await take_steps(done.text, t.steps, toolbox, forced, 0, 0, calls_left)
        for step in steps:
            t.steps.append(step)
            if step.state == "report":
                t.reports.append(step.content)
            if on_step:
                on_step(step)
        if steps[-1].state == "report":
            return ("max_tool_calls" if forced else "finished"), ""
        malformed = 0 if any(s.tool_call for s in steps) else malformed + 1
        if malformed >= MAX_MALFORMED:
            return "error", NO_REPORT if forced else NO_CALL
    return "max_rounds", f"no report in {settings.max_turns} turns"
