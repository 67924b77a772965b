"""The driver's stream of episodes, over a cast that is no Ray actor: who begins, who ends, who is given up."""

import asyncio
from collections import Counter
from functools import partial
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RaySystemError

from actors import synthesis
from actors.supervisor import Episode
from actors.synthesis import play_all
from prstack.types import History
from tests.factories import trajectory


class Stage:
    """A cast whose episodes end when they are let go, or raise what they are given."""

    def __init__(self, teams=1):
        self.begun, self.gates, self.faults = [], {}, {}
        self.away: list[Exception] = []
        self.playing, self.played_by = Counter(), {}
        self.teams = [
            SimpleNamespace(run=SimpleNamespace(remote=partial(self._run, n)), ready=SimpleNamespace(remote=self._ready)) for n in range(teams)
        ]

    async def _ready(self):
        if self.away:
            raise self.away.pop(0)
        return True

    async def _run(self, team, episode):
        self.begun.append(episode.id)
        self.played_by[episode.id] = team
        await self.gates.setdefault(episode.id, asyncio.Event()).wait()
        if episode.id in self.faults:
            raise self.faults.pop(episode.id)
        t = trajectory(1)
        t.id, t.seed = episode.id, episode.seed
        return t

    def let_go(self, *ids):
        for id in ids:
            self.gates.setdefault(id, asyncio.Event()).set()


def episodes(n):
    for i in range(n):
        taken.append(i)
        yield Episode(f"e{i}", History("u", []), i)


taken: list[int] = []


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    taken.clear()
    monkeypatch.setattr(synthesis, "PAUSE", 0.001)


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def test_episodes_are_taken_when_there_is_room_and_not_before():
    async def go():
        stage, came = Stage(), []

        async def drive():
            async for t in play_all(stage, episodes(1_000_000), 3, 0):
                came.append(t.id)

        driving = asyncio.create_task(drive())
        await settle()
        assert stage.begun == ["e0", "e1", "e2"] and taken == [0, 1, 2]
        stage.let_go("e1")
        await settle()
        assert came == ["e1"] and stage.begun[3:] == ["e3"] and taken == [0, 1, 2, 3]
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)

    asyncio.run(go())


def test_every_episode_comes_once_in_the_order_in_which_they_end():
    async def go():
        stage = Stage()
        stage.let_go(*(f"e{i}" for i in range(50)))
        return [t.id async for t in play_all(stage, episodes(50), 8, 0)]

    came = asyncio.run(go())
    assert len(came) == 50 == len(set(came))


def stopped(faults=None, let_go=(), grace=0.05):
    """Stops with three in flight, of which some end afterwards; what came, and which began."""

    async def go():
        stage, stop, came = Stage(), asyncio.Event(), []
        stage.faults = faults or {}

        async def drive():
            async for t in play_all(stage, episodes(10), 3, 2, stop, grace):
                came.append((t.id, t.termination))

        driving = asyncio.create_task(drive())
        await settle()
        stop.set()
        await settle()
        stage.let_go(*let_go)
        await driving
        return came, stage.begun

    return asyncio.run(go())


def test_once_stopped_none_begins_and_those_in_flight_may_end():
    came, begun = stopped(let_go=("e0", "e1", "e2"), grace=60)  # ends long before the grace is over
    assert [id for id, _ in came] == ["e0", "e1", "e2"] and begun == ["e0", "e1", "e2"]


def test_what_has_not_ended_when_the_grace_is_over_is_given_up():
    came, begun = stopped(let_go=("e1",))
    assert [id for id, _ in came] == ["e1"] and begun == ["e0", "e1", "e2"]


@pytest.mark.parametrize("fault", [ActorUnavailableError("gone", None), RaySystemError("gone")])
def test_an_episode_that_breaks_off_during_the_stop_is_neither_begun_again_nor_recorded(fault):
    came, begun = stopped({"e0": fault}, let_go=("e0", "e1", "e2"), grace=60)
    assert [id for id, _ in came] == ["e1", "e2"] and begun == ["e0", "e1", "e2"]


def test_an_episode_begins_again_when_its_team_died():
    async def go():
        stage = Stage()
        stage.faults = {"e0": ActorUnavailableError("gone", None)}
        stage.away = [ActorUnavailableError("restarting", None)] * 10
        stage.let_go("e0", "e1")
        return [t.id async for t in play_all(stage, episodes(2), 2, 1)], stage.begun

    came, begun = asyncio.run(go())
    assert sorted(came) == ["e0", "e1"] and sorted(begun) == ["e0", "e0", "e1"], "one death, however long it takes to come back"


def test_an_episode_whose_team_does_not_come_back_ends_with_an_error():
    async def go():
        stage = Stage()
        stage.faults = {"e0": ActorUnavailableError("gone", None)}
        stage.away = [ActorDiedError()]
        stage.let_go("e0")
        return [t async for t in play_all(stage, episodes(1), 1, 5)], stage.begun

    (t,), begun = asyncio.run(go())
    assert t.termination == "error" and "died 1 times" in t.detail and begun == ["e0"]


def test_an_episode_goes_to_the_team_with_the_fewest():
    async def go():
        stage, came = Stage(teams=3), []

        async def drive():
            async for t in play_all(stage, episodes(8), 6, 0):
                came.append(t.id)

        driving = asyncio.create_task(drive())
        await settle()
        assert Counter(stage.played_by.values()) == {0: 2, 1: 2, 2: 2}
        stage.let_go(*(id for id, team in stage.played_by.items() if team == 1))
        await settle()
        assert [stage.played_by[id] for id in ("e6", "e7")] == [1, 1], "where two have ended"
        stage.let_go(*(f"e{i}" for i in range(8)))
        await driving
        return came, stage.playing

    came, playing = asyncio.run(go())
    assert len(came) == 8 and not any(playing.values())


def test_a_defect_ends_the_stream():
    async def go():
        stage = Stage()
        stage.faults = {"e0": KeyError("defect")}
        stage.let_go("e0")
        return [t.id async for t in play_all(stage, episodes(2), 2, 1)]

    with pytest.raises(KeyError, match="defect"):
        asyncio.run(go())
