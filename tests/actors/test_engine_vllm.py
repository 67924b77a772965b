"""SmolLM2 served by vLLM in one Ray actor, which all tests of this file share; the last ones kill it."""

import asyncio
import json
import os
import signal
import time

import psutil
import pytest

from actors.engine import EngineError, Request, Sampling
from actors.router import EnginePool
from actors.vllm_engine import VLLMEngine, runtime_env
from prstack.dialogue.parse import parse_assistant
from prstack.dialogue.render import Renderer
from prstack.errors import UserError
from prstack.prompts.replies import verdict_schema
from prstack.stages.models import SMOLLM2, resolve_model
from prstack.tools.schemas import PARAMETERS, SCHEMAS, check

pytestmark = pytest.mark.timeout(600)
pytest.importorskip("vllm")

SETTINGS = {"name": "vllm", "dtype": "float32", "max_model_len": 2048, "kv_cache_mb": 256, "max_tokens": 160}
MESSAGES = [
    {"role": "system", "content": "You research products: think, then call a tool or write the report."},
    {"role": "user", "content": "I want a quiet blender, under 60 dB and below $100."},
]


@pytest.fixture(scope="module")
def model_dir():
    return resolve_model(SMOLLM2)


@pytest.fixture(scope="module")
def engine(ray_local, model_dir):
    import ray

    handle = ray.remote(VLLMEngine).options(runtime_env=runtime_env(), num_cpus=0, max_concurrency=64, max_restarts=0)
    handle = handle.remote(SETTINGS, str(model_dir))
    assert ray.get(handle.ready.remote()) == "initial"
    yield handle
    ray.kill(handle)


def ask(engine, *requests):
    import ray

    return ray.get([engine.complete.remote(r) for r in requests])


def request(**more):
    return Request("research.act", "research", MESSAGES, **{"episode": "e", "seed": 1} | more)


def descendants(pid):
    return [p for p in psutil.Process(pid).children(recursive=True) if "EngineCore" in " ".join([p.name(), *p.cmdline()])]


def test_a_verdict_parses(engine):
    jsonschema = pytest.importorskip("jsonschema")
    schema = verdict_schema("report")
    for answer in ask(engine, *(request(schema=schema, seed=i, max_tokens=600) for i in range(4))):
        assert answer.finish_reason == "stop"
        jsonschema.validate(json.loads(answer.text), schema)


def test_tool_calls_parse_and_validate(engine):
    for answer in ask(engine, *(request(tools=SCHEMAS, tool_choice="required", seed=i, max_tokens=256) for i in range(6))):
        turn = parse_assistant(answer.text)
        assert (turn.error, answer.finish_reason) == ("", "stop") and turn.reasoning
        assert check(PARAMETERS[turn.tool_call.name], turn.tool_call.arguments)


def test_a_report_ends(engine):
    (answer,) = ask(engine, request(tools=SCHEMAS, tool_choice="none", report="required"))
    turn = parse_assistant(answer.text)
    assert turn.report and turn.tool_call is None and turn.error == "" and answer.finish_reason == "stop"
    assert answer.completion_tokens <= SETTINGS["max_tokens"] and answer.engine == f"vllm:{SMOLLM2}"


def test_free_text_is_cut_off_at_its_limit_and_says_so(engine):
    first, again = ask(engine, *[request(max_tokens=12)] * 2)
    assert first.finish_reason == "length" and first.completion_tokens == 12
    assert first.text == again.text


def test_the_same_prompt_as_the_renderer_writes(engine, model_dir):
    (answer,) = ask(engine, request(tools=SCHEMAS, max_tokens=8))
    assert answer.prompt_tokens == len(Renderer(model_dir).prompt(MESSAGES, SCHEMAS))


def test_long_conversations_are_shortened_or_refused(engine):
    page = "The blender is quiet and strong. " * 600
    long = [*MESSAGES, {"role": "assistant", "content": "I look."}, {"role": "tool", "tool_call_id": "c1", "name": "web_visit", "content": page}]
    (answer,) = ask(engine, Request("research.act", "research", long, max_tokens=16))
    assert 1700 < answer.prompt_tokens <= 2048 - 16
    with pytest.raises(EngineError) as e:
        ask(engine, Request("research.act", "research", [{"role": "system", "content": page}]))
    assert e.value.kind == "context"


