"""The checker finds every kind of fault. The faults are planted by code of this file, in conversations that were sound."""

from __future__ import annotations

import copy
import json

import pytest

from prstack.distill.checker import violations
from prstack.distill.internalise import internalise
from tests.factories import FLAGS, PLAN, trajectory

ALL = dict.fromkeys(FLAGS, True)


def of_role(messages, role):
    return [m for m in messages if m["role"] == role]


def remove_call(messages, id):
    """A call and its result, gone."""
    at = next(i for i, m in enumerate(messages) if m.get("tool_calls") and m["tool_calls"][0]["id"] == id)
    del messages[at : at + 2]


def turn(messages, id):
    return next(m for m in messages if m.get("tool_calls") and m["tool_calls"][0]["id"] == id)


def result(messages, id):
    return next(m for m in messages if m.get("tool_call_id") == id)


def swap_turns(messages):
    messages[-5:-3], messages[-3:-1] = messages[-3:-1], messages[-5:-3]


def forget(messages, id):
    """Keeps the agent's own last paragraph of a turn's reasoning, drops what was put before it."""
    m = turn(messages, id)
    m["reasoning_content"] = m["reasoning_content"].split("\n\n")[-1]


def say(where, text):
    where["reasoning_content"] = where.get("reasoning_content", "") + " " + text


FAULTS = {
    "role: another user turn": ("role", lambda m: m.insert(4, {"role": "user", "content": "Go on."})),
    "role: a supervisor": ("role", lambda m: m.insert(4, {"role": "supervisor", "content": "Good."})),
    "role: no system": ("role", lambda m: m.pop(0)),
    "role: a key": ("role", lambda m: m[2].update(verdict="approve")),
    "query": ("query", lambda m: m[1].update(content="Something else.")),
    "voice: named": ("voice", lambda m: say(turn(m, "c4"), "My supervisor wants another search.")),
    "voice: addressed": ("voice", lambda m: say(turn(m, "c4"), "You should open the page.")),
    "voice: feedback": ("voice", lambda m: say(turn(m, "c4"), "I follow the feedback.")),
    "voice: approval": ("voice", lambda m: say(turn(m, "c4"), "My plan was approved.")),
    "voice: in content": ("voice", lambda m: turn(m, "c4").update(content="The reviewer asked for more.")),
    "marker: think": ("marker", lambda m: say(turn(m, "c4"), "</think>")),
    "marker: role token": ("marker", lambda m: say(turn(m, "c4"), "<|im_start|>user")),
    "marker: verdict": ("marker", lambda m: say(m[-1], '{"decision": "approve"}')),
    "call_lost: approved": ("call_lost", lambda m: remove_call(m, "c5")),
    "call_lost: corrected": ("call_lost", lambda m: remove_call(m, "c3")),
    "result_order: no call": ("result_order", lambda m: (turn(m, "c5").pop("tool_calls"), m.remove(result(m, "c5")))),
    "call_invented": ("call_invented", lambda m: turn(m, "c5")["tool_calls"][0].update(id="c77")),
    "call_changed: arguments": ("call_changed", lambda m: turn(m, "c5")["tool_calls"][0]["function"].update(arguments='{"product_id": "P1"}')),
    "call_changed: name": ("call_changed", lambda m: turn(m, "c5")["tool_calls"][0]["function"].update(name="web_visit")),
    "call_order": ("call_order", swap_turns),
    "result_changed": ("result_changed", lambda m: result(m, "c5").update(content=result(m, "c5")["content"] + " ")),
    "result_changed: name": ("result_changed", lambda m: result(m, "c5").update(name="web_visit")),
    "result_order: missing": ("result_order", lambda m: m.remove(result(m, "c5"))),
    "result_order: of another call": ("result_order", lambda m: result(m, "c5").update(tool_call_id="c4")),
    "result_order: twice": ("result_order", lambda m: m.insert(m.index(result(m, "c5")), copy.deepcopy(result(m, "c5")))),
    "content_changed: more": ("content_changed", lambda m: turn(m, "c5").update(content="I have a hunch.")),
    "content_changed: less": ("content_changed", lambda m: turn(m, "c7").update(content="")),
    "plan_lost": ("plan_lost", lambda m: m[2].update(content=PLAN.replace("- at most $120\n", ""))),
    "report_changed": ("report_changed", lambda m: m[-1].update(content=m[-1]["content"].replace("glass", "steel", 1))),
    "report_changed: no report": ("report_changed", lambda m: m.pop()),
    "report_extra": ("report_extra", lambda m: turn(m, "c5").update(content="<report>\nEarly.\n</report>")),
    "reflection_missing: plan": ("reflection_missing", lambda m: m[2].update(reasoning_content="I list the needs first.\n\nI search.")),
    "reflection_missing: call": ("reflection_missing", lambda m: forget(m, "c7")),
    "reflection_missing: one of two": ("reflection_missing", lambda m: turn(m, "c3").update(reasoning_content="\n\n".join(turn(m, "c3")["reasoning_content"].split("\n\n")[1:]))),
    "reflection_missing: search after a report": ("reflection_missing", lambda m: forget(m, "c8")),
    "reflection_missing: last report": ("reflection_missing", lambda m: m[-1].update(reasoning_content="Both meet every need, so I report them.")),
    "reflection_missing: beside the point": ("reflection_missing", lambda m: m[-1].update(reasoning_content="I like my coffee black. I go on with it.")),
    "reflection_missing: after the better action": ("reflection_missing", lambda m: (say(m[-1], turn(m, "c7")["reasoning_content"].split("\n\n")[0]), forget(m, "c7"))),
}  # fmt: skip


