"""Single turns over exact tokens: what a policy pool asks, keeps and refuses. The last test plays a real model."""

import asyncio
import json

import pytest

from actors.engine import EngineError, Request, Sample
from actors.expert import ExpertEngine
from actors.policy import PolicyPool, check_append_only
from actors.rollout import Rollout, play
from actors.router import EnginePool
from prstack.dialogue.render import TEMPLATES, Renderer
from prstack.errors import UserError
from prstack.prompts import Prompts
from prstack.rl.groups import outcome
from prstack.rl.samples import attach
from prstack.settings import WorldConfig
from prstack.stages.models import WORLD_9M, resolve_model
from prstack.tools.toolbox import Toolbox
from prstack.world.world import build

PROMPTS = Prompts()
QUERY = "I am looking for a quiet kettle."
REPORT = "<think>\nEnough.\n</think>\n\n<report>\n1. [P1] A kettle\n</report>"
CONTEXT = 4000


@pytest.fixture(scope="module")
def model():
    return resolve_model(WORLD_9M)


@pytest.fixture(scope="module", params=list(TEMPLATES))
def renderer(request, model):
    return Renderer(model, TEMPLATES[request.param])


@pytest.fixture(scope="module")
def toolbox(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    build(WorldConfig(products=300, users=12), folder)
    return Toolbox(folder)


def call(*queries):
    calls = "\n".join("<tool_call>\n" + json.dumps({"name": "product_search", "arguments": {"query": q}}) + "\n</tool_call>" for q in queries)
    return f"<think>\nI look.\n</think>\n\n{calls}"


class Scripted:
    """An engine that samples one text after the other (the last again and again), with a log-probability for each token; `cut` turns are cut off
    after as many tokens. It keeps every prompt, and stops in the middle of a text as an engine with `max_tokens` does."""

    exact_tokens = True

    def __init__(self, renderer, *texts, cut=None):
        self.renderer, self.texts, self.cut, self.prompts, self.samplings = renderer, texts, cut or {}, [], []

    async def ready(self):
        return "initial"

    async def describe(self):
        return {"name": "scripted", "exact_tokens": self.exact_tokens}

    async def generate(self, token_ids, sampling):
        n = len(self.prompts)
        self.prompts.append(list(token_ids))
        self.samplings.append(sampling)
        text = self.texts[min(n, len(self.texts) - 1)]
        if isinstance(text, Exception):
            raise text
        ids = [*self.renderer.encode_text(text), self.renderer.end_of_turn_id]
        most = min(self.cut.get(n, sampling.max_tokens), sampling.max_tokens)
        kept = ids[:most]
        return Sample(kept, [-0.01 * (n + 1) - 0.001 * i for i in range(len(kept))], "stop" if kept == ids else "length", f"v{n}")


def played(engine, renderer, toolbox, context=CONTEXT, seed=1, retries=0, **settings):
    """A trajectory with the tokens of its turns."""

    async def run():
        pool = EnginePool([engine], retries=retries, pause=0.001)
        policy = PolicyPool(pool, renderer, context)
        await policy.ready()
        t = await play(policy, toolbox, PROMPTS, QUERY, Rollout(**settings), id="e", seed=seed)
        turns = policy.take("e")
        attach(t, turns)
        await pool.close()
        return t, turns

    return asyncio.run(run())


def test_prompts_grow_by_what_was_sampled_and_what_was_said(renderer, toolbox):
    odd = call("kettle").replace("I look.", "I   look . ") + "  "  # rendered again, it would be other tokens
    engine = Scripted(renderer, odd, "No idea.", call("quiet kettle", "kettle 1 l"), REPORT)
    t, turns = played(engine, renderer, toolbox)
    assert outcome(t) == "finished" and len(turns) == 4 == len(engine.prompts)
    tokens = []
    for n, (turn, prompt) in enumerate(zip(turns, engine.prompts, strict=True)):
        sampled = [i for i, m in zip(turn.token_ids, turn.loss_mask, strict=True) if m]
        assert sampled == [*renderer.encode_text(engine.texts[n]), renderer.end_of_turn_id]
        first = turn.loss_mask.index(1)
        assert set(turn.loss_mask[first:]) == {1}, "what was sampled is one piece at the end of a turn"
        assert tokens + turn.token_ids[:first] == prompt and prompt[: len(tokens)] == tokens
        assert turn.logprobs[:first] == [0.0] * first and turn.logprobs[first] == pytest.approx(-0.01 * (n + 1)) and turn.weight_version == f"v{n}"
        tokens += turn.token_ids
    # What was said in between is what the template writes, and nothing else.
    text = renderer.tokenizer.decode(tokens, skip_special_tokens=False)
    for result in (s.tool_result for s in t.steps if s.tool_result):
        assert f"<tool_response>\n{result.text}\n</tool_response>" in text
    assert f"{PROMPTS.render('research_malformed', forced=False)}<|im_end|>\n<|im_start|>assistant\n" in text
    assert odd in text and text.count("<|im_start|>assistant\n") == 4


def test_a_conversation_in_canonical_form_is_rendered_as_training_renders_it(renderer, toolbox):
    from actors.rollout import messages

    engine = Scripted(renderer, call("kettle"), REPORT)
    t, turns = played(engine, renderer, toolbox)
    whole = renderer.render(messages(QUERY, t.steps, PROMPTS), toolbox.schemas)
    tokens, mask = [i for turn in turns for i in turn.token_ids], [m for turn in turns for m in turn.loss_mask]
    assert (tokens, mask) == (whole.input_ids[: len(tokens)], whole.loss_mask[: len(mask)]) and sum(mask) == sum(whole.loss_mask)


def test_a_turn_that_was_cut_off_is_closed_by_a_token_that_is_not_learned(renderer, toolbox):
    engine = Scripted(renderer, call("kettle"), REPORT, cut={0: 5})
    _, turns = played(engine, renderer, toolbox)
    assert sum(turns[0].loss_mask) == 5 and turns[0].token_ids[-1] != renderer.end_of_turn_id
    assert turns[1].token_ids[0] == renderer.end_of_turn_id and turns[1].loss_mask[0] == 0


def test_sampling_is_that_of_the_model_itself(renderer, toolbox):
    engine = Scripted(renderer, call("kettle"), REPORT)
    played(engine, renderer, toolbox, max_tokens=77)
    for s in engine.samplings:
        assert (s.temperature, s.top_p, s.max_tokens, s.stop_token_ids) == (1.0, 1.0, 77, [renderer.end_of_turn_id])
    assert engine.samplings[0].seed != engine.samplings[1].seed


def test_an_episode_without_room_ends_as_truncated_with_what_it_has(renderer, toolbox):
    engine = Scripted(renderer, call("kettle"))
    t, turns = played(engine, renderer, toolbox, context=1500)
    assert outcome(t) == "context" and turns and all(len(p) < 1500 for p in engine.prompts)
    assert all(len(p) + s.max_tokens <= 1500 for p, s in zip(engine.prompts, engine.samplings, strict=True))


def test_an_engine_that_fails_is_no_fault_of_the_policy(renderer, toolbox):
    t, turns = played(Scripted(renderer, call("kettle"), EngineError("engine", "died")), renderer, toolbox)
    assert outcome(t) == "failed" and len(turns) == 1
    t, _ = played(Scripted(renderer, "Hm."), renderer, toolbox)
    assert outcome(t) == "malformed"


def test_an_engine_that_comes_back_goes_on_where_the_episode_stood(renderer, toolbox):
    faulty = Scripted(renderer, call("kettle"), EngineError("engine", "died"), REPORT)
    t, turns = played(faulty, renderer, toolbox, retries=2)
    sound = Scripted(renderer, call("kettle"), REPORT)
    _, undisturbed = played(sound, renderer, toolbox)
    assert outcome(t) == "finished" and [turn.token_ids for turn in turns] == [turn.token_ids for turn in undisturbed]
    assert faulty.prompts[1] == faulty.prompts[2] == sound.prompts[1]


def test_an_episode_that_takes_too_long_is_at_its_end(renderer, toolbox):
    class Slow(Scripted):
        async def generate(self, token_ids, sampling):
            await asyncio.sleep(30 if self.prompts else 0)
            return await super().generate(token_ids, sampling)

    t, turns = played(Slow(renderer, call("kettle")), renderer, toolbox, max_seconds=0.5)
    assert outcome(t) == "time" and len(t.steps) == len(turns) == 1 and "0.5 s" in t.detail


def test_messages_that_do_not_continue_the_last_ones_are_a_defect(renderer):
    async def ask(*conversations):
        pool = PolicyPool(EnginePool([Scripted(renderer, "Hm.")]), renderer, CONTEXT)
        for messages in conversations:
            try:
                await pool.complete(Request("research.act", "research", messages, episode="e", constrained=False))
            except AssertionError:
                continue  # as a player would that goes on whatever happens
        pool.take("e")

    said = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    more = [*said, {"role": "assistant", "content": "Hm."}, {"role": "user", "content": "And?"}]
    asyncio.run(ask(said, more))
    for wrong in (said, [said[0], {"role": "user", "content": "other"}, *more[2:]], [*said, *more[3:]], more[:3]):
        with pytest.raises(AssertionError, match="do not continue"):
            asyncio.run(ask(said, wrong))


def test_a_template_that_rewrites_earlier_turns_is_refused(model, tmp_path):
    source = TEMPLATES["prstack"].read_text()
    dropping = tmp_path / "dropping.jinja"
    dropping.write_text(source.replace("{%- if reasoning %}", "{%- if reasoning and loop.last %}"))
    assert dropping.read_text() != source
    with pytest.raises(UserError, match="rewrites earlier turns"):
        check_append_only(Renderer(model, dropping))
    late = tmp_path / "late.jinja"  # one that the probe does not see is found at the turn
    late.write_text(source.replace("{%- if reasoning %}", "{%- if reasoning and not (loop.index < 9 and messages | length > 8) %}"))
    renderer = Renderer(model, late)
    check_append_only(renderer)

    async def run():
        pool = PolicyPool(EnginePool([Scripted(renderer, REPORT)]), renderer, CONTEXT)
        messages = [{"role": "user", "content": "q"}]
        for _ in range(6):
            await pool.complete(Request("research.act", "research", messages, episode="e", constrained=False))
            messages = [*messages, {"role": "assistant", "content": "a", "reasoning_content": "r"}, {"role": "user", "content": "q"}]

    with pytest.raises(AssertionError, match="rewritten earlier turns"):
        asyncio.run(run())


def test_engines_and_requests_without_exact_tokens_are_refused(model):
    renderer = Renderer(model)

    class Expert(ExpertEngine):
        async def generate(self, token_ids, sampling): ...

    with pytest.raises(UserError, match="does not return the tokens that it sampled"):
        asyncio.run(PolicyPool(EnginePool([Expert()]), renderer, CONTEXT).ready())
    with pytest.raises(EngineError, match="grammar"):
        asyncio.run(PolicyPool(EnginePool([Expert()]), renderer, CONTEXT).complete(Request("research.act", "research", [], constrained=True)))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_model_gives_what_it_sampled_the_probability_that_is_kept(ray_local, model, toolbox):
    """world-9m in vLLM at play; transformers says what each sampled token's probability is after all that stands before it."""
    import torch
    from transformers import AutoModelForCausalLM

    from actors.synthesis import serve
    from prstack.settings import EngineConfig

    async def run(pool):
        policy = PolicyPool(pool, Renderer(model), 2048)
        await policy.ready()
        many = await asyncio.gather(*(play(policy, toolbox, PROMPTS, QUERY, Rollout(max_tokens=48, max_turns=3), id=f"e{i}", seed=i) for i in range(3)))
        return [(t, policy.take(t.id)) for t in many]

    with serve(EngineConfig(name="vllm", model=WORLD_9M, dtype="float32", max_model_len=2048, kv_cache_mb=64), model) as pool:
        episodes = asyncio.run(run(pool))
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    for t, turns in episodes:
        attach(t, turns)
        assert len(turns) == 3 and outcome(t) in ("turns", "malformed"), (outcome(t), t.detail)
        ids, mask, engine = (torch.tensor([x for turn in turns for x in getattr(turn, name)]) for name in ("token_ids", "loss_mask", "logprobs"))
        with torch.no_grad():
            said = reference(ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        assert (said - engine[1:])[mask[1:] == 1].abs().mean() < 1e-4 and 3 <= mask.sum() <= 3 * 48
