"""Supervised moments: a trajectory up to the step that a supervisor is shown.

1. The expert plays episodes with its mistakes turned off, before a supervisor that takes everything: what the moments are does not depend
   on the supervisor under test.
2. Every step of the research agent is a clean moment. Left out and counted are tool calls that show nothing and reports that recommend
   nothing: whether they are faults is a matter of taste.
3. A mutant is a moment whose last step was changed; earlier steps may have been added, so that what the step relies on was really shown.

What stands in plans, pages and reports is read here by patterns of this package's own.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from actors.agent import derive_seed
from actors.expert import ExpertEngine
from actors.research import ResearchAgent
from actors.supervisor import Episode, SupervisorAgent
from actors.user import UserAgent
from benchmarks.supervision.engines import Approving, Roles
from prstack.settings import AgentsConfig, WorldConfig
from prstack.tools.toolbox import Toolbox
from prstack.types import Product, State, Step, ToolCall, Trajectory
from prstack.world.world import World, build

PRODUCTS = 600
"""Products of a world; a category of the generated world then has about forty."""
_FAULTLESS = {"vague_plan": 0.0, "malformed_call": 0.0, "duplicate_call": 0.0, "unsupported_claim": 0.0, "missed_constraint": 0.0}


@dataclass(slots=True)
class Moment:
    """`trajectory` ends with the step that is checked. `kind`: what was done to it (`benchmarks.supervision.kinds`), empty for a clean
    one; `why`: the fact that makes it wrong, in words."""

    trajectory: Trajectory
    shop: Shop
    kind: str = ""
    why: str = ""

    @property
    def step(self) -> Step:
        return self.trajectory.steps[-1]

    @property
    def state(self) -> State:
        return self.step.state

    def earlier(self, *tools: str) -> list[Step]:
        """Earlier steps whose call worked, of all tools or of these."""
        return [s for s in self.trajectory.steps[:-1] if s.tool_result and s.tool_result.ok and (not tools or s.tool_call.name in tools)]

    def shown(self) -> str:
        """The texts of all earlier results."""
        return "\n".join(s.tool_result.text for s in self.earlier())

    def changed(self, why: str, step: Step, before: list[Step] | None = None) -> Moment:
        """The moment with another last step, behind `before`, which are added."""
        steps = [*self.trajectory.steps[:-1], *(before or []), step]
        return Moment(replace(self.trajectory, steps=steps), self.shop, self.kind, why)

    def said(self, why: str, content: str, before: list[Step] | None = None) -> Moment:
        """The moment with another text in its last step."""
        return self.changed(why, replace(self.step, content=content), before)

    def called(self, why: str, name: str, arguments: dict | str) -> Moment:
        """The moment with another call in its last step, and what the tool really answers to it."""
        return self.changed(why, self.shop.step(name, arguments, self.step.round))


class Shop:
    """The world behind the moments, which no supervisor sees: records, and the tools' real answers."""

    def __init__(self, folder: Path):
        self.toolbox = Toolbox(folder)
        self.world = self.toolbox.world

    def step(self, name: str, arguments: dict | str, round: int = 0) -> Step:
        """A research step that calls a tool."""
        call = ToolCall("c0", name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))
        return Step("research", "toolcall", round, tool_call=call, tool_result=self.toolbox.call(call))

    def visit(self, product_id: str) -> Step:
        return self.step("visit_product", {"product_id": product_id})

    def of(self, category: str) -> list[Product]:
        return self.world.by_category(category)

    def others(self, category: str) -> list[str]:
        """The other categories."""
        return [c for c in self.world.categories() if c != category]


def clean_moments(difficulty: str, episodes: int, seed: int, folder: Path, products: int = PRODUCTS) -> tuple[list[Moment], Counter[str]]:
    """Moments of as many episodes in a generated world made in `folder`, and how many were left out for which reason."""
    build(WorldConfig(products=products, users=2 * episodes, seed=seed, difficulty=difficulty, split="all"), folder)
    pool, limits, shop = Roles(ExpertEngine(_FAULTLESS), supervisor=Approving()), AgentsConfig(), Shop(folder)
    supervisor = SupervisorAgent(pool, UserAgent(pool, folder, limits), ResearchAgent(pool, folder, limits), limits, {}, "generated")
    histories = sorted(World.open(folder).histories(), key=lambda h: h.user_id)[:episodes]

    async def play() -> list[Trajectory]:
        return [await supervisor.run(Episode(f"{difficulty}-{n}", h, derive_seed(seed, n))) for n, h in enumerate(histories)]

    moments, left_out = [], Counter()
    for t in asyncio.run(play()):
        steps: list[Step] = []
        for step in t.steps:
            if step.role != "research":
                continue
            steps.append(step)
            if reason := _doubtful(step):
                left_out[reason] += 1
            else:
                moments.append(Moment(replace(t, steps=list(steps), reports=[], scores=[], usage=[replace(u) for u in t.usage]), shop))
        if t.termination == "error":
            left_out["episodes without a task"] += 1
    return moments, left_out


def _doubtful(step: Step) -> str:
    """Why a moment is neither clean nor wrong; empty for a clean one."""
    if step.tool_result is not None and (not step.tool_result.ok or step.tool_result.text.startswith("0 results")):
        return "calls that show nothing"
    if step.state == "report" and "[" not in step.content:
        return "reports that recommend nothing"
    return ""
