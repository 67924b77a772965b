"""The endpoint engine against vLLM's own server on loopback, which serves the base that comes with the package."""

import asyncio
import json

import pytest

from actors.engine import Request, Sampling
from actors.openai_engine import OpenAIEngine
from prstack.dialogue.parse import parse_assistant
from prstack.dialogue.render import Renderer
from prstack.settings import EndpointConfig, EngineConfig
from prstack.stages.models import WORLD_9M, resolve_model
from prstack.tools.schemas import PARAMETERS, SCHEMAS, check
from tests.actors.vllm_server import serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
pytest.importorskip("vllm")

MESSAGES = [{"role": "system", "content": "You research products."}, {"role": "user", "content": "I want a quiet blender below $100."}]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serve(WORLD_9M, tmp_path_factory.mktemp("server") / "log.txt", 2048) as url:
        yield url


def use(url, *calls):
    async def play():
        engine = OpenAIEngine(EngineConfig(name="openai", model="world-9m", max_model_len=2048, max_tokens=200, endpoint=EndpointConfig(base_url=url, retries=0)))
        try:
            assert await engine.ready() == "initial"
            return await asyncio.gather(*(c(engine) for c in calls))
        finally:
            await engine.shutdown()

    return asyncio.run(play())


def test_a_verdict_follows_its_schema_however_weak_the_model_is(url):
    schema = {"type": "object", "properties": {"decision": {"enum": ["approve", "revise"]}}, "required": ["decision"], "additionalProperties": False}
    (said,) = use(url, lambda e: e.complete(Request("supervisor.check_plan", "supervisor", MESSAGES, schema=schema, seed=1)))
    assert json.loads(said.text)["decision"] in ("approve", "revise") and said.finish_reason == "stop"
    assert said.prompt_tokens > 20 and 0 < said.completion_tokens <= 200 and said.engine == "openai:world-9m"


def test_tokens_are_exact(url):
    renderer = Renderer(resolve_model(WORLD_9M))
    prompt = renderer.prompt(MESSAGES)
    greedy = Sampling(max_tokens=24, temperature=0.0, stop_token_ids=[renderer.end_of_turn_id])
    one, two, drawn = use(url, lambda e: e.generate(prompt, greedy), lambda e: e.generate(prompt, greedy), lambda e: e.generate(prompt, Sampling(max_tokens=24, seed=5)))
    assert one.token_ids == two.token_ids and 0 < len(one.token_ids) == len(one.logprobs) <= 24
    assert all(p <= 0 for p in one.logprobs) and len(drawn.token_ids) == len(drawn.logprobs) > 0


def test_a_tool_call_follows_its_schema_however_weak_the_model_is(url):
    """Without `strict` the server lets arguments through that the schema forbids."""
    calls = [Request("research.act", "research", MESSAGES, tools=SCHEMAS, tool_choice="required", seed=i, max_tokens=600, temperature=1.0) for i in range(6)]
    said = use(url, *((lambda r: lambda e: e.complete(r))(c) for c in calls))
    finished = [s for s in said if s.finish_reason == "stop"]
    assert finished
    for s in finished:
        turn = parse_assistant(s.text)
        assert turn.error == "" and check(PARAMETERS[turn.tool_call.name], turn.tool_call.arguments)
    for s in said:  # cut off or not, it can be read, and goes into the next prompt
        parse_assistant(s.text)
