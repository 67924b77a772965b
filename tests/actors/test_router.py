import asyncio
import os
import signal
from collections import Counter

import pytest

from actors.engine import Completion, EngineError, Request, Sample, Sampling
from actors.router import EnginePool, Health, place


# --- health --------------------------------------------------------------------------------------------------------
def test_health_comes_back_only_with_current_weights():
    health = Health()
    health.answered("3", "3", 0)
    assert health.state == "healthy"
    health.failed("killed", 10)
    assert (health.state, health.reason, health.down_since) == ("dead", "killed", 10)
    health.answered("3", "3", 11)
    assert health.state == "dead"  # an answer from before its death
    health.restart()
    health.answered("2", "3", 12)
    assert health.state == "dead" and "weights 2, current is 3" in health.reason and health.down_since == 10
    health.restart()
    health.answered("3", "3", 13)
    assert (health.state, health.reason) == ("healthy", "")


def test_health_is_lost_after_patience_and_stays_so():
    health = Health(state="healthy")
    health.failed("a", 100)
    health.restart()
    health.give_up(1000, 5)
    assert health.state == "restarting"  # a restart under way is not given up
    health.failed("b", 104)
    health.give_up(104.9, 5)
    assert health.state == "dead"
    health.give_up(105, 5)
    assert (health.state, health.reason) == ("lost", "b")
    health.restart()
    health.answered("1", "1", 106)
    health.failed("c", 107)
    assert (health.state, health.reason) == ("lost", "b")


def test_restart_does_nothing_to_a_healthy_engine():
    health = Health(state="healthy")
    health.restart()
    health.answered("old", "new", 1)
    assert health.state == "healthy"


def test_only_the_episodes_of_a_lost_engine_move():
    episodes = [f"e{i}" for i in range(3000)]
    before = {e: place(e, [0, 1, 2]) for e in episodes}
    after = {e: place(e, [0, 2]) for e in episodes}
    assert all(after[e] == before[e] for e in episodes if before[e] != 1)
    assert min(Counter(before.values()).values()) > 900
    assert min(Counter(after[e] for e in episodes if before[e] == 1).values()) > 400


# --- the pool, over engines in this process --------------------------------------------------------------------------
class Scripted:
    """An engine that fails as it is told: `faults` are raised by `complete`, one a call; `pings` by `ready`."""

    exact_tokens = True

    def __init__(self, name, faults=(), pings=(), version="initial", seconds=0.0):
        self.name, self.faults, self.pings, self.version, self.seconds = name, list(faults), list(pings), version, seconds
        self.seen = []
        self.most = self.now = 0

    async def ready(self):
        if self.pings and (fault := self.pings.pop(0)):
            raise fault
        return self.version

    async def complete(self, request):
        self.seen.append(request.episode)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.seconds)
        self.now -= 1
        if self.faults and (fault := self.faults.pop(0)):
            raise fault
        return Completion(f"{self.name}:{request.episode}", "stop", 1, 1, self.name, 0.0)

    async def generate(self, token_ids, sampling):
        return [*token_ids, sampling.max_tokens]


def request(episode="e", **more):
    return Request("research.act", "research", [{"role": "user", "content": "q"}], episode=episode, **more)


def pool(*engines, **options):
    return EnginePool(engines, **{"pause": 0.001, "patience": 5.0, "timeout": 5.0} | options)


DEAD = EngineError("engine", "core died")


def test_an_episode_stays_on_its_engine():
    async def run():
        a, b = Scripted("a"), Scripted("b")
        both = pool(a, b)
        await both.ready()
        await asyncio.sleep(0.01)
        episodes = [f"e{i % 20}" for i in range(200)]
        answers = await asyncio.gather(*(both.complete(request(e)) for e in episodes))
        assert len({(x.engine, x.text) for x in answers}) == 20
        assert set(a.seen).isdisjoint(b.seen) and a.seen and b.seen

    asyncio.run(run())


