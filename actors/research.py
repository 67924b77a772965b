"""The research agent: one turn at a time, over messages and tools alone.

It is stateless: each turn is made from the query and the steps so far, so that a retry needs nothing but the trajectory.
A turn is a plan, a tool call (executed here) or a report, whatever the model's text turns out to be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from actors.agent import Agent, derive_seed
from prstack.dialogue.conversation import research_messages
from prstack.dialogue.parse import parse_assistant
from prstack.settings import WebConfig
from prstack.tools import own
from prstack.tools.live import LiveWeb
from prstack.tools.toolbox import Toolbox
from prstack.types import Step, ToolCall, Usage

PLAN_TOKENS, REPORT_TOKENS = 256, 640
MALFORMED_CHARS = 2000


class ResearchAgent(Agent):
    role = "research"

    def __init__(self, pool, world_folder: str | Path, prompts_folder: str | None = None, extra_tools: Sequence[str] = (), web: WebConfig | None = None):
        super().__init__(pool, prompts_folder)
        self.toolbox = Toolbox(Path(world_folder), own=own.load(extra_tools), web=LiveWeb.from_config(web) if web else None)

    async def plan(self, query: str, steps: list[Step], round: int, episode: str, seed: int) -> tuple[Step, Usage]:
        """A plan, or a better one after a correction."""
        usage = Usage("research")
        messages = research_messages(query, steps, self.prompts)
        options = {"tools": self.toolbox.schemas, "tool_choice": "none", "report": "none", "max_tokens": PLAN_TOKENS}
        done = await self.ask("plan", messages, usage, episode=episode, seed=derive_seed(seed, "research", len(steps)), **options)
        turn = parse_assistant(done.text)
        return Step("research", "plan", round, turn.reasoning, turn.content or turn.report or ""), usage

    async def act(self, query: str, steps: list[Step], call_round: int, report_round: int, forced: bool, episode: str, seed: int) -> tuple[Step, Usage]:
        """A tool call with its result, a report, or (malformed) neither: state `toolcall` without a call.

        `forced`: no more tools, write the report. Raises actors.engine.EngineError.
        """
        usage = Usage("research")
        messages = research_messages(query, steps, self.prompts, forced)
        task, options = act_options(self.toolbox, forced)
        done = await self.ask(task, messages, usage, episode=episode, seed=derive_seed(seed, "research", len(steps)), max_tokens=REPORT_TOKENS, **options)
        return await take_step(done.text, steps, self.toolbox, forced, call_round, report_round), usage


def act_options(toolbox: Toolbox, forced: bool) -> tuple[str, dict]:
    """The task of a turn after the plan, and what its request allows: a tool call or a report, `forced` the report alone."""
    if forced:
        return "report", {"tools": toolbox.schemas, "tool_choice": "none", "report": "required"}
    return "act", {"tools": toolbox.schemas, "tool_choice": "auto"}


async def take_step(text: str, steps: list[Step], toolbox: Toolbox, *args: object) -> Step:
    """`read_step`, in a thread of its own where a tool may wait for others, so that other episodes go on meanwhile."""
    return await asyncio.to_thread(read_step, text, steps, toolbox, *args) if toolbox.waits else read_step(text, steps, toolbox, *args)


def read_step(text: str, steps: list[Step], toolbox: Toolbox, forced: bool = False, call_round: int = 0, report_round: int = 0) -> Step:
    """What the agent wrote after `steps`, as its next step: a tool call, executed here, a report, or (malformed) neither.

    `forced`: a report was asked for, so any text is one and no tool is called. A malformed step has state `toolcall` and no
    call.
    """
    turn = parse_assistant(text)
    if turn.report is not None:
        return Step("research", "report", report_round, turn.reasoning, _report(turn.report))
    if turn.tool_call is not None and not forced:
        call = ToolCall(f"c{sum(s.tool_call is not None for s in steps) + 1}", turn.tool_call.name, turn.tool_call.arguments)
        return Step("research", "toolcall", call_round, turn.reasoning, turn.content, call, toolbox.call(call))
    if forced and (body := turn.content.removeprefix("<report>").strip()):
        return Step("research", "report", report_round, turn.reasoning, _report(body))
    said = turn.content if not turn.error else text[:MALFORMED_CHARS]  # what is malformed is kept as it was written
    return Step("research", "toolcall", call_round, "" if turn.error else turn.reasoning, said)


def _report(body: str) -> str:
    return f"<report>\n{body.strip()}\n</report>"
