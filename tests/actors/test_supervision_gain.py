"""The benchmark of what supervision gains: arms that differ in the supervisor alone, and figures that say what happened."""

from __future__ import annotations

import argparse
import asyncio
import json

import pytest

from actors.engine import Request
from actors.expert import ExpertEngine
from benchmarks.supervision.engines import Brief
from benchmarks.supervision_gain.__main__ import ARMS, compare, held_out, play_student, times
from benchmarks.supervision_gain.episodes import (
    IGNORED,
    SILENT,
    SUPERVISED,
    Given,
    play_alone,
    play_arm,
    prepare,
    supervisor_of,
)
from benchmarks.supervision_gain.measure import (
    approval,
    at_once,
    differences,
    first_and_last,
    means,
    reports,
    rounds,
)
from benchmarks.supervision_gain.reaction import plans_after, reactions
from prstack.dialogue.conversation import research_messages
from prstack.prompts import Prompts
from prstack.settings import AgentsConfig, MistakesConfig, WorldConfig
from prstack.world.holdout import held_out as is_held_out
from prstack.world.world import build
from tests.factories import Script, trajectory

LIMITS = AgentsConfig()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    build(WorldConfig(products=350, users=30, seed=5), folder)
    return folder


@pytest.fixture(scope="module")
def tasks(world):
    return asyncio.run(prepare(world, 10, 0, LIMITS))[0]


@pytest.fixture(scope="module")
def arms(world, tasks):
    """Arm → trajectories of an agent that errs whenever it can."""
    return {arm: asyncio.run(play_arm(arm, ExpertEngine(times(4)), world, tasks, LIMITS, 0)) for arm in (SUPERVISED, SILENT, IGNORED)}


def written(t):
    return [(s.state, s.content, s.tool_call) for s in t.steps if s.role == "research"]


def until_sent_back(t):
    """The research steps up to the first that was sent back."""
    n = next((n for n, s in enumerate(t.steps) if s.verdict and s.verdict.decision == "revise"), len(t.steps))
    return [(s.state, s.content, s.tool_call) for s in t.steps[:n] if s.role == "research"]


def test_arms_make_the_same_steps_until_the_first_correction(arms):
    for a, b, c in zip(*arms.values(), strict=True):
        same = until_sent_back(a)
        assert same and written(b)[: len(same)] == written(c)[: len(same)] == same
    assert any(len(until_sent_back(t)) < len(written(t)) for t in arms[SUPERVISED])


def test_whose_verdicts_are_ignored_is_never_corrected_and_ends_with_its_first_report(arms):
    for t in arms[IGNORED]:
        assert t.termination == "approved" and len(t.reports) == 1 and approval(t, "report") == 1.0


def test_a_silent_supervisor_sends_back_without_saying_why(arms):
    prompts, sent_back = Prompts(None), 0
    for t, loud in zip(arms[SILENT], arms[SUPERVISED], strict=True):
        decisions = [[s.verdict.decision for s in x.steps if s.verdict][: len(until_sent_back(loud))] for x in (t, loud)]
        assert decisions[0] == decisions[1]
        corrections = [m["content"] for m in research_messages(t.query, t.steps, prompts) if "correcting" in m["content"]]
        sent_back += len(corrections)
        assert all(len(c.splitlines()) == 1 for c in corrections)
    assert sent_back


def test_supervision_makes_up_for_planted_mistakes(arms):
    found = {arm: means(ts) for arm, ts in arms.items()}
    first, last = (found[SUPERVISED][f"score_{end}"].mean_difference for end in ("first", "last"))
    assert last - first > 0.05
    assert differences(arms[SUPERVISED], arms[IGNORED], ["score_last"])["score_last"].low > 0
    assert found[SUPERVISED]["rounds_report"].mean_difference > 1.3 > found[IGNORED]["rounds_report"].mean_difference == 1.0


def test_error_rates_are_multiplied_up_to_one():
    assert set(times(0).values()) == {0.0} and times(1) == {k: getattr(MistakesConfig(), k) for k in times(1)}
    assert times(5)["vague_plan"] == 1.0 and times(5)["malformed_call"] == 0.25


def test_reports_are_measured_by_what_was_shown_before_them():
    t = trajectory(0, search_again=True)
    found = reports(t)
    assert [r.score for r in found] == t.scores and len(found) == 2
    assert (found[0].e_prod, found[0].on_merit, found[1].e_prod, found[1].on_merit) == (3, 2, 2, 2)  # one was not opened before the first
    assert first_and_last(Script().plan("x").trajectory("none"))[1].score == 0.0


