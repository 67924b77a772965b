"""Episodes of the same tasks and seeds, before supervisors that differ.

- `supervised`: the expert checks every step and says what is wrong.
- `silent`: the expert decides, and the agent is told that its step needs correcting, but not why. What is left of the gain here is that of trying again.
- `ignored`: everything is approved. This is the agent without a supervisor, in the same conversation: up to its first fault it makes the
  same steps from the same seeds, and its first report is its last.
- `alone`: the rollout of evaluation (`actors.rollout`), whose conversation is the one that students are trained on.

The user's part is done once: every arm and every error rate gets the same queries and rubrics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from actors.agent import derive_seed
from actors.expert import ExpertEngine
from actors.research import ResearchAgent
from actors.rollout import Rollout, play
from actors.supervisor import Episode, SupervisorAgent
from actors.user import Prepared, UserAgent
from benchmarks.supervision.engines import Approving, Roles, Silent
from prstack.prompts import Prompts
from prstack.scoring.gate import Task
from prstack.settings import AgentsConfig
from prstack.tools.toolbox import Toolbox
from prstack.types import History, Trajectory
from prstack.world.world import World

SUPERVISED, SILENT, IGNORED, ALONE = "supervised", "silent", "ignored", "alone"
Tasks = Mapping[str, Task]
"""Episode id → its task."""
Done = Callable[[Trajectory], None]


class Given:
    """A user agent whose tasks are there already."""

    def __init__(self, tasks: Tasks):
        self.tasks = tasks

    async def prepare(self, history: History, episode: str, seed: int) -> Prepared:
        return Prepared(self.tasks[episode], "")


def supervisor_of(arm: str) -> Any:
    """The engine that supervises in an arm. Raises KeyError for one that has no supervisor."""
    expert = ExpertEngine()
    return {SUPERVISED: expert, SILENT: Silent(expert), IGNORED: Approving()}[arm]


async def prepare(folder: Path, episodes: int, seed: int, limits: AgentsConfig) -> tuple[dict[str, Task], int]:
    """Tasks that the expert makes of the world's histories, in the order of their users, and how many the gate rejected on the way."""
    user, tasks, rejected = UserAgent(ExpertEngine(), folder, limits), {}, 0
    for n, history in enumerate(sorted(World.open(folder).histories(), key=lambda h: h.user_id)):
        if len(tasks) == episodes:
            break
        made = await user.prepare(history, f"e{n}", derive_seed(seed, n))
        if made.task is None:
            rejected += 1
        else:
            tasks[f"e{n}"] = made.task
    return tasks, rejected


async def play_arm(
    arm: str, research: Any, folder: Path, tasks: Tasks, limits: AgentsConfig, seed: int, concurrency: int = 1, done: Done | None = None
) -> list[Trajectory]:
    """A trajectory of each task before the supervisor of an arm. `research`: the engine of the research agent; `done` is told each as it ends."""
    pool = Roles(research, supervisor=supervisor_of(arm))
    supervisor = SupervisorAgent(pool, Given(tasks), ResearchAgent(pool, folder, limits), limits, {}, "generated")
    return await _all(arm, list(tasks), concurrency, lambda id: supervisor.run(Episode(id, History(id, []), derive_seed(seed, id))), done)


async def play_alone(
    research: Any,
    folder: Path,
    tasks: Tasks,
    limits: AgentsConfig,
    seed: int,
    constrained: bool,
    temperature: float | None = None,
    concurrency: int = 1,
    done: Done | None = None,
) -> list[Trajectory]:
    """A trajectory of each task without supervisor, plan request and corrections; calls and tokens are limited as in the other arms."""
    settings = Rollout(limits.max_tool_calls, limits.max_tool_calls + 4, limits.tokens.turn, temperature, constrained)
    toolbox, prompts = Toolbox(folder), Prompts(limits.prompts)

    def one(id: str) -> Awaitable[Trajectory]:
        return play(research, toolbox, prompts, tasks[id].query, settings, id=id, seed=derive_seed(seed, id), rubric=tasks[id].rubric)

    return await _all(ALONE if constrained else f"{ALONE}, free", list(tasks), concurrency, one, done)


async def _all(name: str, ids: Sequence[str], concurrency: int, run: Callable[[str], Awaitable[Trajectory]], done: Done | None) -> list[Trajectory]:
    room = asyncio.Semaphore(concurrency)
    with tqdm(total=len(ids), desc=name, unit=" episodes", mininterval=1.0) as bar:

        async def one(id: str) -> Trajectory:
            async with room:
                t = await run(id)
            if done:
                done(t)
            bar.update()
            return t

        return list(await asyncio.gather(*map(one, ids)))
