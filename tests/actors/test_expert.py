"""Whole episodes with the expert in all roles, in this process: no Ray, real world, real tools."""

import ast
import asyncio
from collections import Counter
from pathlib import Path

import pytest

import actors.expert
from actors.expert import ExpertEngine
from actors.research import ResearchAgent
from actors.router import EnginePool
from actors.supervisor import Episode, SupervisorAgent
from actors.user import UserAgent
from prstack.scoring.evidence import Evidence
from prstack.scoring.products import e_prod
from prstack.scoring.report import parse_report
from prstack.settings import AgentsConfig, MistakesConfig, WorldConfig
from prstack.store.records import from_row, to_row
from prstack.types import Trajectory
from prstack.world.world import World, build

NONE = MistakesConfig(0, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    build(WorldConfig(products=400, users=40), folder)
    return folder


def play(world, n, mistakes=None, **limits):
    pool = EnginePool([ExpertEngine(vars(mistakes) if mistakes else None)])
    config = AgentsConfig(**limits)
    user, research = UserAgent(pool, world, config), ResearchAgent(pool, world, config)
    supervisor = SupervisorAgent(pool, user, research, config, {"research": "expert"}, "generated")
    histories = sorted(World.open(world).histories(), key=lambda h: h.user_id)

    async def all_of_them():
        return [await supervisor.run(Episode(f"e{i}", histories[i % len(histories)], i)) for i in range(n)]

    return asyncio.run(all_of_them())


def errors(t):
    return Counter(i.kind for s in t.steps if s.verdict for i in s.verdict.items if not i.ok)


def test_episodes_end_and_are_worth_training_on(world):
    trajectories = play(world, 40)
    ends = Counter(t.termination for t in trajectories)
    assert ends["approved"] >= 30, [(t.termination, t.detail) for t in trajectories if t.termination != "approved"]
    good = [t for t in trajectories if t.termination == "approved"]
    assert sum(t.scores[-1] for t in good) / len(good) > 0.85
    assert all(t.reports and len(t.reports) == len(t.scores) for t in good)
    assert all(e_prod(parse_report(t.reports[-1]), Evidence.from_steps(t.steps)) for t in good)


def test_mistakes_are_made_found_and_corrected(world):
    trajectories = play(world, 40, MistakesConfig(0.6, 0.2, 0.2, 0.6, 0.6))
    found = sum((errors(t) for t in trajectories), Counter())
    for kind in ("covers_needs", "valid_call", "not_duplicate", "supported", "meets_constraints"):
        assert found[kind] > 0, found
    several = [t for t in trajectories if len(t.scores) > 1]
    assert sum(t.scores[-1] for t in several) > sum(t.scores[0] for t in several)


def test_without_mistakes_there_is_nothing_to_correct_in_calls_and_claims(world):
    found = sum((errors(t) for t in play(world, 30, NONE)), Counter())
    assert not {k: n for k, n in found.items() if k in ("covers_needs", "valid_call", "not_duplicate", "supported", "visited", "meets_constraints")}


def test_the_same_episode_twice_is_the_same(world):
    def timeless(t):
        row = to_row(t)
        for u in row["usage"]:
            u["seconds"] = 0
        return row

    assert [timeless(t) for t in play(world, 6)] == [timeless(t) for t in play(world, 6)]


def test_trajectories_survive_the_row_format(world):
    for t in play(world, 3):
        assert from_row(Trajectory, to_row(t)) == t


def test_caps_end_episodes_with_their_reason(world):
    capped = play(world, 8, max_tool_calls=2)
    assert all(sum(s.tool_call is not None for s in t.steps) <= 2 for t in capped)
    assert {t.termination for t in capped} <= {"approved", "max_tool_calls", "max_rounds"} and any(t.termination == "max_tool_calls" for t in capped)
    assert {t.termination for t in play(world, 3, max_tokens=40)} == {"max_tokens"}
    assert {t.termination for t in play(world, 2, max_seconds=1e-4)} == {"time"}
    stubborn = play(world, 12, MistakesConfig(0, 0, 0, 0.999, 0.999), max_report_rounds=1)
    assert any(t.termination == "max_rounds" for t in stubborn)


def test_the_expert_has_no_handle_to_the_world():
    forbidden = {"prstack.world.world", "prstack.world.search", "prstack.tools.toolbox", "prstack.world.generate"}
    for file in Path(actors.expert.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden & set(names), (file, names)