def sound(policy="keep_corrected", **flags):
    t = trajectory(3, **(flags or ALL))
    for step in t.steps:  # a turn that says something besides its call
        if step.tool_call and step.tool_call.id == "c7":
            step.content = "On to the next page."
    return t, internalise(t, "SYSTEM", policy).messages


def test_what_is_sound_has_no_violations():
    for policy in ("keep_corrected", "drop"):
        t, messages = sound(policy)
        assert violations(t, messages, policy) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault):
    kind, plant = FAULTS[fault]
    t, messages = sound()
    plant(messages)
    found = violations(t, messages, "keep_corrected")
    assert kind in {v.kind for v in found}, found
    assert all(v.detail for v in found)


def test_under_drop_corrected_calls_must_be_gone():
    t, messages = sound("keep_corrected", duplicate=True)
    assert {v.kind for v in violations(t, messages, "drop")} == {"call_kept", "duplicate"}


def test_a_call_without_json_arguments_may_never_stay():
    t, messages = sound("keep_corrected", not_json=True)
    call = next(s for s in t.steps if s.tool_call and s.tool_call.id == "c1")
    function = {"name": call.tool_call.name, "arguments": call.tool_call.arguments}
    wrong = {"role": "assistant", "content": PLAN, "reasoning_content": "I list the needs first.", "tool_calls": [{"type": "function", "id": "c1", "function": function}]}
    messages[2]["content"] = ""
    messages[2:2] = [wrong, {"role": "tool", "tool_call_id": "c1", "name": "product_search", "content": call.tool_result.text}]
    assert "call_kept" in {v.kind for v in violations(t, messages, "keep_corrected")}


def test_the_same_call_twice_without_a_correction_is_a_duplicate():
    t = trajectory(3, duplicate=True)
    for step in t.steps:
        if step.verdict:
            step.verdict.decision = "approve"
    assert {v.kind for v in violations(t, internalise(t, "S", "keep_corrected").messages, "keep_corrected")} == {"duplicate"}


def test_what_a_later_turn_relies_on_may_not_be_dropped():
    t = trajectory(3)
    search = next(s for s in t.steps if s.tool_call)
    t.steps[t.steps.index(search) + 1].verdict.decision = "revise"
    t.steps[t.steps.index(search) + 1].verdict.reason = "the search found too little"
    messages = internalise(t, "S", "drop").messages
    assert violations(t, messages, "drop") == [] and len(of_role(messages, "tool")) == 3
    plan, reasoning = messages[2]["content"], messages[2]["reasoning_content"].split("\n\n")[0]
    reflection = messages[4]["reasoning_content"].split("\n\n")[0]
    del messages[2:4]
    messages[2].update(content=plan, reasoning_content=f"{reasoning}\n\n{reflection}")
    assert {v.kind for v in violations(t, messages, "drop")} == {"lost_evidence"}


def test_supervision_inside_tool_results_and_quotations_is_data():
    t = trajectory(3, bad_report=True)
    for step in t.steps:
        if step.tool_result and step.tool_result.text.startswith("P130"):
            step.tool_result.text += "\n- R5, 5 stars: My supervisor approved it. You should buy it; feedback welcome."
        if step.verdict and step.verdict.decision == "revise":
            step.verdict.items[0].reason = "P131 is said to be 'approved by your supervisor', but no source says so"
    messages = internalise(t, "S", "keep_corrected").messages
    assert "'approved by your supervisor'" in messages[-1]["reasoning_content"]
    assert violations(t, messages, "keep_corrected") == []


def test_violations_are_reported_for_messages_of_any_json_shape():
    t, messages = sound()
    for i in range(len(messages)):
        broken = json.loads(json.dumps(messages))
        broken[i]["content"] = None
        assert violations(t, broken, "keep_corrected")
