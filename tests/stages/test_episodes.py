"""Which episodes a run plays: the same ones however they are asked for, and no history before its time."""

import dataclasses
import itertools

import pytest

from prstack.errors import UserError
from prstack.settings import Config, SynthesisConfig, WorldConfig
from prstack.stages import episodes as planning
from prstack.stages.episodes import in_order, plan, plan_episodes
from prstack.world.world import World, build


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    build(WorldConfig(products=200, users=30), folder)
    return World.open(folder)


def config(episodes, seed=0):
    return Config(seed=seed, synthesis=SynthesisConfig(episodes=episodes))


def test_a_world_names_its_users_and_gives_the_histories_of_some(world):
    histories = {h.user_id: h for h in world.histories()}
    assert world.users() == list(histories)
    some = world.users()[3:9]
    assert world.histories_of(set(some)) == {u: histories[u] for u in some}
    assert world.histories_of({"nobody"}) == {}


def test_users_come_round_again_with_other_seeds_and_ids(world, monkeypatch):
    monkeypatch.setattr(planning, "BLOCK", 7)
    episodes = list(plan_episodes(world, config(45), "key"))
    assert len({e.id for e in episodes}) == 45 == len({e.seed for e in episodes})
    assert [e.history for e in episodes[30:]] == [e.history for e in episodes[:15]]
    assert len({e.history.user_id for e in episodes[:30]}) == 30
    histories = {h.user_id: h for h in world.histories()}
    assert all(e.history == histories[e.history.user_id] for e in episodes)


def test_more_episodes_begin_with_the_same_ones_and_another_seed_gives_others(world):
    few, many = list(plan_episodes(world, config(10), "key")), list(plan_episodes(world, config(20), "key"))
    assert many[:10] == few
    assert not {e.id for e in plan_episodes(world, config(20, seed=1), "key")} & {e.id for e in many}
    assert not {e.id for e in plan_episodes(world, config(20), "other key")} & {e.id for e in many}


def test_what_is_there_already_is_left_out(world):
    episodes = list(plan_episodes(world, config(20), "key"))
    there = {e.id for e in episodes[::3]}
    assert list(plan_episodes(world, config(20), "key", there)) == [e for e in episodes if e.id not in there]


def test_histories_are_read_a_block_at_a_time(world, monkeypatch):
    asked = []
    original = World.histories_of
    monkeypatch.setattr(World, "histories_of", lambda self, users: asked.append(len(users)) or original(self, users))
    monkeypatch.setattr(planning, "BLOCK", 8)
    episodes = plan_episodes(world, config(10_000_000), "key")
    assert not asked
    list(itertools.islice(episodes, 9))
    assert asked == [8, 8]


def test_the_plan_is_the_users_in_their_seeded_order(world):
    users = in_order(world, 3)
    assert sorted(users) == sorted(world.users()) and users != sorted(users) and users == in_order(world, 3)
    assert [p.user_id for p in plan(users, config(5), "key")] == users[:5]


def test_a_world_without_histories_is_said(world, monkeypatch):
    monkeypatch.setattr(World, "users", lambda self: [])
    with pytest.raises(UserError, match="no behaviour histories"):
        list(plan_episodes(world, dataclasses.replace(config(1)), "key"))
