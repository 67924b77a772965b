"""Queries at play for `prstack rl`, over an engine in this process: what is kept, replaced, written down and refused."""

import asyncio
import json
from contextlib import contextmanager

import pytest

from actors.engine import Sample
from actors.policy import PolicyPool
from actors.router import EnginePool
from prstack.dialogue.render import Renderer
from prstack.errors import UserError
from prstack.prompts import Prompts
from prstack.rl.samples import read_rollouts
from prstack.scoring.reward import reward
from prstack.settings import WorldConfig
from prstack.stages.models import resolve_model
from prstack.stages.rl import training_tasks
from prstack.stages.rl_rollouts import Players
from prstack.tools.toolbox import Toolbox
from prstack.world.world import World, build
from tests.actors.test_policy import Scripted
from tests.stages.rl_common import REWARDED, configured


class Lot(Scripted):
    """Reports of which one earns more than the other, by the seed; always the same one where `flat` says so of the prompt."""

    def __init__(self, renderer, flat=lambda prompts: False, version="initial"):
        super().__init__(renderer, "<report>\neee\n</report>", "<report>\nxxx\n</report>")
        self.flat, self.version = flat, version

    async def generate(self, token_ids, sampling):
        self.prompts.append(list(token_ids))
        text = self.texts[0 if self.flat(len(self.prompts)) else sampling.seed % 2]
        ids = [*self.renderer.encode_text(text), self.renderer.end_of_turn_id]
        return Sample(ids, [-0.5] * len(ids), "stop", self.version)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    build(WorldConfig(products=300, users=40), folder)
    return World.open(folder)


@contextmanager
def at_play(world, folder, engine, *overrides):
    config = configured(*REWARDED, "rl.queries=3", "rl.group=4", "rl.refills=1", *overrides)
    tasks, prompts = training_tasks(config, world), Prompts()
    with asyncio.Runner() as runner:
        policy = PolicyPool(EnginePool([engine]), engine.renderer, 4096)
        yield Players(config, tasks, policy, Toolbox(world.folder), prompts, runner, folder)
        runner.run(policy.pool.close())


def test_an_update_plays_queries_of_training_and_writes_all_of_them_down(world, tmp_path):
    renderer = Renderer(resolve_model("world-9m"))
    with at_play(world, tmp_path, Lot(renderer)) as source:
        assert all(t.slice == "seen combination" for t in source.tasks)
        groups, said = source.rollouts(1)
        asked = source.position
        again, _ = source.rollouts(2)
        (first, second) = read_rollouts(tmp_path)
        assert len(first) == 4 * asked == said["episodes"] and {r.update for r in second} == {2}
        assert {r.id for g in groups for r in g.rollouts} == {r.id for r in first if r.used} and not {r.task for r in first} & {r.task for r in second}
        for g in [*groups, *again]:
            assert len(g.rollouts) == 4 and not g.flat and sum(r.advantage for r in g.rollouts) == pytest.approx(0, abs=1e-6)
        r = first[0]
        assert r.reward == pytest.approx(reward(r.trajectory, r.trajectory.rubric, configured(*REWARDED).reward).total) and r.terms["errors"] == 0
        assert r.trajectory.rubric and r.trajectory.persona.category and r.outcome == "finished" and len(r.trajectory.steps[0].token_ids) > 100
        state = json.loads(json.dumps(source.state()))
        source.restore(None)
        assert source.position == 0
        source.restore(state)
        source.forget(1)
        assert source.position == state["position"] and [f.stem for f in tmp_path.iterdir()] == ["update-000001"]
        with pytest.raises(UserError, match="trained with 7 as seed, now it is 0"):
            source.restore(state | {"seed": 7})


def test_the_same_seed_plays_the_same_and_flat_groups_are_replaced(world, tmp_path):
    renderer = Renderer(resolve_model("world-9m"))
    ids = []
    for folder in ("a", "b"):
        with at_play(world, tmp_path / folder, Lot(renderer, flat=lambda n: n <= 12)) as source:
            groups, said = source.rollouts(1)
            assert said["groups/played"] == 6 == source.position and said["groups/flat"] >= 3 and said["groups/kept"] == len(groups) >= 1
            ids.append([(r.id, r.reward, r.used) for r in next(iter(read_rollouts(tmp_path / folder)))])
    assert ids[0] == ids[1]


def test_nothing_to_learn_and_weights_that_were_not_published_end_it(world, tmp_path):
    renderer = Renderer(resolve_model("world-9m"))
    with at_play(world, tmp_path, Lot(renderer, flat=lambda n: True)) as source:
        with pytest.raises(UserError, match=r"earned the same, in 18 queries; there is nothing to learn from \(outcome/finished 100%"):
            source.rollouts(1)
        assert (tmp_path / "update-000001.parquet").exists()
    with at_play(world, tmp_path, Lot(renderer, version="update-9")) as source, pytest.raises(RuntimeError, match="sampled by weights update-9"):
        source.rollouts(1)
