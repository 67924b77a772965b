"""The environment tells agents apart at each difficulty: hits by lot, first hits, and the expert, on the same held-out tasks."""

import asyncio

import pytest

from actors.expert import ExpertEngine
from actors.rollout import Rollout, play
from prstack.evaluation.bootstrap import paired
from prstack.evaluation.controls import CONTROLS
from prstack.evaluation.metrics import measure
from prstack.evaluation.tasks import make_tasks
from prstack.prompts import Prompts
from prstack.settings import WorldConfig
from prstack.stages.evaluate import NO_MISTAKES
from prstack.tools.toolbox import Toolbox
from prstack.world.world import World, build

TASKS = 60


async def _expert(toolbox, tasks):
    engine, prompts = ExpertEngine(NO_MISTAKES), Prompts(None)
    return [await play(engine, toolbox, prompts, t.query, Rollout(), id=t.id, seed=0, user_id=t.user_id, rubric=t.rubric) for t in tasks]


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_lot_first_hits_and_expert_are_clearly_apart(difficulty, tmp_path):
    build(WorldConfig(users=200, seed=1000, split="evaluation", difficulty=difficulty), tmp_path / "w")
    toolbox = Toolbox(tmp_path / "w")
    tasks = make_tasks(World.open(tmp_path / "w"), TASKS)
    had = {name: [control(toolbox, t) for t in tasks] for name, control in CONTROLS.items()} | {"expert": asyncio.run(_expert(toolbox, tasks))}
    scores = {name: [measure(t, task.truth) for t, task in zip(ts, tasks, strict=True)] for name, ts in had.items()}

    def apart(metric, better, worse):
        return paired([getattr(m, metric) for m in scores[better]], [getattr(m, metric) for m in scores[worse]]).low

    assert apart("score", "expert", "no_check") > 0.3 and apart("score", "expert", "random_pick") > 0.3
    if difficulty != "hard":  # there, praise in titles draws a search to the wrong products
        assert apart("score", "no_check", "random_pick") > 0.05
    # That first hits are hardly better picks than hits by lot is the point of the environment: a search decides nothing.
    least = {"easy": 0.2, "medium": 0.2, "hard": 0.12}[difficulty]
    assert apart("precision_at_k", "expert", "no_check") > least and apart("precision_at_k", "expert", "random_pick") > least
    assert sum(m.score for m in scores["expert"]) / TASKS > {"easy": 0.9, "medium": 0.85, "hard": 0.75}[difficulty]
    assert sum(m.invalid_listed for m in scores["expert"]) == 0
