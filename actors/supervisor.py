"""The supervisor agent: checks plan, tool calls and report, and owns the episode's append-only trajectory.

    plan ──approve / rounds spent──► toolcall ◄──┐ approve, or revise with rounds left
      ▲ revise                          │ report  │
      └──┘                              ▼         │
                                      report ─revise: rewrite, or search on─┘
                                        │ approve → `approved`;  rounds spent → `max_rounds`
At the cap of tool calls the report is forced; if it is not approved, the episode ends with `max_tool_calls`. Tokens and
time end an episode wherever it is (`max_tokens`, `time`), an engine that gives up ends it with `error`; what was done until
then stays in the trajectory. Every report is on record with its score, and every verdict with its reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from actors.agent import Agent, derive_seed
from actors.best_of import best
from actors.engine import EngineError
from actors.user import Prepared
from prstack.dialogue.parse import format_assistant
from prstack.prompts import replies
from prstack.scoring.evidence import Evidence
from prstack.scoring.report import PRODUCT_ID, parse_report
from prstack.settings import AgentsConfig
from prstack.tools import results
from prstack.types import History, Persona, State, Step, Trajectory, Usage, Verdict, VerdictItem
from prstack.world.units import money

log = logging.getLogger(__name__)

RESULT_CHARS = 2500
"""What the supervisor sees of one tool result."""


@dataclass(slots=True)
class Episode:
    """What an episode starts from."""

    id: str
    history: History
    seed: int


class _Stop(Exception):
    def __init__(self, termination: str, detail: str = ""):
        self.termination, self.detail = termination, detail


class SupervisorAgent(Agent):
    """`user` and `research` are the other roles, with the async methods of UserAgent and ResearchAgent."""

    role = "supervisor"

    def __init__(self, pool, user, research, limits: AgentsConfig, engines: dict[str, str], world: str):
        super().__init__(pool, limits.prompts)
        self.user, self.research, self.limits = user, research, limits
        self.engines, self.world = engines, world

    async def run(self, episode: Episode) -> Trajectory:
        """Plays an episode to its end. Whatever the engines do, a trajectory with a termination reason comes back."""
        t = Trajectory(
            id=episode.id,
            user_id=episode.history.user_id,
            seed=episode.seed,
            persona=Persona("", "", []),
            query="",
            rubric=[],
            steps=[],
            reports=[],
            scores=[],
            termination="error",
            usage=[Usage("user"), Usage("research"), Usage("supervisor")],
            engines=self.engines,
            prompt_version=self.prompts.version,
            world=self.world,
        )
        try:
            async with asyncio.timeout(self.limits.max_seconds):
                await self._play(t, episode)
        except TimeoutError:
            t.termination, t.detail = "time", f"more than {self.limits.max_seconds:g} s"
        except EngineError as e:
            t.termination = "max_tokens" if e.kind == "context" else "error"
            t.detail = str(e)
        except _Stop as stop:
            t.termination, t.detail = stop.termination, stop.detail or t.detail
        except Exception as e:
            # One episode's defect must not end a run of thousands: it stays on record, with its traceback in the log.
            log.exception("episode %s", t.id)
            t.termination, t.detail = "error", f"{type(e).__name__}: {e}"
        return t

    async def _play(self, t: Trajectory, episode: Episode) -> None:
        prepared: Prepared = await self.user.prepare(episode.history, t.id, episode.seed)
        _add(t, prepared.usage)
        t.detail = prepared.detail
        if prepared.task is None:
            raise _Stop("error", prepared.detail)
        t.persona, t.query, t.rubric = prepared.task.persona, prepared.task.query, prepared.task.rubric
        await self._plan(t)
        failed, force = 0, False  # corrections in a row; whether the last of them showed no action at all
        while True:
            forced = force or self._at_call_cap(t)
            left = self.limits.max_tool_calls - self._calls(t)
            steps, usage = await self.research.act(t.query, t.steps, failed, len(t.reports), forced, t.id, t.seed, calls_left=left)
            if steps[0].state == "report":
                await self._report(t, steps[0], usage, forced)
                failed, force = 0, False
                continue
            for step in steps:  # the calls of one turn: all are made already, and each is checked by itself
                self._append(t, step, usage)
                usage = Usage("research")
                if forced:
                    raise _Stop(self._end(t), "no report came when it was asked for")
                elif (await self.check(t, "toolcall", step)).decision == "approve":
                    failed = 0
                else:
                    failed += 1
                    if failed > self.limits.max_call_rounds:
                        failed, force = 0, step.tool_call is None

    async def _plan(self, t: Trajectory) -> None:
        for round in range(self.limits.max_plan_rounds):
            step, usage = await self.research.plan(t.query, t.steps, round, t.id, t.seed)
            self._append(t, step, usage)
            if (await self.check(t, "plan", step)).decision == "approve":
                return

    async def _report(self, t: Trajectory, step: Step, usage: Usage, forced: bool) -> None:
        """Appends a report, or the best of its draws, with its score; stops the episode when it is approved or the last one."""
        others, failed = await self._draw_on(t, forced)
        step, points = best([step, *others], t.steps, t.rubric)
        t.reports.append(step.content)
        t.scores.append(points)
        self._append(t, step, usage)
        if failed:
            raise failed
        if (await self.check(t, "report", step)).decision == "approve":
            raise _Stop("approved")
        if len(t.reports) >= self.limits.max_report_rounds:
            raise _Stop(self._end(t))

    async def _draw_on(self, t: Trajectory, forced: bool) -> tuple[list[Step], BaseException | None]:
        """The further draws of a report that `best_of` asks for, and the first error among them; what they used is counted."""
        asked = [self.research.act(t.query, t.steps, 0, len(t.reports), forced, t.id, t.seed, n) for n in range(1, self.limits.best_of)]
        try:
            drawn = await asyncio.gather(*asked, return_exceptions=True)
        except asyncio.CancelledError as e:  # time is up: the report that is there goes on record first
            return [], e
        came = [d for d in drawn if not isinstance(d, BaseException)]
        for _, usage in came:
            _add(t, usage)
        return [step for steps, _ in came for step in steps if step.state == "report"], next((d for d in drawn if isinstance(d, BaseException)), None)

    async def check(self, t: Trajectory, state: State, step: Step) -> Verdict:
        """Asks for a verdict on the last research step of a trajectory and appends it."""
        text = {"plan": self._plan_prompt, "toolcall": self._call_prompt, "report": self._report_prompt}[state](t, step)
        usage = Usage("supervisor")
        done = await self.ask(
            f"check_{state}",
            [{"role": "user", "content": text}],
            usage,
            episode=t.id,
            seed=derive_seed(t.seed, "supervisor", len(t.steps)),
            schema=replies.verdict_schema(state),
            max_tokens=self.limits.tokens.verdict,
        )
        verdict = read_verdict(done.text, state)
        self._append(t, Step("supervisor", state, step.round, verdict=verdict), usage)
        return verdict

    def _plan_prompt(self, t: Trajectory, step: Step) -> str:
        return self.prompts.render("supervisor_check_plan", query=t.query, plan=step.content, rubric=[asdict(i) for i in t.rubric])

    def _call_prompt(self, t: Trajectory, step: Step) -> str:
        earlier = [f"{s.tool_call.name} {s.tool_call.arguments}" for s in t.steps[:-1] if s.tool_call and s.tool_result and s.tool_result.ok]
        call = format_assistant("", step.content, step.tool_call)
        result = step.tool_result.text[:RESULT_CHARS] if step.tool_result else "(no tool was called)"
        return self.prompts.render("supervisor_check_toolcall", query=t.query, earlier=earlier, shown=shown_products(t.steps[:-1]), call=call, result=result)

    def _report_prompt(self, t: Trajectory, step: Step) -> str:
        """The sources are the pages of pitched products, and the searches that listed them."""
        pitched = set(parse_report(step.content).product_ids)
        sources = []
        for s in t.steps:
            if s.tool_result and s.tool_result.ok:
                seen = Evidence.from_texts([s.tool_result.text])
                if seen.seen_ids & pitched:
                    sources.append(s.tool_result.text[:RESULT_CHARS])
        return self.prompts.render("supervisor_check_report", query=t.query, rubric=[asdict(i) for i in t.rubric], report=step.content, evidence=sources)

    def _append(self, t: Trajectory, step: Step, usage: Usage) -> None:
        t.steps.append(step)
        _add(t, usage)
        if sum(u.completion_tokens for u in t.usage) > self.limits.max_tokens:
            raise _Stop("max_tokens", f"more than {self.limits.max_tokens} completion tokens")

    def _at_call_cap(self, t: Trajectory) -> bool:
        return self._calls(t) >= self.limits.max_tool_calls

    def _calls(self, t: Trajectory) -> int:
        return sum(s.tool_call is not None for s in t.steps)

    def _end(self, t: Trajectory) -> str:
        """Why an episode without an approved report ends."""
        return "max_tool_calls" if self._at_call_cap(t) else "max_rounds"


def shown_products(steps: Iterable[Step]) -> list[str]:
    """The products that results have shown, a line for each category: "Blenders: P1225 ($63.00), P1267 (no price)".

    What a product's page names as related or as a variant is of its category. Ids that stand in other texts come last, under "mentioned".
    """
    found: dict[str, dict[str, str]] = {}
    mentioned: dict[str, None] = {}
    for text in (s.tool_result.text for s in steps if s.tool_result and s.tool_result.ok):
        if page := results.parse_product(text):
            beside = [*page.related, *((v.id, v.price) for v in page.variants)]
            products = [(id, page.category, price, page.currency) for id, price in [(page.id, page.price), *beside]]
        else:
            products = [(h.id, h.category, h.price, h.currency) for h in results.parse_search(text)]
        for id, category, price, code in products:
            found.setdefault(category, {}).setdefault(id, money(price, code) if price is not None else "no price")
        if not products:
            mentioned |= dict.fromkeys(PRODUCT_ID.findall(text))
    lines = [f"{category}: {', '.join(f'{id} ({price})' for id, price in ids.items())}" for category, ids in found.items()]
    known = {id for ids in found.values() for id in ids}
    rest = [id for id in mentioned if id not in known]
    return [*lines, f"mentioned: {', '.join(rest)}"] if rest else lines


def read_verdict(text: str, state: State) -> Verdict:
    """A verdict from a reply; one that cannot be read is `revise` with that reason, so that nothing passes unchecked."""
    reply = replies.read_json(text) or {}
    decision = reply.get("decision")
    if decision not in ("approve", "revise"):
        return Verdict("revise", "The check gave no readable verdict.", [])
    items = [
        VerdictItem(str(i.get("kind", "")), i.get("ok") is True, str(i.get("reason", "")))
        for i in reply.get("items", [])
        if isinstance(i, dict) and i.get("kind") in replies.VERDICT_KINDS[state]
    ]
    number = reply.get("score")
    valid = state == "report" and isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number <= 1
    return Verdict(decision, str(reply.get("reason", "")), items, float(number) if valid else None)


def _add(t: Trajectory, used: Usage) -> None:
    total = next(u for u in t.usage if u.role == used.role)
    total.prompt_tokens += used.prompt_tokens
    total.completion_tokens += used.completion_tokens
    total.calls += used.calls
    total.seconds = round(total.seconds + used.seconds, 3)
