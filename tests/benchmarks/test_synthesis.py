import asyncio
import gc
from types import SimpleNamespace

import pytest

from benchmarks.common import cpu_between
from benchmarks.synthesis import journal, replay
from benchmarks.synthesis.journal import Call, Journal, Stretch
from benchmarks.synthesis.nothing import RememberingTools, copies
from prstack.types import ToolCall, ToolResult


def call(arrival, end, tokens=10, prompt=8, cached=0):
    return Call(f"c{arrival}", [0] * prompt, None, 0.0, 1.0, 0, 100, arrival, end, tokens, cached)


def test_a_call_is_in_flight_for_the_share_of_its_time_in_the_stretch():
    calls = [call(0, 10), call(4, 6), call(9, 19), call(20, 21), call(8, None)]
    assert Stretch(calls, 5, 10, 0, 0).in_flight == pytest.approx((5 + 1 + 1 + 2) / 5)


def test_hits_are_counted_over_the_prompts_of_calls_that_ended():
    assert journal.hit_rate([call(0, 1, prompt=10, cached=5), call(0, 1, prompt=30, cached=25), call(0, None, prompt=100)]) == 0.75


def test_a_replay_begins_to_count_with_the_first_call_of_the_stretch():
    calls = [call(t, t + 5) for t in range(10)]
    assert replay.first_in(Stretch(calls, 2.5, 10, 0, 0)) == 3
    with pytest.raises(RuntimeError, match="give it more time"):
        replay.first_in(Stretch(calls, 8.5, 10, 0, 0))


def test_a_replay_begins_bit_by_bit_as_the_loop_did():
    calls = [call(0, 2), call(1, 9), call(3, None), call(4, 5), call(6, 7)]
    assert replay.room(calls, 4, 64) == [1, 2, 2, 3, 64]


def test_cpu_time_is_that_since_the_beginning_and_all_of_processes_that_came_later():
    assert cpu_between({1: 5.0, 2: 7.0}, {1: 6.5, 3: 0.25}) == 1.75


def test_a_stretch_knows_its_calls_its_rate_and_what_a_token_cost():
    s = Stretch([call(0, 2), call(2, 4), call(4, 6)], 2, 4, tokens=10, cpu=1.0)
    assert (s.tokens_per_s, s.cpu_per_token, [c.arrival for c in s.arrived]) == (5.0, 0.1, [2])


class Llm:
    """What a journal needs of an AsyncLLM: outputs as they come, and the tokens of requests that run."""

    errored = False

    def __init__(self):
        self.output_processor = SimpleNamespace(request_states={})

    async def generate(self, prompt, sampling, request_id):
        if request_id == "bad":
            raise ValueError("refused")
        for n in (1, 3):
            counted = SimpleNamespace(num_output_tokens=lambda n=n: n)
            self.output_processor.request_states["inner"] = SimpleNamespace(external_req_id=request_id, detokenizer=counted)
            yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=[7] * n)], num_cached_tokens=4)
        self.output_processor.request_states.clear()


def test_a_journal_hands_everything_on_and_counts_the_tokens_of_running_calls():
    async def run():
        engine = SimpleNamespace(_llm=Llm())
        journal.attach(engine)
        sampling = SimpleNamespace(structured_outputs=SimpleNamespace(structural_tag="{}"), temperature=0.5, top_p=1.0, seed=3, max_tokens=9)
        marks = [journal.mark(engine)[1] async for _ in engine._llm.generate({"prompt_token_ids": [1, 2]}, sampling, "good")]
        with pytest.raises(ValueError, match="refused"):
            _ = [o async for o in engine._llm.generate({"prompt_token_ids": [1]}, sampling, "bad")]
        assert marks == [1, 3] and journal.mark(engine)[1] == 3 and engine._llm.errored is False
        good, bad = journal.read(engine)
        assert (good.prompt, good.form, good.tokens, good.cached, good.seed, good.most) == ([1, 2], "{}", 3, 4, 3, 9)
        assert good.end >= good.arrival and (bad.end, bad.tokens) == (None, 0)
        journal.attach(engine)
        assert isinstance(engine._llm, Journal) and isinstance(engine._llm.llm, Llm) and journal.read(engine) == []

    asyncio.run(run())


def test_tools_that_remember_are_asked_once_and_answer_under_the_id_of_each_call():
    class Tools:
        asked = 0
        schemas = ()

        def call(self, call):
            self.asked += 1
            return ToolResult(call.id, True, f"{call.name} {call.arguments}")

    tools = Tools()
    remembering = RememberingTools(tools)
    answers = [remembering.call(ToolCall(id, name, "{}")) for id, name in (("c1", "a"), ("c2", "a"), ("c3", "b"))]
    assert [(a.call_id, a.text) for a in answers] == [("c1", "a {}"), ("c2", "a {}"), ("c3", "b {}")]
    assert tools.asked == 2


def test_copies_differ_in_their_ids_alone():
    from actors.supervisor import Episode
    from prstack.types import History

    made = copies(Episode("e", History("u", []), 5), 3, "copy")
    assert [(e.id, e.history.user_id, e.seed) for e in made] == [("copy-0", "u", 5), ("copy-1", "u", 5), ("copy-2", "u", 5)]


@pytest.mark.slow
@pytest.mark.long
def test_recorded_calls_are_replayed_with_their_lengths_and_grammars():
    from actors.engine import Request
    from actors.vllm_engine import VLLMEngine
    from prstack.prompts import replies
    from prstack.settings import EngineConfig
    from prstack.stages.models import WORLD_9M, resolve_model

    async def run():
        settings = EngineConfig(name="vllm", model=WORLD_9M, max_model_len=1024, kv_cache_mb=64, temperature=1.0)
        engine = VLLMEngine(settings, resolve_model(WORLD_9M))
        try:
            await engine.ready()
            journal.attach(engine)
            ask = [{"role": "user", "content": "Which blender is quiet?"}]
            schema = replies.verdict_schema("plan")
            asked = [Request("t.t", "research", ask, seed=n, max_tokens=64, schema=schema if n % 2 else None) for n in range(10)]
            await asyncio.gather(*map(engine.complete, asked))
            calls = journal.read(engine)
            again = await replay.run(engine._llm.llm, calls, 2, 3)
        finally:
            await engine.shutdown()
        assert len({c.tokens for c in calls}) > 2 and sum(c.form is not None for c in calls) == 5
        ended = [(n, c) for n, c in enumerate(again.calls) if c.end]
        assert len(again.calls) <= 10 and len(ended) >= 7
        assert all((c.prompt, c.tokens, c.form) == (calls[n].prompt, calls[n].tokens, calls[n].form) for n, c in ended)
        assert again.start <= again.calls[2].arrival and 0 < again.tokens <= sum(c.tokens for c in calls) and again.in_flight <= 3

    asyncio.run(run())
    gc.collect()  # while the interpreter is whole: AsyncLLM's finaliser needs its modules
