"""A model in vLLM that is asked for several calls a turn, with prompts by the chat template that its checkpoint brings along."""

import shutil

import pytest

from actors.engine import Request
from actors.vllm_engine import VLLMEngine, runtime_env
from prstack.dialogue.model_template import ModelRenderer
from prstack.dialogue.parse import parse_assistant
from prstack.errors import UserError
from prstack.stages.models import WORLD_9M, resolve_model
from prstack.tools.schemas import PARAMETERS, SCHEMAS, check
from tests.dialogue.test_model_template import HERMES

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
pytest.importorskip("vllm")

SETTINGS = {"name": "vllm", "dtype": "float32", "max_model_len": 4096, "kv_cache_mb": 128, "chat_template": "model", "parallel_calls": True}
MESSAGES = [{"role": "system", "content": "You shop."}, {"role": "user", "content": "I am looking for a quiet kettle under 60 dB."}]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """`checkpoint(template)`: the shipped base with another chat template."""

    def make(template: str):
        folder = tmp_path_factory.mktemp("model")
        shutil.copytree(resolve_model(WORLD_9M), folder, dirs_exist_ok=True)
        (folder / "chat_template.jinja").write_text(template)
        return folder

    return make


def test_turns_of_several_calls_parse_under_the_checkpoints_own_template(ray_local, checkpoint):
    import ray

    folder = checkpoint(HERMES)
    engine = ray.remote(VLLMEngine).options(runtime_env=runtime_env(), num_cpus=0, max_concurrency=64).remote(SETTINGS, str(folder))
    try:
        asked = [Request("research.act", "research", MESSAGES, SCHEMAS, "required", seed=i, max_tokens=640, temperature=1.5) for i in range(12)]
        answers = ray.get([engine.complete.remote(r) for r in asked])
        assert {a.prompt_tokens for a in answers} == {len(ModelRenderer(folder).prompt(MESSAGES, SCHEMAS))}
        turns = [parse_assistant(a.text) for a in answers]
        assert all(t.error == "" and a.finish_reason == "stop" for t, a in zip(turns, answers, strict=True))
        assert {len(t.tool_calls) for t in turns} == {1, 2}
        assert all(check(PARAMETERS[c.name], c.arguments) for t in turns for c in t.tool_calls if '" "' not in c.arguments)
        assert ray.get(engine.describe.remote())["chat_template"] == "model"
    finally:
        ray.get(engine.shutdown.remote())
        ray.kill(engine)


def test_a_template_without_tools_is_an_error_at_start(checkpoint):
    folder = checkpoint("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    with pytest.raises(UserError, match="does not show tools"):
        VLLMEngine(SETTINGS, folder)