def test_rounds_count_turns_to_each_that_was_taken():
    t = trajectory(0, vague_plan=True, duplicate=True, bad_report=True)
    turns = [s for s in t.steps if s.role == "research" and s.state == "toolcall"]
    assert rounds(t, "plan") == rounds(t, "report") == 2.0 and approval(t, "plan") == approval(t, "report") == 0.5
    assert at_once(t, "plan") == at_once(t, "report") == 0.0 and at_once(trajectory(0), "plan") == 1.0
    assert rounds(t, "toolcall") == len(turns) / (len(turns) - 1)


def scored(id, *scores):
    t = trajectory(0)
    t.id, t.scores = id, list(scores)
    return t


def test_reactions_tell_the_same_text_from_another():
    again, better = (trajectory(0, vague_plan=True) for _ in range(2))
    plans = [s for s in again.steps if s.role == "research" and s.state == "plan"]
    plans[1].content = plans[0].content
    found = reactions([again, better])["plan"]
    assert found.n == 2 and found.elsewhere == 0 and found.means()["repeated"].mean_difference == 0.5
    assert found.means()["approved"].mean_difference == 1.0
    assert reactions([scored("a", 0.2, 0.5)])["report"].gain == [pytest.approx(0.3)]


def test_plans_are_held_against_the_needs_that_they_left_out():
    t = trajectory(0, vague_plan=True)
    t.query = "I am searching for Blenders. Maximum noise level: 60 dB. I would like to stay under $120."
    plans = [s for s in t.steps if s.role == "research" and s.state == "plan"]
    plans[0].content = "Needs:\n- I am looking for Blenders\n- price at most $120"
    for after, taken_up, lost in (("- noise level at most 60 dB\n- price at most $120\n- I am looking for Blenders", 1.0, 0.0), ("- price at most $120", 0.0, 0.5)):
        plans[1].content = f"Needs:\n{after}"
        assert {k: i.mean_difference for k, i in plans_after([t]).items()} == {"taken_up": taken_up, "lost": lost}


def test_the_students_queries_are_held_out_and_get_their_own_rubrics(tmp_path):
    asked = held_out(tmp_path / "w", 12)
    slices = [is_held_out(t.persona.category, [n.attribute for n in t.persona.needs]) for t in asked.values()]
    assert len(asked) == 12 and any(slices) and not all(slices)
    assert all(t.rubric and t.query for t in asked.values())
    assert asyncio.run(Given(asked).prepare(None, next(iter(asked)), 0)).task is next(iter(asked.values()))


def test_an_agent_alone_gets_no_plan_request_and_the_same_queries(world, tasks):
    alone = asyncio.run(play_alone(ExpertEngine(times(0)), world, tasks, LIMITS, 0, True, 0.0))
    assert [t.query for t in alone] == [t.query for t in tasks.values()]
    assert not any(s.state == "plan" for t in alone for s in t.steps) and all(t.scores for t in alone)


def test_conversations_that_are_kept_are_not_had_twice(tmp_path, world, tasks):
    given = argparse.Namespace(keep=str(tmp_path), seed=0, temperature=0.0, concurrency=2, max_tokens=256, arms=ARMS, model="", engine="expert")
    few = dict(list(tasks.items())[:3])
    play_student(world, dict(list(few.items())[:2]), LIMITS, given)
    first = play_student(world, few, LIMITS, given)
    assert set(first) == {"supervised", "silent", "ignored", "alone", "alone, free"} and all([t.id for t in ts] == list(few) for ts in first.values())
    given.engine = "no_such_module:make"  # nobody is asked
    assert play_student(world, few, LIMITS, given) == first


def test_arms_are_held_against_the_first(arms):
    figures, document = compare(arms)
    assert set(document["differences"]) == {SILENT, IGNORED} and json.loads(json.dumps(document)) == document
    assert figures["score_last_supervised"].value > figures["score_last_ignored"].value
    assert [r["round"] for r in document["rounds"][SUPERVISED]][:2] == [1, 2] and document["reactions"][SUPERVISED]["plan"]["n"] > 0


def test_turns_are_cut_to_the_length_that_is_given():
    asked = []

    class Engine:
        async def complete(self, request):
            asked.append(request.max_tokens)

    for tokens in (None, 8, 512):
        asyncio.run(Brief(Engine(), 32).complete(Request("research.act", "research", [], max_tokens=tokens)))
    assert asked == [32, 8, 32]


def test_arms_are_known_by_name():
    assert isinstance(supervisor_of(SUPERVISED), ExpertEngine)
    with pytest.raises(KeyError):
        supervisor_of("alone")