def test_requests_without_an_episode_go_to_the_least_loaded():
    async def run():
        a, b = Scripted("a", seconds=0.02), Scripted("b", seconds=0.02)
        both = pool(a, b)
        await both.ready()
        await asyncio.sleep(0.01)
        await asyncio.gather(*(both.complete(request("")) for _ in range(10)))
        assert (a.most, b.most) == (5, 5) and both.in_flight == [0, 0]

    asyncio.run(run())


def test_a_failed_request_is_asked_elsewhere_or_after_the_restart():
    async def run():
        a, b = Scripted("a", faults=[DEAD] * 3, pings=[None, DEAD, DEAD, None]), Scripted("b")
        both = pool(a, b)
        await both.ready()
        await asyncio.sleep(0.01)
        answers = await asyncio.gather(*(both.complete(request(f"e{i}")) for i in range(20)))
        assert [x.text.split(":")[1] for x in answers] == [f"e{i}" for i in range(20)]
        for _ in range(200):
            if both.health[0].state == "healthy":
                break
            await asyncio.sleep(0.01)
        assert both.health[0].state == "healthy"
        alone = pool(Scripted("c", faults=[DEAD, None, DEAD], pings=[None, DEAD]))
        assert [(await alone.complete(request(f"e{i}"))).text for i in range(3)] == ["c:e0", "c:e1", "c:e2"]

    asyncio.run(run())


def test_an_engine_with_old_weights_is_not_used():
    async def run():
        old, new = Scripted("old", version="1"), Scripted("new", version="2")
        both = pool(old, new, weight_version="2")
        answers = await asyncio.gather(*(both.complete(request(f"e{i}")) for i in range(20)))
        assert {x.engine for x in answers} == {"new"} and old.seen == []
        old.version = "2"
        for _ in range(200):
            if both.health[0].state == "healthy":
                break
            await asyncio.sleep(0.01)
        assert both.health[0].state == "healthy"
        await both.close()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["context", "request"])
def test_errors_of_the_request_are_not_retried(kind):
    async def run():
        a = Scripted("a", faults=[EngineError(kind, "no")])
        alone = pool(a)
        with pytest.raises(EngineError) as e:
            await alone.complete(request())
        assert (e.value.kind, len(a.seen), alone.health[0].state) == (kind, 1, "healthy")

    asyncio.run(run())


def test_limits_end_in_one_error():
    async def run():
        failing = Scripted("a", faults=[DEAD] * 100)
        with pytest.raises(EngineError, match=r"4 attempts failed.*core died") as e:
            await pool(failing, retries=3).complete(request())
        assert e.value.kind == "unavailable" and len(failing.seen) == 4
        gone = pool(Scripted("b", pings=[DEAD] * 1000), patience=0.05)
        with pytest.raises(EngineError, match=r"all engines are lost.*core died"):
            await gone.complete(request())
        broken = pool(Scripted("c", pings=[TypeError("a bug")]))
        with pytest.raises(EngineError, match="a bug"):
            await broken.complete(request())
        slow = pool(Scripted("d", seconds=5.0), timeout=0.02, retries=1)
        with pytest.raises(EngineError, match="no answer in time"):
            await slow.complete(request())
        assert slow.in_flight == [0]

    asyncio.run(run())


def test_generate_goes_the_same_way():
    async def run():
        assert await pool(Scripted("a")).generate([1, 2], Sampling(max_tokens=7)) == [1, 2, 7]

    asyncio.run(run())


# --- new weights -----------------------------------------------------------------------------------------------------
class Model(Scripted):
    """Takes weights, unless its `refusals`, one an update, say otherwise; `restart` puts it back to those of its start."""

    def __init__(self, name, refusals=(), **more):
        super().__init__(name, **more)
        self.refusals, self.given = list(refusals), []

    async def update_weights(self, folder, version, checksum):
        self.given.append(version)
        self.checksum = checksum
        await asyncio.sleep(0)
        if self.refusals and (fault := self.refusals.pop(0)):
            if fault.kind == "engine":
                self.restart()
            raise fault
        self.version = version

    def restart(self):
        self.version = "initial"

    async def generate(self, token_ids, sampling):
        version = self.version
        await asyncio.sleep(self.seconds)
        return Sample([1], [0.0], "stop", version)


