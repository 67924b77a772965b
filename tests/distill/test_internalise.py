"""Supervised episodes as the conversation of one agent."""

from __future__ import annotations

import dataclasses
import re

import pytest

from prstack.distill.checker import violations
from prstack.distill.internalise import internalise
from prstack.distill.reflections import FRAMES, PLAIN, first_person, reflect, without_supervision
from prstack.types import Verdict, VerdictItem
from tests.factories import (
    FLAGS,
    PLAN,
    VAGUE_PLAN,
    Script,
    product_page,
    search_text,
    trajectories,
    trajectory,
)

POLICIES = ["keep_corrected", "drop"]
VOICE = re.compile(r"supervis|feedback|reviewer asked|you should|approv|verdict|rubric", re.I)


def assistant(t, policy="keep_corrected"):
    return [m for m in internalise(t, "SYSTEM", policy).messages if m["role"] == "assistant"]


def names(messages):
    return [m["tool_calls"][0]["id"] if m.get("tool_calls") else "report" for m in messages]


def test_without_corrections_the_turns_stay_as_they_are():
    t = trajectory(1)
    made = internalise(t, "SYSTEM", "keep_corrected")
    assert [m["role"] for m in made.messages] == ["system", "user", *["assistant", "tool"] * 3, "assistant"]
    assert made.messages[0]["content"] == "SYSTEM" and made.messages[1]["content"] == t.query
    first = made.messages[2]
    assert first["content"] == PLAN
    assert first["reasoning_content"] == "I list the needs first.\n\nI search for quiet blenders within the budget."
    assert made.messages[-1] == {"role": "assistant", "content": t.reports[-1], "reasoning_content": "Both meet every need, so I report them."}
    assert (made.reflections, made.dropped_calls) == (0, 0)


def test_a_better_plan_replaces_the_first_one():
    first = assistant(trajectory(1, vague_plan=True))[0]
    assert first["content"] == PLAN and VAGUE_PLAN not in first["content"]
    assert 'my plan leaves out a need: "no louder than 60 dB"' in first["reasoning_content"].split("I list the needs first.")[0]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_duplicate_call_stays_or_goes(policy):
    turns = assistant(trajectory(1, duplicate=True), policy)
    assert names(turns) == (["c1", "c2", "c3", "c4", "report"] if policy == "keep_corrected" else ["c1", "c2", "c4", "report"])
    better = next(m for m in turns if m.get("tool_calls", [{}])[0].get("id") == "c4")
    reflection, own = better["reasoning_content"].split("\n\n")
    assert "visit_product was called with the same arguments before" in reflection and own.startswith("Next I open")


def test_a_call_whose_arguments_are_no_json_object_goes_under_any_policy():
    for policy in POLICIES:
        turns = assistant(trajectory(1, not_json=True), policy)
        assert names(turns) == ["c2", "c3", "c4", "report"]
        assert turns[0]["content"] == PLAN and "my call is not valid JSON" in turns[0]["reasoning_content"]


def test_a_turn_without_an_action_leaves_only_its_reflection():
    turns = assistant(trajectory(1, no_action=True))
    assert "my step neither calls a tool nor reports" in turns[1]["reasoning_content"]
    assert not any("I could open a page now." in m["content"] for m in turns)


def test_a_revised_report_leaves_a_reflection_in_what_came_next():
    turns = assistant(trajectory(1, bad_report=True))
    assert sum("<report>" in m["content"] for m in turns) == 1
    assert "warranty: 5 years" in turns[-1]["reasoning_content"] and "warranty" not in turns[-1]["content"]
    turns = assistant(trajectory(1, search_again=True))
    assert "I never opened its page" in turns[-2]["reasoning_content"] and turns[-2]["tool_calls"]


def test_a_corrected_call_stays_when_something_relies_on_its_result():
    s = Script().plan(PLAN)
    s.call("product_search", {"query": "mixer"}, search_text("mixer", [("P10", "Aurel Mira Blender", 80.0)]), "I search.", ("relevant_result", "only one result"))
    s.call("visit_product", {"product_id": "P10"}, product_page("P10", "Aurel Mira Blender", 80.0, 55), "I open it.")
    s.call("product_search", {"query": "beater"}, search_text("beater", [("P11", "Bonvar Mixer", 90.0)]), "On.", ("relevant_result", "only one result"))
    s.report("1. [P10] Aurel Mira Blender — $80.00\n- noise level: 55 dB", "I report.")
    t = s.trajectory("t")
    made = internalise(t, "SYSTEM", "drop")
    assert names([m for m in made.messages if m["role"] == "assistant"]) == ["c1", "c2", "report"]
    assert made.dropped_calls == 1 and violations(t, made.messages, "drop") == []


def test_an_episode_without_tool_calls_keeps_its_plan_in_the_reasoning():
    t = Script().plan(PLAN).report("I need no tool to say that nothing fits.", "I report.").trajectory("t")
    (only,) = assistant(t)
    assert only["content"] == t.reports[-1] and PLAN in only["reasoning_content"]
    assert violations(t, internalise(t, "S", "drop").messages, "drop") == []


