"""The endpoint engine against vLLM's own server on loopback, which serves the base that comes with the package."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from actors.engine import Request, Sampling
from actors.openai_engine import OpenAIEngine
from actors.vllm_engine import runtime_env
from prstack.dialogue.render import Renderer
from prstack.settings import EndpointConfig, EngineConfig
from prstack.stages.models import WORLD_9M, resolve_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
pytest.importorskip("vllm")

MESSAGES = [{"role": "system", "content": "You research products."}, {"role": "user", "content": "I want a quiet blender below $100."}]
FLAGS = ["--enforce-eager", "--block-size", "32", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "2048", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(resolve_model(WORLD_9M)), "--served-model-name", "world-9m"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len", "2048", "--kv-cache-memory-bytes", str(256 << 20), "--generation-config", "vllm", *FLAGS]
    with log.open("w") as out:
        server = subprocess.Popen(command, env=os.environ | runtime_env()["env_vars"], stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        for _ in range(240):
            if server.poll() is not None:
                raise AssertionError(log.read_text()[-4000:])
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        else:
            raise AssertionError(f"the server does not answer: {log.read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(30)


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
