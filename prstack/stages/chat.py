"""`prstack chat [RUN]`: talking to a model as the shopping agent, with live tools over the run's world."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from actors import rollout
from actors.agent import short_hash
from actors.engine import EngineError
from actors.expert import ExpertEngine
from actors.vllm_engine import VLLMEngine
from prstack.errors import UserError
from prstack.prompts import Prompts
from prstack.report.tables import clean, make_console, shown_path
from prstack.report.terminal import step_view
from prstack.scoring.report import report_body
from prstack.settings import Config, MistakesConfig
from prstack.stages.models import resolve_model
from prstack.store.rundir import RunDir
from prstack.tools import own
from prstack.tools.live import LiveWeb
from prstack.tools.toolbox import Toolbox
from prstack.types import Step, Trajectory

EXPERT = "expert"
PROMPT = "you> "
RESULT_LINES, LINE_CHARS = 6, 160
"""What is shown of a tool result; the model sees all of it."""


def chat(config: Config, targets: list[str]) -> int:
    """Answers `chat.query`, or one question a line until the input ends. Returns 1 when `chat.query` got no report.

    A run is `targets[0]`, run_dir or the latest one. Raises UserError for a run without a world and for a model that is not
    there.
    """
    run = RunDir.find(targets[0] if targets else None, config.run_dir, config.runs)
    if run is None:
        raise UserError(f"there is no run under {config.runs}/ yet; `prstack world` makes one to shop in, or name a run: prstack chat RUN")
    toolbox, model = Toolbox(run / "world", own=own.load(config.tools.extra), web=LiveWeb.from_config(config.web)), _model(config, run)
    with asyncio.Runner() as runner, _engine(config, model, runner) as engine:
        talk = Chat(config, engine, toolbox, make_console(), remembers=model != EXPERT)
        if config.chat.query:
            return 0 if talk.answer(runner, config.chat.query) else 1
        talk.console.print(f"Talking to {model}. /new starts a new conversation, exit ends.", style="dim", markup=False, soft_wrap=True)
        for line in _lines(talk.console):
            if line in ("exit", "quit"):
                break
            if line == "/new":
                talk.history.clear()
            elif line:
                talk.answer(runner, line)
    return 0


@dataclass(slots=True)
class Chat:
    """A conversation: questions with their turns, tool results and reports.

    A question that got no report leaves nothing in `history`. The scripted expert hears one question only, so that with it
    every question begins anew (`remembers` is false).
    """

    config: Config
    engine: Any
    toolbox: Toolbox
    console: Console
    remembers: bool = True
    history: list[dict] = field(default_factory=list)
    asked: int = 0

    def answer(self, runner: asyncio.Runner, query: str) -> bool:
        """Answers a question, showing every step; returns whether a report came. Ctrl-C stops the answer, not the chat."""
        t = runner.run(self._play(query))
        if t is None:
            self.console.print("stopped", style="yellow")
            return False
        if t.detail or not t.reports:
            self.console.print(clean(f"{'' if t.reports else 'no report: '}{t.termination} ({t.detail})", style="yellow"))
        if t.termination == "max_tokens":
            self.console.print("The conversation is too long for the model; /new starts a new one.", style="yellow")
        used, calls = t.usage[0], sum(s.tool_call is not None for s in t.steps)
        self.console.print(f"{calls} tool calls, {used.completion_tokens:,} tokens written, {used.seconds:.1f} s", style="dim")
        return bool(t.reports)

    async def _play(self, query: str) -> Trajectory | None:
        """The answer's trajectory; None when it was stopped by Ctrl-C, which the runner turns into a cancellation."""
        c = self.config.chat
        settings = rollout.Rollout(max_tool_calls=c.max_tool_calls, max_turns=c.max_tool_calls + 8, temperature=c.temperature, constrained=c.constrained)
        prompts = Prompts(self.config.agents.prompts)
        self.asked += 1
        try:
            with suppress(EngineError):  # brings back an engine that died; one that cannot come back says so in the episode
                await self.engine.ready()
            t = await rollout.play(
                self.engine,
                self.toolbox,
                prompts,
                query,
                settings,
                id=short_hash("chat", self.asked, query),
                seed=self.config.seed,
                on_step=self._show,
                history=self.history,
            )
        except asyncio.CancelledError:
            return None
        if t.reports and self.remembers:
            self.history = rollout.messages(query, t.steps, prompts, self.history, t.termination == "max_tool_calls")[1:]
        return t

    def _show(self, step: Step) -> None:
        if step.state == "report":
            step = replace(step, content=report_body(step.content))
        elif step.tool_result:
            step = replace(step, tool_result=replace(step.tool_result, text=_shortened(step.tool_result.text)))
        self.console.print(step_view(step))
        if step.state != "report" and step.tool_call is None:
            self.console.print("(neither a tool call nor a report)", style="yellow")


def _model(config: Config, run: Path) -> str:
    """The name of the model to talk to: `chat.model`, else what the run trained. Raises UserError."""
    if config.chat.model:
        return config.chat.model
    trained = run / "sft" / "model"
    if not trained.is_dir():
        raise UserError(f"{shown_path(run)}: no model was trained here; train one with `prstack sft`, or give chat.model=, a folder or name of a model, or expert")
    return str(trained)


@contextmanager
def _engine(config: Config, model: str, runner: asyncio.Runner) -> Iterator[Any]:
    """The engine that answers, in this process and on the runner's loop; shut down with the block."""
    engine = ExpertEngine(asdict(MistakesConfig(0, 0, 0, 0, 0))) if model == EXPERT else runner.run(serve_here(config, model))
    try:
        yield engine
    finally:
        runner.run(engine.shutdown())


async def serve_here(config: Config, model: str) -> VLLMEngine:
    """A checkpoint in vLLM in this process, with no more context than it was made for. Raises UserError."""
    folder = resolve_model(model)
    longest = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings")
    length = min(config.engine.max_model_len, longest or config.engine.max_model_len)
    return VLLMEngine(replace(config.engine, name="vllm", model=model, max_model_len=length), folder)


def _lines(console: Console) -> Iterator[str]:
    """Lines of standard input, stripped; from a pipe or file they are shown as if they had been typed. Ctrl-C ends them."""
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    typed = sys.stdin.isatty()
    while True:
        try:
            line = input(PROMPT) if typed else sys.stdin.readline()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        if not typed:
            if not line:
                return
            console.print(clean(PROMPT + line.strip()))
        yield line.strip()


def _shortened(text: str) -> str:
    """The beginning of a tool result, for the eye."""
    lines = text.splitlines()
    shown = [line if len(line) <= LINE_CHARS else f"{line[:LINE_CHARS]}…" for line in lines[:RESULT_LINES]]
    return "\n".join([*shown, f"… {len(lines) - RESULT_LINES} more lines"] if len(lines) > RESULT_LINES else shown)