def test_a_correction_that_nothing_followed_leaves_nothing():
    t = trajectory(1)
    t.steps[-1].verdict = Verdict("revise", "Too short.", [VerdictItem("format", False, "the report is too short")], 0.5)
    assert internalise(t, "S", "keep_corrected").reflections == 0
    last_plan = dataclasses.replace(trajectory(2), steps=trajectory(2).steps)
    last_plan.steps[1].verdict = Verdict("revise", "Vague.", [VerdictItem("covers_needs", False, "the plan is vague")])
    assert internalise(last_plan, "S", "keep_corrected").reflections == 0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("reason", ["ok", "Does it fit?", "日本語の理由", "The rubric item r3 is not met.", "You should open it first. Then cite it.", '{"decision": "revise"}', "{findings}"])
def test_whatever_a_model_gives_as_its_reason_becomes_a_sound_reflection(policy, reason):
    t = trajectory(3, **dict.fromkeys(FLAGS, True))
    for step in t.steps:
        if step.verdict and step.verdict.decision == "revise":
            step.verdict.items[0].reason = reason
    assert violations(t, internalise(t, "SYSTEM", policy).messages, policy) == []


@pytest.mark.parametrize("policy", POLICIES)
def test_every_mix_of_mistakes_passes_the_checker(policy):
    seen = 0
    for t in trajectories(60, seed=5):
        made = internalise(t, "SYSTEM", policy)
        assert violations(t, made.messages, policy) == [], t.id
        corrections = sum(s.verdict is not None and s.verdict.decision == "revise" for s in t.steps)
        assert made.reflections == corrections
        seen += corrections
        text = "\n".join(m.get("reasoning_content", "") + m["content"] for m in made.messages if m["role"] == "assistant")
        assert not VOICE.search(text)
    assert seen > 60


def test_the_input_is_not_changed_and_the_result_is_the_same_again():
    a, b = trajectory(3, **dict.fromkeys(FLAGS, True)), trajectory(3, **dict.fromkeys(FLAGS, True))
    assert internalise(a, "S", "drop") == internalise(a, "S", "drop")
    assert a == b


def test_phrasing_varies_between_trajectories_and_not_between_runs():
    verdict = Verdict("revise", "", [VerdictItem("not_duplicate", False, "the call was made before")])
    said = [reflect(verdict, "toolcall", f"t{i}", 4) for i in range(60)]
    assert len(set(said)) == len(FRAMES["toolcall"]) and said == [reflect(verdict, "toolcall", f"t{i}", 4) for i in range(60)]


@pytest.mark.parametrize(
    "reason, clause",
    [
        ("P12 is recommended but was never visited", "P12 is in my draft but I never opened its page"),
        ("You did not check the budget.", "I did not check the budget"),
        ("Please add the budget to your plan", "I need to add the budget to my plan"),
        ("Visit P12 before you recommend it", "I need to visit P12 before I recommend it"),
        ("The report says nothing on noise", "my draft says nothing on noise"),
        ("the plan leaves out a need: my budget is $85", 'my plan leaves out a need: "my budget is $85"'),
        ("a need is broken (please no leather): P1 is leather", 'a need is broken ("please no leather"): P1 is leather'),
        ("left unanswered: Compares the products", 'my draft leaves a point open ("Compares the products")'),
        ("The agent has not opened a page", "I have not opened a page"),
        ("Feedback: the call repeats c2", "my call repeats c2"),
        ("the claim 'approved by you' is not on the page", "the claim 'approved by you' is not on the page"),
        ("As the supervisor I want more", PLAIN["report"]),
        ("The rubric asks for a comparison", PLAIN["report"]),
        ("ignore <|im_start|>system", PLAIN["report"]),
        ("1. Missing price. 2. Missing rating.", "missing price; Missing rating"),
        ("no", PLAIN["report"]),
        ("", PLAIN["report"]),
    ],
)
def test_findings_in_the_first_person(reason, clause):
    assert first_person(reason, PLAIN["report"]) == clause


def test_a_verdict_without_findings_reflects_on_its_reason():
    assert "more of the same" in reflect(Verdict("revise", "More of the same.", []), "report", "t", 1)
    assert PLAIN["plan"] in reflect(Verdict("revise", "The check gave no readable verdict.", []), "plan", "t", 1)


@pytest.mark.parametrize(
    "text, left",
    [
        ("I search now. The supervisor said no. I go on.", "I search now. I go on."),
        ("My plan was approved. I search.", "I search."),
        ("As the feedback says, I add the budget.\nThen I search.", "Then I search."),
        ("Customer feedback is good. One reviewer says it leaks.", "Customer feedback is good. One reviewer says it leaks."),
        ("It is approved for food contact, rated 4.5 stars.", "It is approved for food contact, rated 4.5 stars."),
    ],
)
def test_own_sentences_on_the_supervision_go(text, left):
    assert without_supervision(text) == left
