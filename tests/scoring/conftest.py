"""Evaluation tasks of a small generated world, with the trajectories of the scripted expert: shared by the tests of scoring."""

import asyncio
import functools
from dataclasses import dataclass

import pytest

from actors.expert import ExpertEngine
from actors.rollout import Rollout, play
from prstack.evaluation.tasks import Task, make_tasks
from prstack.prompts import Prompts
from prstack.scoring.evidence import Evidence
from prstack.scoring.rubric import RubricScore, score
from prstack.settings import WorldConfig
from prstack.stages.evaluate import NO_MISTAKES
from prstack.tools.toolbox import Toolbox
from prstack.types import Trajectory
from prstack.world.world import World, build

TASKS = 230
"""Tasks that are played; the expert finds a valid product for most of them."""


@dataclass
class Played:
    """A task, and the expert's trajectory on it, which ends with an honest report that solves it."""

    task: Task
    trajectory: Trajectory

    @property
    def report(self) -> str:
        return self.trajectory.reports[-1]

    @functools.cached_property
    def evidence(self) -> Evidence:
        return Evidence.from_steps(self.trajectory.steps)

    @functools.cached_property
    def honest(self) -> float:
        """The score of the honest report."""
        return self.scored(self.report).score

    def scored(self, report: str) -> RubricScore:
        """The score of any report on this trajectory."""
        return score(report, self.task.rubric, self.evidence)


@pytest.fixture(scope="session")
def toolbox(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scoring") / "world"
    build(WorldConfig(users=500, seed=1000, split="evaluation"), folder)
    return Toolbox(folder)


@pytest.fixture(scope="session")
def played(toolbox) -> list[Played]:
    """The tasks whose honest report lists at least one product: there is nothing to solve in the others for this policy."""
    tasks = make_tasks(World.open(toolbox.world.folder), TASKS)

    async def run():
        engine, prompts = ExpertEngine(NO_MISTAKES), Prompts(None)
        return [await play(engine, toolbox, prompts, t.query, Rollout(), id=t.id, seed=0, user_id=t.user_id, rubric=t.rubric) for t in tasks]

    done = [Played(task, t) for task, t in zip(tasks, asyncio.run(run()), strict=True)]
    return [p for p in done if "[P" in p.report]
