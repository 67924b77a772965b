"""Turns with several tool calls in the training conversation: kept together, whatever was corrected in them, and checked as such."""

import copy
import random

import pytest

from prstack.distill import checker
from prstack.distill.filters import form
from prstack.distill.internalise import internalise
from prstack.store.records import from_row, to_row
from prstack.store.records import migrate as migrated
from prstack.types import Trajectory
from tests.factories import FLAGS, trajectory

SYSTEM = "You are a shopping research agent."


def joined(n: int, **flags: bool) -> Trajectory:
    """An episode in which neighbouring tool calls without words of their own are joined to the turn before, at random."""
    t, rng, before = trajectory(n, **flags), random.Random(n), None
    for step in t.steps:
        if step.role != "research":
            continue
        if step.tool_call and before is not None and before.state == "toolcall" and rng.random() < 0.6:
            step.joined, step.reasoning, step.content = True, "", ""
        before = step
    return t


def some(n: int) -> list[Trajectory]:
    rng = random.Random(n)
    made = [joined(i, **{f: rng.random() < 0.3 for f in FLAGS}) for i in range(n)]
    assert sum(any(s.joined for s in t.steps) for t in made) > n / 2
    return made


@pytest.mark.parametrize("policy", ["keep_corrected", "drop"])
def test_any_episode_with_joined_calls_passes_the_checker(policy):
    sizes = set()
    for t in some(120):
        assert form.fault(t) is None
        messages = internalise(t, SYSTEM, policy).messages
        assert checker.violations(t, messages, policy) == [], t.id
        sizes |= {len(m["tool_calls"]) for m in messages if "tool_calls" in m}
    assert sizes >= {1, 2, 3}


def test_a_turn_whose_first_call_goes_keeps_what_it_says():
    t = trajectory(1, duplicate=True)
    calls = [s for s in t.steps if s.tool_call]
    wrong, after = calls[2], calls[3]  # the page that was open already, and the next one
    wrong.reasoning, wrong.content, after.joined, after.reasoning = "Two pages.", "I open both.", True, ""
    for policy in ("keep_corrected", "drop"):
        messages = internalise(t, SYSTEM, policy).messages
        assert checker.violations(t, messages, policy) == []
    (turn,) = [m for m in messages if m.get("tool_calls", [{}])[0].get("id") == after.tool_call.id]
    assert "Two pages." in turn["reasoning_content"] and turn["content"] == "I open both." and len(turn["tool_calls"]) == 1


@pytest.fixture
def good() -> tuple[Trajectory, list[dict], int]:
    """An episode, its conversation, and where a turn with two calls stands."""
    t = trajectory(2)
    calls = [s for s in t.steps if s.tool_call]
    calls[2].joined, calls[2].reasoning = True, ""
    messages = internalise(t, SYSTEM, "keep_corrected").messages
    at = next(i for i, m in enumerate(messages) if len(m.get("tool_calls", [])) == 2)
    assert checker.violations(t, messages, "keep_corrected") == []
    return t, messages, at


def test_the_checker_sees_what_is_done_to_a_turn_of_several_calls(good):
    t, messages, at = good

    def kinds(change) -> set[str]:
        other = copy.deepcopy(messages)
        change(other)
        return {v.kind for v in checker.violations(t, other, "keep_corrected")}

    def swap_results(m):
        m[at + 1], m[at + 2] = m[at + 2], m[at + 1]

    def swap_calls(m):
        m[at]["tool_calls"].reverse()
        swap_results(m)

    def lose_a_result(m):
        del m[at + 2]

    def lose_a_call(m):
        m[at]["tool_calls"].pop()
        del m[at + 2]

    def answer_twice(m):
        m.insert(at + 3, m[at + 2])

    def tear_apart(m):
        second = {"role": "assistant", "content": "", "tool_calls": [m[at]["tool_calls"].pop()]}
        m.insert(at + 2, second)

    def merge_turns(m):
        m[at - 2]["tool_calls"] += m[at]["tool_calls"]
        m[at - 2 : at + 1] = [m[at - 2], m[at - 1]]

    assert "result_order" in kinds(swap_results)
    assert "call_order" in kinds(swap_calls)
    assert "result_order" in kinds(lose_a_result)
    assert "call_lost" in kinds(lose_a_call)
    assert "result_order" in kinds(answer_twice)
    assert kinds(tear_apart) == {"call_order"}
    assert "call_order" in kinds(merge_turns)
    assert kinds(lambda m: m[at].update(tool_calls=[])) & {"role"}


def test_a_call_is_joined_to_a_turn_of_calls_alone():
    t = trajectory(3)
    first = next(s for s in t.steps if s.tool_call)
    first.joined = True
    assert form.fault(t)[0] == "misplaced_join"
    t = trajectory(3)
    t.steps[0].joined = True
    assert form.fault(t)[0] == "misplaced_join"


def test_trajectories_of_version_3_hold_one_call_a_turn():
    t = trajectory(4)
    row = to_row(t)
    for step in row["steps"]:
        del step["joined"]
    read = from_row(Trajectory, migrated("Trajectory", 3, row))
    assert read == t and not any(s.joined for s in read.steps)