def test_seeded_requests_whose_prompts_do_not_fit_one_step_together(engine):
    """With chunked prefill vLLM rewinds their generators between chunks, which no CPU generator can; the engine died of it."""
    many = [[*MESSAGES, {"role": "user", "content": f"{i} " + "The blender is quiet and strong. " * (80 + i)}] for i in range(6)]
    answers = ask(engine, *(Request("research.act", "research", m, seed=7, max_tokens=4) for m in many))
    assert sum(a.prompt_tokens for a in answers) > SETTINGS["max_model_len"] and all(a.completion_tokens == 4 for a in answers)


def test_a_request_that_cannot_be_met_is_refused(engine):
    for bad in (
        request(tools=[], tool_choice="required"),
        Request("research.act", "research", [{"role": "critic", "content": "x"}]),
        request(schema={"type": "object", "properties": {"a": {"type": "nonsense"}}, "required": ["a"]}),
    ):
        with pytest.raises(EngineError) as e:
            ask(engine, bad)
        assert e.value.kind == "request"


@pytest.mark.slow
def test_generate_returns_exact_tokens_and_their_logprobs(engine, model_dir):
    ray, torch = pytest.importorskip("ray"), pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    renderer = Renderer(model_dir)
    prompt = renderer.prompt(MESSAGES)
    sampling = Sampling(max_tokens=40, temperature=1.0, seed=7, stop_token_ids=[renderer.end_of_turn_id])
    first, again = ray.get([engine.generate.remote(prompt, sampling) for _ in range(2)])
    assert first.token_ids == again.token_ids and len(first.logprobs) == len(first.token_ids)
    assert (first.finish_reason == "stop") == (first.token_ids[-1] == renderer.end_of_turn_id)
    assert first.weight_version == "initial"
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor([prompt + first.token_ids])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits, -1).gather(-1, torch.tensor(first.token_ids)[:, None])[:, 0]
    assert (expected - torch.tensor(first.logprobs)).abs().max() < 1e-4
    with pytest.raises(EngineError) as e:
        ray.get(engine.generate.remote(prompt * 60, sampling))
    assert e.value.kind == "context"


def test_settings_the_model_cannot_have(model_dir):
    with pytest.raises(UserError, match="context of 8192 tokens"):
        VLLMEngine(SETTINGS | {"max_model_len": 9000}, model_dir)


def test_an_update_to_the_same_weights_changes_their_version_alone(engine, model_dir, tmp_path):
    """To others: tests/actors/test_weight_update.py."""
    import ray

    prompt, greedy = Renderer(model_dir).prompt(MESSAGES), Sampling(max_tokens=8, temperature=0.0)
    first = ray.get(engine.generate.remote(prompt, greedy))
    for folder, version, words in ((tmp_path, "again", "no such file"), (model_dir, "initial", "a version of its own")):
        with pytest.raises(EngineError, match=words) as e:
            ray.get(engine.update_weights.remote(str(folder), version))
        assert e.value.kind == "request"
    ray.get(engine.update_weights.remote(str(model_dir), "again"))
    second = ray.get(engine.generate.remote(prompt, greedy))
    assert (first.weight_version, second.weight_version, ray.get(engine.ready.remote())) == ("initial", "again", "again")
    assert first.token_ids == second.token_ids and first.logprobs == pytest.approx(second.logprobs, abs=1e-4)
    assert ask(engine, request(max_tokens=4))[0].weight_version == "again"


@pytest.mark.slow
def test_a_dead_engine_core_is_started_again_and_given_its_weights(engine, model_dir):
    import ray

    pid = ray.get(engine.describe.remote())["pid"]
    (core,) = descendants(pid)

    async def run():
        pool = EnginePool([engine], weight_version="again", folder=str(model_dir))
        await pool.ready()
        tasks = [asyncio.create_task(pool.complete(request(seed=i, max_tokens=64))) for i in range(8)]
        await asyncio.sleep(0.5)
        core.send_signal(signal.SIGKILL)
        answers = await asyncio.gather(*tasks)
        assert len(answers) == 8 and all(a.text and a.weight_version == "again" for a in answers)
        await pool.close()

    asyncio.run(run())
    (new,) = descendants(pid)
    assert new.pid != core.pid


def test_the_engine_core_ends_with_its_actor(engine):
    import ray

    pid = ray.get(engine.describe.remote())["pid"]
    (core,) = descendants(pid)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while core.is_running() and core.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not core.is_running() or core.status() == psutil.STATUS_ZOMBIE
