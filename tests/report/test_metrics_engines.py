"""What engines tell Ray: by the class that hosts them, and read back from the metrics endpoint."""

import asyncio
import re
import time
import urllib.request

import pytest

from actors.engine import Completion, EngineError, Request, Sampling
from actors.engine_metrics import Meter, counted, number_of
from actors.expert import ExpertEngine

ASKED = [{"role": "user", "content": "what of it"}]


class Taught(ExpertEngine):
    """An expert that takes new weights, as an engine with a model does, and answers one task more."""

    version = "initial"

    async def ready(self):
        return self.version

    async def complete(self, request):
        return Completion("fine", "stop", 5, 1, self.name, 0.0) if request.task == "taught.answer" else await super().complete(request)

    async def update_weights(self, folder, version, checksum=""):
        await asyncio.sleep(0.2)
        self.version = version


def test_the_hosted_class_has_the_engines_name_and_takes_weights_where_the_engine_does():
    assert counted(ExpertEngine).__name__ == "ExpertEngine" and not hasattr(counted(ExpertEngine), "update_weights")
    assert issubclass(counted(Taught), Taught) and hasattr(counted(Taught), "update_weights")


def test_requests_are_counted_by_how_they_end():
    meter = Meter()
    with meter.request():
        assert meter.gauges["in_flight"] == 1
    for error in (EngineError("context", ""), EngineError("request", ""), ValueError(), asyncio.CancelledError()):
        with pytest.raises(type(error)), meter.request():
            raise error
    assert meter.gauges["in_flight"] == 0
    assert meter.ends == {"done": 1, "context": 1, "request": 1, "engine": 1, "cancelled": 1}


@pytest.mark.parametrize(("version", "number"), [("initial", 0), ("update-3", 3), ("update-12-restart-1", 12), ("mine", 0)])
def test_a_version_has_the_number_of_its_update(version, number):
    assert number_of(version) == number


@pytest.mark.slow
def test_the_endpoint_shows_an_engine(ray_local):
    import ray

    from actors.progress import endpoint

    engine = ray.remote(counted(Taught)).options(name="prstack-test-engine-taught-0", num_cpus=0, max_concurrency=8).remote()
    try:
        ray.get(engine.ready.remote())
        request = Request("taught.answer", "user", ASKED)
        ends = []
        for call in (engine.complete.remote(request), engine.complete.remote(Request("nobody.knows", "user", ASKED)), engine.generate.remote([1], Sampling())):
            try:
                ray.get(call)
                ends.append("done")
            except EngineError as e:
                ends.append(e.kind)
        ray.get(engine.update_weights.remote("folder", "update-3-restart-1", ""))
        wanted, found, deadline = {"in_flight", "weights", "weight_update_seconds", "request_seconds_total", "prompt_tokens_total"}, {}, time.monotonic() + 60
        while time.monotonic() < deadline and not (wanted <= found.keys() and found["weights"] == 3):
            time.sleep(0.5)
            text = urllib.request.urlopen(endpoint(), timeout=10).read().decode()
            lines = re.findall(r'^ray_prstack_engine_(\w+)\{.*engine="prstack-test-engine-taught-0".*\} (\S+)$', text, re.M)
            found = {name: float(value) for name, value in lines if name != "requests_total"}
            requests = dict(re.findall(r'^ray_prstack_engine_requests_total\{.*end="(\w+)",engine="prstack-test-engine-taught-0".*\} (\S+)$', text, re.M))
        assert found["in_flight"] == 0 and found["weights"] == 3 and found["weight_update_seconds"] >= 0.2
        assert found["prompt_tokens_total"] == 5 and found["request_seconds_total"] > 0
        assert {end: int(float(n)) for end, n in requests.items()} == {"done": 1, "request": 2} and ends == ["done", "request", "request"]
    finally:
        ray.kill(engine)
