"""The endpoint engine against a local HTTP server that speaks chat completions, in good and in bad."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from actors.engine import EngineError, Request, Sampling
from actors.openai_engine import OpenAIEngine, api_key, estimate, outgoing
from prstack.dialogue.parse import parse_assistant
from prstack.errors import UserError
from prstack.settings import EndpointConfig, EngineConfig
from prstack.tools.schemas import SCHEMAS
from tests.chat_endpoint import Endpoint, answer, refusal

KEY = "sk-secret-1234567890"
MESSAGES = [{"role": "system", "content": "You shop."}, {"role": "user", "content": "A quiet blender."}]


@pytest.fixture
def endpoint():
    made = []

    def make(*replies, **more):
        made.append(Endpoint(*replies, **more))
        return made[-1]

    yield make
    for e in made:
        e.close()


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def ask(endpoint, *requests, **settings):
    """The answers to requests that are made at once, errors among them."""
    model, length, ready = settings.pop("model", "m"), settings.pop("max_model_len", 4096), settings.pop("ready", False)

    async def play():
        engine = OpenAIEngine(EngineConfig(name="openai", model=model, max_model_len=length, endpoint=EndpointConfig(base_url=endpoint.url, **settings)))
        try:
            if ready:
                await engine.ready()
            return await asyncio.gather(*(engine.complete(r) for r in requests), return_exceptions=True)
        finally:
            await engine.shutdown()

    return asyncio.run(play())


def request(**more):
    return Request("research.act", "research", MESSAGES, seed=7, **more)


def test_a_tool_call_comes_back_in_the_assistant_format(endpoint):
    called = {"id": "x", "type": "function", "function": {"name": "product_search", "arguments": '{"query": "quiet blender", "max_price": 80}'}}
    e = endpoint(answer(None, "tool_calls", tool_calls=[called], reasoning_content="I search."))
    (done,) = ask(e, request(tools=SCHEMAS))
    turn = parse_assistant(done.text)
    assert (turn.reasoning, turn.content, turn.error) == ("I search.", "", "")
    assert (turn.tool_call.name, json.loads(turn.tool_call.arguments)) == ("product_search", {"query": "quiet blender", "max_price": 80})
    assert (done.prompt_tokens, done.completion_tokens, done.finish_reason, done.engine) == (11, 5, "stop", "openai:m")
    sent = e.asked[0]
    assert (sent["tools"], sent["tool_choice"], sent["parallel_tool_calls"], sent["seed"]) == (SCHEMAS, "auto", False, 7)
    assert sent["messages"] == MESSAGES and "response_format" not in sent


def test_text_stays_as_it_was_written(endpoint):
    text = "<think>\nEnough.\n</think>\n\n<report>\n1. [P1] A kettle\n</report>"
    (done,) = ask(endpoint(answer(text, "length")), request())
    assert done.text == text and done.finish_reason == "length"


def test_a_schema_is_asked_for_and_no_tool_is_offered(endpoint):
    e = endpoint(answer('{"decision": "approve"}'))
    schema = {"type": "object", "properties": {"decision": {"type": "string"}}, "required": ["decision"]}
    (done,) = ask(e, Request("supervisor.check_plan", "supervisor", MESSAGES, tools=SCHEMAS, schema=schema, temperature=0.0), extra={"top_k": 1})
    assert done.text == '{"decision": "approve"}'
    sent = e.asked[0]
    assert sent["response_format"] == {"type": "json_schema", "json_schema": {"name": "supervisor_check_plan", "schema": schema}}
    assert "tools" not in sent and (sent["temperature"], sent["top_k"]) == (0.0, 1)


def test_earlier_reasoning_and_calls_go_out_as_endpoints_take_them():
    call = {"type": "function", "id": "c1", "function": {"name": "visit_product", "arguments": "{}"}}
    assert outgoing({"role": "assistant", "content": "", "reasoning_content": "Next.", "tool_calls": [call]}) == {"role": "assistant", "content": "<think>\nNext.\n</think>", "tool_calls": [call]}
    assert outgoing({"role": "tool", "tool_call_id": "c1", "name": "visit_product", "content": "P1"}) == {"role": "tool", "tool_call_id": "c1", "content": "P1"}


@pytest.mark.parametrize("arguments", ['{"query": "a', "[1]", "", '"text"'])
def test_an_earlier_call_that_no_endpoint_takes_back_goes_out_as_one_that_they_take(arguments):
    call = {"type": "function", "id": "c1", "function": {"name": "product search!", "arguments": arguments}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    assert outgoing(message)["tool_calls"] == [{"type": "function", "id": "c1", "function": {"name": "product_search_", "arguments": "{}"}}]
    assert call["function"]["arguments"] == arguments


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ({"name": "product_search", "arguments": '{"query": "quiet'}, "not JSON"),
        ({"name": "product_search", "arguments": "[]"}, "not a JSON object"),
        ({"name": "", "arguments": "{}"}, "no \"name\""),
        ({"name": "product_search", "arguments": '{"query": "quiet\nblender"}'}, ""),
    ],
)
def test_a_malformed_call_is_a_malformed_turn_or_call_and_no_exception(endpoint, function, error):
    (done,) = ask(endpoint(answer(None, "tool_calls", tool_calls=[{"id": "x", "type": "function", "function": function}])), request(tools=SCHEMAS))
    turn = parse_assistant(done.text)
    assert error in turn.error and bool(turn.error) == bool(error)
    assert (turn.tool_call is not None) == bool(function["name"])


def test_only_a_server_that_says_it_is_vllm_gets_strict_tools(endpoint):
    plain, strict = endpoint(answer("yes")), endpoint(answer("yes"), owner="vllm")
    for e in (plain, strict):
        ask(e, request(tools=SCHEMAS), request(tools=SCHEMAS, constrained=False), ready=True)
    assert all(e["tools"] == SCHEMAS for e in plain.asked)
    told = [[t["function"].get("strict") for t in e["tools"]] for e in strict.asked]
    assert sorted(map(str, told)) == ["[None, None, None, None]", "[True, True, True, True]"]
    assert "strict" not in json.dumps(SCHEMAS)


def test_a_refusal_for_load_is_waited_out_as_it_asks(endpoint):
    busy = (*refusal(429, "slow down"), {"Retry-After": "1"})
    e = endpoint(busy, refusal(503, "starting"), answer("yes"))
    start = time.monotonic()
    (done,) = ask(e, request())
    assert done.text == "yes" and len(e.asked) == 3 and time.monotonic() - start >= 1


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (refusal(429, "quota"), "engine", "quota"),
        (refusal(500, "broken"), "engine", "broken"),
        (refusal(400, "This model's maximum context length is 4096 tokens"), "context", "4096"),
        (refusal(400, "too long", "context_length_exceeded"), "context", "too long"),
        (refusal(400, "bad schema"), "request", "bad schema"),
        (refusal(404, "no such model"), "request", "no such model"),
        (refusal(401, f"Incorrect API key provided: {KEY}"), "request", "OPENAI_API_KEY"),
        ((200, {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}), "engine", "without a choice"),
        (answer("", "content_filter"), "request", "content_filter"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_what_fails_is_an_error_of_a_kind_and_never_tells_the_key(endpoint, reply, kind, words):
    (error,) = ask(endpoint(reply), request(), retries=0)
    assert isinstance(error, EngineError) and error.kind == kind and words in error.message
    assert KEY not in str(error) and error.__cause__ is None


def test_a_server_that_is_not_there_or_too_slow_is_an_engine_error(endpoint):
    e = endpoint(answer("late"), slow=1.0)
    (error,) = ask(e, request(), retries=0, timeout=0.2)
    assert error.kind == "engine"
    e.close()
    (error,) = ask(e, request(), retries=0)
    assert error.kind == "engine" and e.url in error.message


def test_no_more_requests_are_in_flight_than_allowed(endpoint):
    e = endpoint(answer("yes"), slow=0.05)
    done = ask(e, *[request()] * 20, concurrency=3)
    assert [d.text for d in done] == ["yes"] * 20 and e.most == 3


def test_a_conversation_that_is_too_long_is_shortened_first(endpoint):
    e = endpoint(answer("yes"))
    long = [*MESSAGES, {"role": "assistant", "content": "I look."}, {"role": "tool", "tool_call_id": "c1", "content": "word " * 8000}, {"role": "user", "content": "And?"}]
    (done,) = ask(e, Request("research.act", "research", long), max_model_len=2048)
    assert done.text == "yes" and "characters left out" in e.asked[0]["messages"][3]["content"]
    assert estimate(e.asked[0]["messages"], None) <= 2048
    (error,) = ask(e, Request("research.act", "research", [{"role": "system", "content": "word " * 8000}]), max_model_len=2048)
    assert error.kind == "context"


def test_the_key_is_sent_and_written_nowhere(endpoint):
    e = endpoint(answer("yes"))

    async def play():
        engine = OpenAIEngine(EngineConfig(name="openai", model="m", endpoint=EndpointConfig(base_url=e.url)))
        try:
            assert await engine.ready() == "initial"
            await engine.complete(request())
            with pytest.raises(EngineError, match="no exact tokens"):
                await engine.generate([1], Sampling())
            return await engine.describe(), engine.settings
        finally:
            await engine.shutdown()

    described, settings = asyncio.run(play())
    assert e.headers[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps(described) + repr(settings) and described["base_url"] == e.url


def sampled(endpoint, sampling=None, **settings):
    async def play():
        engine = OpenAIEngine(EngineConfig(name="openai", model="m", endpoint=EndpointConfig(base_url=endpoint.url, retries=0), **settings))
        try:
            return await engine.generate([5, 6, 7], sampling or Sampling(max_tokens=9, seed=3, stop_token_ids=[2]))
        finally:
            await engine.shutdown()

    return asyncio.run(play())


def completion(**choice):
    return 200, {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [{"index": 0, "text": "x", "finish_reason": "stop", **choice}]}


def test_exact_tokens_come_from_endpoints_that_return_them(endpoint):
    logprobs = {"token_logprobs": [-0.5, -0.25], "tokens": ["a", "b"], "text_offset": [0, 1], "top_logprobs": None}
    e = endpoint(completion(token_ids=[8, 2], logprobs=logprobs))
    sample = sampled(e)
    assert (sample.token_ids, sample.logprobs, sample.finish_reason, sample.weight_version) == ([8, 2], [-0.5, -0.25], "stop", "initial")
    sent = e.asked[0]
    assert (sent["prompt"], sent["return_token_ids"], sent["stop_token_ids"], sent["seed"]) == ([5, 6, 7], True, [2], 3)
    for reply in (completion(logprobs=logprobs), completion(token_ids=[8, 2]), completion(token_ids=[8], logprobs=logprobs)):
        with pytest.raises(EngineError, match="no exact tokens"):
            sampled(endpoint(reply))
    with pytest.raises(EngineError, match="max_model_len is 16"):
        sampled(e, Sampling(max_tokens=14), max_model_len=16)


def test_a_model_that_is_not_served_is_said_at_once(endpoint):
    engine = OpenAIEngine(EngineConfig(name="openai", model="other", endpoint=EndpointConfig(base_url=endpoint(answer("x")).url)))
    with pytest.raises(EngineError, match="no model 'other'; it lists m"):
        asyncio.run(engine.ready())


def test_an_endpoint_need_not_list_its_models(endpoint):
    e = endpoint(answer("x"))
    engine = OpenAIEngine(EngineConfig(name="openai", model="any", endpoint=EndpointConfig(base_url=e.url.replace("/v1", "/other"), retries=0)))
    assert asyncio.run(engine.ready()) == "initial"


def test_a_missing_key_is_an_error_that_names_the_variable(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert api_key(EndpointConfig()) == "none"
    with pytest.raises(UserError, match="environment variable SHOP_KEY"):
        api_key(EndpointConfig(base_url="https://models.example/v1", key_env="SHOP_KEY"))