async def healthy(pool, i):
    for _ in range(300):
        if pool.health[i].state == "healthy":
            return
        await asyncio.sleep(0.01)
    raise AssertionError(pool.health[i])


async def healthy_both(pool):
    await pool.ready()
    await healthy(pool, 0)
    await healthy(pool, 1)


REFUSED = EngineError("request", "tensor a is missing")


def test_all_engines_get_new_weights_and_those_that_are_down_before_they_serve():
    async def run():
        a, b, c = Model("a"), Model("b"), Model("c", pings=[DEAD] * 4)
        three = pool(a, b, c, pause=0.02)
        await healthy_both(three)
        await three.update_weights("folder", "1", "sum")
        assert (a.version, b.version, c.version, three.weight_version) == ("1", "1", "initial", "1")
        await healthy(three, 2)
        assert c.version == "1" and [a.given, b.given, c.given] == [["1"]] * 3
        assert a.checksum == b.checksum == c.checksum == "sum"
        await three.close()

    asyncio.run(run())


def test_an_engine_that_has_come_back_unnoticed_is_given_the_weights_and_its_answer_is_thrown_away():
    async def run():
        a = Model("a")
        alone = pool(a)
        await alone.ready()
        await alone.update_weights("folder", "1")
        a.restart()
        samples = await asyncio.gather(*(alone.generate([1], Sampling()) for _ in range(5)))
        assert {s.weight_version for s in samples} == {"1"} and a.given == ["1", "1"]

    asyncio.run(run())


def test_a_pool_that_is_made_after_an_update_looks_after_the_weights_as_well():
    async def run():
        a, b = Model("a", version="1"), Model("b")
        both = pool(a, b, weight_version="1", folder="folder")
        await healthy_both(both)
        assert (a.given, b.given) == ([], ["1"])
        a.restart()
        samples = await asyncio.gather(*(both.generate([1], Sampling()) for _ in range(6)))
        assert {s.weight_version for s in samples} == {"1"}
        await both.close()

    asyncio.run(run())


def test_answers_that_were_begun_before_an_update_count():
    async def run():
        a = Model("a", seconds=0.05)
        alone = pool(a)
        await alone.ready()
        early = asyncio.create_task(alone.generate([1], Sampling()))
        await asyncio.sleep(0.01)
        await alone.update_weights("folder", "1")
        assert (await early).weight_version == "initial" and alone.health[0].state == "healthy"
        assert (await alone.generate([1], Sampling())).weight_version == "1"

    asyncio.run(run())


def test_weights_that_no_engine_takes_change_nothing():
    async def run():
        a, b = Model("a", refusals=[None, REFUSED]), Model("b", refusals=[None, REFUSED])
        both = pool(a, b)
        await healthy_both(both)
        await both.update_weights("good", "1")
        with pytest.raises(EngineError, match="tensor a is missing") as e:
            await both.update_weights("bad", "2")
        assert e.value.kind == "request" and both.weight_version == a.version == b.version == "1"
        assert [h.state for h in both.health] == ["healthy"] * 2
        broken = Model("c", refusals=[EngineError("engine", "stopped in the middle")] * 2)
        alone = pool(broken)
        await alone.ready()
        with pytest.raises(EngineError, match="stopped in the middle") as e:
            await alone.update_weights("bad", "1")
        assert e.value.kind == "unavailable" and alone.weight_version == "initial"
        assert (await alone.generate([1], Sampling())).weight_version == "initial"

    asyncio.run(run())


def test_the_only_engine_has_died_since_its_last_request_and_takes_the_weights_when_it_is_back():
    async def run():
        a = Model("a", refusals=[None, EngineError("engine", "a is dead")], pings=[None, DEAD, DEAD])
        alone = pool(a)
        await alone.ready()
        await alone.update_weights("folder", "1")
        await alone.update_weights("newer", "2")
        assert alone.weight_version == a.version == "2" and a.given == ["1", "2", "1", "2"], "it comes back with what it had, and then takes the new ones"
        assert (await alone.generate([1], Sampling())).weight_version == "2"

    asyncio.run(run())


