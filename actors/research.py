"""The research agent: one turn at a time, over messages and tools alone.

It is stateless: each turn is made from the query and the steps so far, so that a retry needs nothing but the trajectory.
A turn is a plan, a tool call (executed here) or a report, whatever the model's text turns out to be.
"""

from __future__ import annotations

from pathlib import Path

from actors.agent import Agent, derive_seed
from prstack.dialogue.conversation import research_messages
from prstack.dialogue.parse import parse_assistant
from prstack.tools.toolbox import Toolbox
from prstack.types import Step, ToolCall, Usage

PLAN_TOKENS, REPORT_TOKENS = 256, 640
MALFORMED_CHARS = 2000


class ResearchAgent(Agent):
    role = "research"

    def __init__(self, pool, world_folder: str | Path, prompts_folder: str | None = None):
        super().__init__(pool, prompts_folder)
        self.toolbox = Toolbox(Path(world_folder))

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
        options = {"tools": self.toolbox.schemas, "tool_choice": "none" if forced else "auto", "max_tokens": REPORT_TOKENS}
        if forced:
            options["report"] = "required"
        task = "report" if forced else "act"
        done = await self.ask(task, messages, usage, episode=episode, seed=derive_seed(seed, "research", len(steps)), **options)
        turn = parse_assistant(done.text)
        if turn.report is not None:
            return Step("research", "report", report_round, turn.reasoning, f"<report>\n{turn.report.strip()}\n</report>"), usage
        if turn.tool_call is not None and not forced:
            call = ToolCall(f"c{sum(s.tool_call is not None for s in steps) + 1}", turn.tool_call.name, turn.tool_call.arguments)
            return Step("research", "toolcall", call_round, turn.reasoning, turn.content, call, self.toolbox.call(call)), usage
        if forced and turn.content:
            return Step("research", "report", report_round, turn.reasoning, f"<report>\n{turn.content.strip()}\n</report>"), usage
        said = turn.content if not turn.error else done.text[:MALFORMED_CHARS]  # what is malformed is kept as it was written
        return Step("research", "toolcall", call_round, "" if turn.error else turn.reasoning, said), usage
