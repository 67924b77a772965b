"""The research agent without supervision: the conversation of training, live tools, and an end whatever the model writes."""

import asyncio
import json
from dataclasses import replace

import pytest

from actors.engine import Completion, EngineError
from actors.expert import ExpertEngine
from actors.rollout import MAX_MALFORMED, Rollout, messages, play
from actors.user import UserAgent
from prstack.distill.internalise import internalise
from prstack.prompts import Prompts
from prstack.scoring.evidence import Evidence
from prstack.scoring.products import e_prod
from prstack.scoring.report import parse_report
from prstack.settings import WorldConfig
from prstack.store.records import from_row, to_row
from prstack.tools.toolbox import Toolbox
from prstack.types import RubricItem, Trajectory
from prstack.world.world import World, build

PERFECT = {"vague_plan": 0, "malformed_call": 0, "duplicate_call": 0, "unsupported_claim": 0, "missed_constraint": 0}
PROMPTS = Prompts()
QUERY = "I am looking for a quiet kettle."
REPORT = "<think>\nEnough.\n</think>\n\n<report>\n1. [P1] A kettle\n</report>"
FORCE = PROMPTS.render("research_force_report")


@pytest.fixture(scope="module")
def toolbox(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    build(WorldConfig(products=300, users=12), folder)
    return Toolbox(folder)


class Scripted:
    """A pool that answers with one text after the other (the last again and again) and keeps what it was asked."""

    def __init__(self, *texts):
        self.texts, self.asked = list(texts), []

    async def complete(self, request):
        self.asked.append(request)
        text = self.texts[min(len(self.asked), len(self.texts)) - 1]
        if isinstance(text, Exception):
            raise text
        return Completion(text, "stop", 7, len(text.split()), "scripted", 0.25)


def call(name, reasoning="I look.", content="", **arguments):
    body = json.dumps({"name": name, "arguments": arguments})
    return f"<think>\n{reasoning}\n</think>\n\n{content}\n<tool_call>\n{body}\n</tool_call>"


def run(pool, toolbox, query=QUERY, *, id="e", seed=1, on_step=None, user_id="", rubric=(), history=(), **settings):
    more = {"id": id, "seed": seed, "on_step": on_step, "user_id": user_id, "rubric": rubric, "history": history}
    return asyncio.run(play(pool, toolbox, PROMPTS, query, Rollout(**settings), **more))


def roles(conversation):
    return [m["role"] for m in conversation]


def test_the_expert_finds_products_for_users_without_supervision(toolbox):
    expert = ExpertEngine(PERFECT)
    user = UserAgent(expert, toolbox.world.folder)
    histories = sorted(World.open(toolbox.world.folder).histories(), key=lambda h: h.user_id)
    tasks = [(h, asyncio.run(user.prepare(h, h.user_id, 3)).task) for h in histories]
    played = [run(expert, toolbox, task.query, id=h.user_id, user_id=h.user_id, rubric=task.rubric) for h, task in tasks if task]
    found = [t for t in played if t.reports and e_prod(parse_report(t.reports[0]), Evidence.from_steps(t.steps))]
    assert len(played) >= 8 and len(found) >= 0.7 * len(played), [(t.termination, t.detail) for t in played]
    for t in played:
        assert t.termination in ("finished", "max_tool_calls") and len(t.reports) == len(t.scores) == 1
        assert {s.role for s in t.steps} == {"research"} and t.steps[-1].state == "report"
        assert t.engines == {"research": "expert"} and t.usage[0].calls == len(t.steps)
        assert from_row(Trajectory, to_row(t)) == t
    assert sum(t.scores[0] for t in found) / len(found) > 0.8


def test_the_conversation_is_the_one_that_distillation_trains_on(toolbox):
    pool = Scripted(
        call("product_search", "Two needs.", "Needs:\n- a kettle\n- quiet", query="kettle"), call("visit_product", product_id="P3"), call("web_search", query="kettles"), REPORT
    )
    t = run(pool, toolbox)
    assert t.termination == "finished" and t.detail == ""
    trained = internalise(t, PROMPTS.render("research_system"), "keep_corrected").messages
    assert messages(QUERY, t.steps, PROMPTS) == trained
    assert roles(trained) == ["system", "user", *["assistant", "tool"] * 3, "assistant"]
    for n, request in enumerate(pool.asked):
        assert request.messages == trained[: 2 + 2 * n]


def test_requests_carry_the_settings_and_seeds_of_their_own(toolbox):
    pool = Scripted(call("product_search", query="kettle"), REPORT)
    run(pool, toolbox, max_tokens=99, temperature=0.5, constrained=True)
    first, second = pool.asked
    assert (first.task, first.tool_choice, first.tools, first.episode) == ("research.act", "auto", toolbox.schemas, "e")
    assert (first.max_tokens, first.temperature, first.constrained) == (99, 0.5, True) and first.seed != second.seed
    again = Scripted(call("product_search", query="kettle"), REPORT)
    run(again, toolbox)
    assert [r.seed for r in again.asked] == [first.seed, second.seed] and not again.asked[0].constrained
    assert again.asked[0].temperature is None


def test_steps_are_told_as_they_are_made_and_usage_adds_up(toolbox):
    seen = []
    t = run(Scripted(call("product_search", query="kettle"), REPORT), toolbox, on_step=seen.append)
    assert seen == t.steps and seen[0].tool_result.ok and seen[0].tool_call.id == "c1"
    assert (t.usage[0].calls, t.usage[0].prompt_tokens, t.usage[0].seconds) == (2, 14, 0.5)


def test_the_cap_asks_for_the_report(toolbox):
    pool = Scripted(call("product_search", query="kettle"), call("product_search", query="pot"), "Here is what I found: [P1] A kettle.")
    t = run(pool, toolbox, max_tool_calls=2)
    assert t.termination == "max_tool_calls" and t.reports == ["<report>\nHere is what I found: [P1] A kettle.\n</report>"]
    last = pool.asked[-1]
    assert (last.task, last.tool_choice, last.report) == ("research.report", "none", "required")
    assert last.messages[-1] == {"role": "user", "content": FORCE} and sum(m["content"] == FORCE for m in last.messages) == 1
    assert messages(QUERY, t.steps, PROMPTS, forced=True)[:-1] == last.messages


def test_a_report_that_was_asked_for_and_cut_off_has_its_tags_once(toolbox):
    t = run(Scripted(call("product_search", query="kettle"), "<report>\n1. [P1] A ket"), toolbox, max_tool_calls=1)
    assert t.reports == ["<report>\n1. [P1] A ket\n</report>"]


@pytest.mark.parametrize("said", ["Let me think about that.", "", "<think>\nfor ever", "<report>\n1. [P1] cut off"])
def test_malformed_turns_are_kept_answered_and_end_the_episode(toolbox, said):
    pool = Scripted(said)
    t = run(pool, toolbox)
    assert (t.termination, t.detail) == ("error", "no tool call and no report") and not t.reports and not t.scores
    assert [(s.state, s.tool_call, s.content) for s in t.steps] == [("toolcall", None, said)] * MAX_MALFORMED
    assert roles(pool.asked[-1].messages) == ["system", "user", *["assistant", "user"] * (MAX_MALFORMED - 1)]
    assert pool.asked[-1].messages[-1]["content"] == PROMPTS.render("research_malformed", forced=False)


def test_a_tool_call_ends_a_row_of_malformed_turns(toolbox):
    t = run(Scripted("Hm.", "Hm.", call("product_search", query="kettle"), "Hm.", "Hm.", REPORT), toolbox)
    assert t.termination == "finished" and len(t.steps) == 6


def test_calls_that_fail_go_on_with_the_error_as_their_result(toolbox):
    broken = '<tool_call>\n{"name": "product_search", "arguments": {"query": }}\n</tool_call>'
    t = run(Scripted(broken, call("no_such_tool"), REPORT), toolbox)
    assert t.termination == "finished" and [s.tool_result.ok for s in t.steps[:2]] == [False, False]


def test_no_report_even_when_asked(toolbox):
    pool = Scripted(call("product_search", query="kettle"))
    t = run(pool, toolbox, max_tool_calls=2)
    assert (t.termination, t.detail) == ("error", "no report came when it was asked for") and not t.reports
    assert sum(s.tool_call is not None for s in t.steps) == 2 and len(t.steps) == 2 + MAX_MALFORMED
    assert pool.asked[-1].messages[-1]["content"] == PROMPTS.render("research_malformed", forced=True)


def test_conversations_are_append_only(toolbox):
    texts = ["Hm.", call("product_search", query="kettle"), "Hm.", "", call("visit_product", product_id="P1"), "", "", REPORT]
    pool = Scripted(*texts)
    t = run(pool, toolbox, max_tool_calls=2)
    assert t.termination == "max_tool_calls" and len(pool.asked) == len(texts)
    for before, after in zip(pool.asked, pool.asked[1:], strict=False):
        assert after.messages[: len(before.messages)] == before.messages and len(after.messages) > len(before.messages)


def test_turns_are_limited(toolbox):
    t = run(Scripted("Hm.", call("product_search", query="kettle")), toolbox, max_turns=5)
    assert t.termination == "max_rounds" and "5 turns" in t.detail and len(t.steps) == 5


@pytest.mark.parametrize(
    ("failure", "termination"),
    [(EngineError("context", "too long"), "max_tokens"), (EngineError("unavailable", "too long"), "error"), (ZeroDivisionError("too long"), "error")],
)
def test_failures_end_the_episode_with_what_was_done(toolbox, failure, termination):
    t = run(Scripted(call("product_search", query="kettle"), failure), toolbox)
    assert t.termination == termination and "too long" in t.detail and len(t.steps) == 1


def test_shots_and_history_stand_between_system_prompt_and_query(toolbox):
    shots = [{"role": "user", "content": "An example."}, {"role": "assistant", "content": "<report>\nshot\n</report>"}]
    first = run(Scripted(call("product_search", query="kettle"), REPORT), toolbox, "First question.")
    history = messages("First question.", first.steps, PROMPTS)[1:]
    pool = Scripted(call("product_search", query="pot"), REPORT)
    t = run(pool, toolbox, "And a pot?", shots=shots, history=history)
    for request in pool.asked:
        assert request.messages[0]["role"] == "system" and request.messages[1:3] == shots
        assert request.messages[3 : 3 + len(history)] == history
        assert request.messages[3 + len(history)] == {"role": "user", "content": "And a pot?"}
    assert t.query == "And a pot?" and roles(history) == ["user", "assistant", "tool", "assistant"]


def test_a_rubric_scores_the_report_and_only_a_report(toolbox):
    rubric = [RubricItem("r1", "grounding", "Every claim rests on what the tools showed", 1.0, "depth", "product_page")]
    t = run(Scripted(REPORT), toolbox, rubric=rubric)
    assert len(t.scores) == 1 and 0 <= t.scores[0] <= 1 and t.rubric == rubric
    assert run(Scripted(REPORT), toolbox).scores == []
    assert run(Scripted("Hm."), toolbox, rubric=rubric).scores == []


def test_the_same_episode_twice_is_the_same(toolbox):
    once, again = (run(ExpertEngine(PERFECT), toolbox) for _ in range(2))
    assert replace(once, usage=[]) == replace(again, usage=[])
