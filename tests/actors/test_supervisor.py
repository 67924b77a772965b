"""Whatever the engines answer, an episode ends with a reason and keeps what was done."""

import asyncio
import json

import pytest

from actors.engine import Completion, EngineError
from actors.expert import ExpertEngine
from actors.research import ResearchAgent
from actors.supervisor import Episode, SupervisorAgent, read_verdict
from actors.user import UserAgent
from prstack.settings import AgentsConfig, TokensConfig, WorldConfig
from prstack.world.world import World, build


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    build(WorldConfig(products=300, users=8), folder)
    return folder


class Scripted:
    """A pool in which one role's tasks are answered by `answer(request)`, the others by the expert."""

    def __init__(self, prefix, answer):
        self.prefix, self.answer, self.expert, self.asked = prefix, answer, ExpertEngine({}), []

    async def complete(self, request):
        self.asked.append(request)
        if not request.task.startswith(self.prefix):
            return await self.expert.complete(request)
        text = self.answer(request)
        return Completion(text, "stop", 1, len(text.split()), "scripted", 0.0)


def play(world, prefix, answer, **limits):
    pool, config = Scripted(prefix, answer), AgentsConfig(**limits)
    supervisor = SupervisorAgent(pool, UserAgent(pool, world, config), ResearchAgent(pool, world, config), config, {}, "generated")
    history = min(World.open(world).histories(), key=lambda h: h.user_id)
    return asyncio.run(supervisor.run(Episode("e", history, 1))), pool


def call(name, **arguments):
    return f'<tool_call>\n{json.dumps({"name": name, "arguments": arguments})}\n</tool_call>'


def test_a_researcher_that_only_talks_is_forced_to_report_and_ends(world):
    t, _ = play(world, "research.act", lambda r: "Let me think about that.")
    assert t.termination in ("max_rounds", "approved") and t.reports
    corrections = [i.kind for s in t.steps if s.verdict for i in s.verdict.items if not i.ok]
    assert "has_action" in corrections


def test_a_researcher_that_never_reports(world):
    t, _ = play(world, "research", lambda r: "", max_tool_calls=3)
    assert t.termination == "max_rounds" and not t.reports and "no report came" in t.detail


def test_malformed_calls_stay_on_record_as_they_were_written(world):
    t, _ = play(world, "research.act", lambda r: '<tool_call>\n{"name": "product_search", "arguments": {"query": \n</tool_call>', max_tool_calls=4)
    written = [s for s in t.steps if s.role == "research" and s.state == "toolcall"]
    assert written and all((s.tool_call and not s.tool_result.ok) or "product_search" in s.content for s in written)
    assert t.termination in ("max_tool_calls", "max_rounds")


def test_the_same_call_over_and_over_runs_into_the_cap(world):
    t, _ = play(world, "research.act", lambda r: call("product_search", query="kettle"), max_tool_calls=5)
    assert t.termination == "max_tool_calls" and sum(s.tool_call is not None for s in t.steps) == 5
    assert any(not i.ok and i.kind == "not_duplicate" for s in t.steps if s.verdict for i in s.verdict.items)


def test_a_supervisor_that_approves_everything_and_one_that_approves_nothing(world):
    yes = json.dumps({"items": [], "reason": "ok", "score": 1.0, "decision": "approve"})
    t, _ = play(world, "supervisor", lambda r: yes)
    assert t.termination == "approved" and len(t.reports) == 1
    t, _ = play(world, "supervisor", lambda r: yes.replace("approve", "revise"), max_report_rounds=2)
    assert t.termination in ("max_rounds", "max_tool_calls") and len(t.reports) == 2 == len(t.scores)


def test_every_report_is_on_record_with_its_score_and_its_verdict_with_a_reason(world):
    no = json.dumps({"items": [{"kind": "grounded", "ok": False, "reason": "no source"}], "reason": "not yet", "score": 0.5, "decision": "revise"})
    t, _ = play(world, "supervisor.check_report", lambda r: no, max_report_rounds=3)
    written = [n for n, s in enumerate(t.steps) if s.role == "research" and s.state == "report"]
    assert len(written) == 3 and [t.steps[n].content for n in written] == t.reports and [t.steps[n].round for n in written] == [0, 1, 2]
    assert len(t.scores) == 3 and all(0 <= score <= 1 for score in t.scores)
    assert all((v := t.steps[n + 1].verdict).reason == "not yet" and v.score == 0.5 for n in written)


def test_the_report_that_spends_the_last_token_is_on_record_with_its_score(world):
    t, _ = play(world, "research.act", lambda r: f"<report>\n{'word ' * 3000}\n</report>", max_tokens=2500)
    assert t.termination == "max_tokens" and len(t.reports) == 1 == len(t.scores) and t.steps[-1].content == t.reports[0]


def test_a_supervisor_that_talks_nonsense_approves_nothing(world):
    t, _ = play(world, "supervisor", lambda r: "looks great! approve!", max_report_rounds=2)
    assert t.termination != "approved" and all(s.verdict.decision == "revise" for s in t.steps if s.verdict)


def test_a_user_agent_that_talks_nonsense_is_rejected_by_the_gate(world):
    t, pool = play(world, "user", lambda r: "I like kettles.", user_attempts=3)
    assert t.termination == "error" and t.detail.startswith("gate:") and not t.steps
    assert sum(r.task == "user.persona" for r in pool.asked) == 3
    assert "Problems with your last answer" in pool.asked[-1].messages[0]["content"]


@pytest.mark.parametrize(("kind", "termination"), [("context", "max_tokens"), ("unavailable", "error"), ("request", "error")])
def test_engine_errors_end_the_episode_with_what_was_done(world, kind, termination):
    def fail(request):
        raise EngineError(kind, "it is what it is")

    t, _ = play(world, "supervisor.check_report", fail)
    assert t.termination == termination and "it is what it is" in t.detail and t.steps and len(t.reports) == 1


def test_a_defect_ends_one_episode_not_the_run(world):
    t, _ = play(world, "research.act", lambda r: 1 / 0)
    assert t.termination == "error" and "ZeroDivisionError" in t.detail and t.steps


@pytest.mark.parametrize(
    ("text", "decision", "score"),
    [
        ('{"decision": "approve", "items": [], "reason": "r", "score": 0.5}', "approve", 0.5),
        ('{"decision": "approve", "score": 7}', "approve", None),
        ('{"decision": "approve", "score": true}', "approve", None),
        ('{"decision": "maybe"}', "revise", None),
        ("approve", "revise", None),
        ('{"decision": "revise", "items": [{"kind": "visited", "ok": false, "reason": "x"}, {"kind": "made up"}, 3]}', "revise", None),
    ],
)
def test_reading_verdicts(text, decision, score):
    verdict = read_verdict(text, "report")
    assert (verdict.decision, verdict.score) == (decision, score)
    assert all(i.kind == "visited" for i in verdict.items)


def test_every_answer_is_asked_for_in_its_own_length(world):
    lengths = {"persona": 11, "query": 12, "rubric": 13, "plan": 14, "turn": 15, "verdict": 16}
    t, pool = play(world, "nobody", None, tokens=TokensConfig(**lengths))
    assert t.termination == "approved"
    tasks = {"check_plan": "verdict", "check_toolcall": "verdict", "check_report": "verdict", "act": "turn", "report": "turn"}
    asked = {(r.task.partition(".")[2], r.max_tokens) for r in pool.asked}
    assert asked == {(task, lengths[tasks.get(task, task)]) for task, _ in asked} and len(asked) == 8
