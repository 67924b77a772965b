"""The research agent: one turn at a time, over messages and tools alone.

It is stateless: each turn is made from the query and the steps so far, so that a retry needs nothing but the trajectory.
A turn is a plan, tool calls (executed here, one after the other) or a report, whatever the model's text turns out to be.
Several calls in a turn are a step each, in their order; each counts against the cap, and one that is over a limit is answered with an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from actors.agent import Agent, derive_seed
from prstack.dialogue.conversation import MAX_CALLS, research_messages
from prstack.dialogue.parse import Turn, parse_assistant
from prstack.settings import AgentsConfig, WebConfig
from prstack.tools import own
from prstack.tools.live import LiveWeb
from prstack.tools.toolbox import Toolbox
from prstack.types import Step, ToolCall, ToolResult, Usage

MALFORMED_CHARS = 2000


class ResearchAgent(Agent):
    role = "research"

    def __init__(
        self, pool, world_folder: str | Path, limits: AgentsConfig | None = None, extra_tools: Sequence[str] = (), web: WebConfig | None = None
    ):
        self.limits = limits or AgentsConfig()
        super().__init__(pool, self.limits.prompts)
        self.toolbox = Toolbox(Path(world_folder), own=own.load(extra_tools), web=LiveWeb.from_config(web) if web else None)

    async def plan(self, query: str, steps: list[Step], round: int, episode: str, seed: int) -> tuple[Step, Usage]:
        """A plan, or a better one after a correction."""
        usage = Usage("research")
        messages = research_messages(query, steps, self.prompts)
        options = {"tools": self.toolbox.schemas, "tool_choice": "none", "report": "none", "max_tokens": self.limits.tokens.plan}
        done = await self.ask("plan", messages, usage, episode=episode, seed=derive_seed(seed, "research", len(steps)), **options)
        turn = parse_assistant(done.text)
        return Step("research", "plan", round, turn.reasoning, turn.content or turn.report or ""), usage

    async def act(
        self,
        query: str,
        steps: list[Step],
        call_round: int,
        report_round: int,
        forced: bool,
        episode: str,
        seed: int,
        draw: int = 0,
        calls_left: int | None = None,
    ) -> tuple[list[Step], Usage]:
        """The steps of a turn: tool calls with their results, a report, or (malformed) neither: state `toolcall` without a call.

        `forced`: no more tools, write the report. `draw`: the n-th further draw of a turn that was a report; it writes nothing else and
        calls no tool. `calls_left`: calls until the cap. Raises actors.engine.EngineError.
        """
        usage = Usage("research")
        messages = research_messages(query, steps, self.prompts, forced)
        if draw:
            forced, seed = True, derive_seed(seed, "draw", draw)
        task, options = act_options(self.toolbox, forced)
        options |= {"max_tokens": self.limits.tokens.turn}
        done = await self.ask(task, messages, usage, episode=episode, seed=derive_seed(seed, "research", len(steps)), **options)
        return await take_steps(done.text, steps, self.toolbox, forced, call_round, report_round, calls_left), usage


def act_options(toolbox: Toolbox, forced: bool) -> tuple[str, dict]:
    """The task of a turn after the plan, and what its request allows: a tool call or a report, `forced` the report alone."""
    if forced:
        return "report", {"tools": toolbox.schemas, "tool_choice": "none", "report": "required"}
    return "act", {"tools": toolbox.schemas, "tool_choice": "auto"}


async def take_steps(text: str, steps: list[Step], toolbox: Toolbox, *args: object) -> list[Step]:
    """`read_steps`, in a thread of its own where a tool may wait for others, so that other episodes go on meanwhile."""
    return await asyncio.to_thread(read_steps, text, steps, toolbox, *args) if toolbox.waits else read_steps(text, steps, toolbox, *args)


def read_steps(
    text: str, steps: list[Step], toolbox: Toolbox, forced: bool = False, call_round: int = 0, report_round: int = 0, calls_left: int | None = None
) -> list[Step]:
    """What the agent wrote after `steps`, as its next steps: tool calls, executed here, a report, or (malformed) neither.

    `forced`: a report was asked for, so any text is one and no tool is called. A malformed step has state `toolcall` and no
    call. Beyond `calls_left` and MAX_CALLS no tool is called either: the result says so.
    """
    turn = parse_assistant(text)
    if turn.report is not None:
        return [Step("research", "report", report_round, turn.reasoning, _report(turn.report))]
    if turn.tool_calls and not forced:
        made = sum(s.tool_call is not None for s in steps)
        return _call_steps(turn, toolbox, call_round, made, len(turn.calls) if calls_left is None else calls_left)
    if forced and (body := turn.content.removeprefix("<report>").strip()):
        return [Step("research", "report", report_round, turn.reasoning, _report(body))]
    said = turn.content if not turn.error else text[:MALFORMED_CHARS]  # what is malformed is kept as it was written
    return [Step("research", "toolcall", call_round, "" if turn.error else turn.reasoning, said)]


def _call_steps(turn: Turn, toolbox: Toolbox, round: int, made: int, left: int) -> list[Step]:
    """A step for each call of a turn, the first with what is said before them. What has no name, and so is no call, is a malformed step.
    `made`, `left`: calls before this turn, and until the cap."""
    steps: list[Step] = []
    n = 0  # calls of this turn
    for call in turn.calls:
        first = not steps
        step = Step("research", "toolcall", round, turn.reasoning if first else "", turn.content if first else "", joined=not first)
        if isinstance(call, ToolCall):
            step.tool_call = replace(call, id=f"c{made + n + 1}")
            step.tool_result = _over_limit(step.tool_call, n, left) or toolbox.call(step.tool_call)
            n += 1
        else:
            step.content = f"{step.content}\n<tool_call>\n{call}\n</tool_call>".strip()[:MALFORMED_CHARS]
        steps.append(step)
    return steps


def _over_limit(call: ToolCall, n: int, left: int) -> ToolResult | None:
    """The answer to the n-th call of a turn, from 0, where it is one too many."""
    if n >= left:
        return ToolResult(call.id, False, "error: no tool call is left; write the report", "call_cap")
    if n >= MAX_CALLS:
        return ToolResult(call.id, False, f"error: of one turn only {MAX_CALLS} tool calls are executed; make fewer at a time", "turn_limit")
    return None


def _report(body: str) -> str:
    return f"<report>\n{body.strip()}\n</report>"