def test_an_engine_that_breaks_in_an_update_is_given_the_weights_again_that_others_took():
    async def run():
        a, b = Model("a"), Model("b", refusals=[EngineError("engine", "stopped"), REFUSED])
        both = pool(a, b)
        await healthy_both(both)
        await both.update_weights("folder", "1")
        assert both.health[0].state == "healthy" and both.health[1].state != "healthy" and both.weight_version == "1"
        await healthy(both, 1)
        assert b.version == "1" and b.given == ["1"] * 3
        await both.close()

    asyncio.run(run())


def test_an_engine_that_refuses_what_others_take_serves_nobody():
    async def run():
        a, b = Model("a"), Model("b", refusals=[REFUSED] * 1000)
        both = pool(a, b, patience=0.1)
        await healthy_both(both)
        await both.update_weights("folder", "1")
        samples = await asyncio.gather(*(both.generate([1], Sampling(), f"e{i}") for i in range(20)))
        assert {s.weight_version for s in samples} == {"1"}
        while both.health[1].state != "lost":
            await asyncio.sleep(0.01)
        assert "does not take weights 1: tensor a is missing" in both.health[1].reason

    asyncio.run(run())


def test_an_engine_without_weights_of_its_own_refuses_new_ones():
    async def run():
        alone = pool(Scripted("a"))
        with pytest.raises(EngineError, match="engine 0 has no weights"):
            await alone.update_weights("folder", "1")
        assert (await alone.complete(request())).text == "a:e"

    asyncio.run(run())


# --- the pool, over Ray actors ---------------------------------------------------------------------------------------
class Process(Scripted):
    async def pid(self):
        return os.getpid()


class Refusing(Scripted):
    def __init__(self):
        raise ValueError("engine.max_model_len is too long")


def test_an_engine_process_is_killed_and_every_request_gets_one_answer(ray_local):
    import ray

    actor = ray.remote(Process)
    engines = [actor.options(max_restarts=-1, max_concurrency=100, num_cpus=0.1).remote(f"engine{i}", seconds=0.05) for i in range(2)]

    async def run():
        both = EnginePool(engines, pause=0.1)
        pids = [await e.pid.remote() for e in engines]
        await both.ready()
        tasks = [asyncio.create_task(both.complete(request(f"e{i % 40}", seed=i))) for i in range(400)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        os.kill(pids[0], signal.SIGKILL)
        answers = await asyncio.gather(*tasks)
        assert [a.text.split(":")[1] for a in answers] == [f"e{i % 40}" for i in range(400)]
        more = [asyncio.create_task(both.complete(request(f"e{i % 40}"))) for i in range(40)]
        assert len(await asyncio.gather(*more)) == 40
        for _ in range(300):
            if both.health[0].state == "healthy":
                break
            await asyncio.sleep(0.1)
        assert both.health[0].state == "healthy" and await engines[0].pid.remote() != pids[0]
        assert both.in_flight == [0, 0]

    try:
        asyncio.run(run())
    finally:
        for engine in engines:
            ray.kill(engine, no_restart=True)


def test_ray_says_who_is_gone_for_good_and_keeps_the_kind_of_an_error(ray_local):
    import ray


    async def run():
        refusing = EnginePool([ray.remote(Refusing).options(num_cpus=0.1).remote()])
        with pytest.raises(EngineError, match="max_model_len is too long") as e:
            await refusing.complete(request())
        assert e.value.kind == "unavailable"
        engine = ray.remote(Scripted).options(num_cpus=0.1).remote("a", faults=[EngineError("context", "too long")])
        alone = EnginePool([engine])
        with pytest.raises(EngineError) as e:
            await alone.complete(request())
        assert (type(e.value), e.value.kind, e.value.message) == (EngineError, "context", "too long")
        ray.kill(engine)
        with pytest.raises(ray.exceptions.RayActorError):  # a kill takes its time where there is other work
            while True:
                await engine.__ray_ready__.remote()
        with pytest.raises(EngineError, match="lost"):
            await alone.complete(request())

    asyncio.run(run())
