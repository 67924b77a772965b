"""Pairs of reports: what is chosen, what is rejected, under which prompt, and that every other report is counted."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from prstack.distill.export import plain_message
from prstack.distill.internalise import internalise
from prstack.distill.preferences import PREFERENCES_SCHEMA, Pairs, pairs
from prstack.tools.schemas import SCHEMAS
from prstack.types import Alternative, Trajectory
from tests.factories import trajectories, trajectory

SYSTEM = "You are a shopping research agent."


def made(t: Trajectory, margin: float = 0.05, longest: int = 10**9, policy: str = "keep_corrected") -> Pairs:
    return pairs(t, SYSTEM, SCHEMAS, policy, margin, lambda messages: len(json.dumps(messages)), longest)


def said(messages: list[dict]) -> list[dict]:
    return [plain_message(m) for m in messages]


def with_draws(t: Trajectory, *texts: str) -> Trajectory:
    """The episode whose last report is the best of several draws."""
    last = len(t.steps) - 2
    assert t.steps[last].state == "report"
    drawn = replace(t.steps[last], alternatives=[Alternative(text, 0.0, f"I draw {n}.") for n, text in enumerate(texts)])
    return replace(t, steps=[*t.steps[:last], drawn, *t.steps[last + 1 :]])


def cheaper(report: str) -> str:
    """A report that loses points: it claims what no source says."""
    return report.replace("\n</report>", "\n- warranty: 9 years\n</report>")


def test_a_report_that_was_sent_back_is_rejected_and_the_approved_one_chosen():
    t = trajectory(1, bad_report=True, vague_plan=True)
    (row,) = made(t).rows
    assert set(row) == set(PREFERENCES_SCHEMA.names)
    assert (row["id"], row["episode"], row["kind"]) == (f"{t.id}-r0", t.id, "report_round")
    assert row["chosen_score"] == 1.0 and row["rejected_score"] == pytest.approx(0.8)
    assert said(row["chosen"]) == [{"role": "assistant", "content": t.reports[1], "reasoning_content": "Both meet every need, so I report them."}]
    assert said(row["rejected"]) == [{"role": "assistant", "content": t.reports[0], "reasoning_content": "I report."}]
    assert json.loads(row["tools"]) == SCHEMAS


def test_the_prompt_is_the_conversation_up_to_the_report_and_knows_of_no_draft():
    t = trajectory(1, bad_report=True, duplicate=True)
    (row,) = made(t).rows
    conversation = internalise(t, SYSTEM, "keep_corrected").messages
    assert said(row["prompt"]) == conversation[:-1]
    assert "warranty" in conversation[-1]["reasoning_content"]  # there the draft is reflected on
    assert "warranty" not in json.dumps([row["prompt"], row["chosen"]])


def test_calls_between_two_reports_belong_to_the_prompt_of_both():
    t = trajectory(2, search_again=True)
    third = json.loads(t.steps[-4].tool_call.arguments)["product_id"]
    t.reports[0] = t.steps[-6].content = cheaper(t.reports[0])
    (row,) = made(t).rows
    assert third in json.dumps(row["prompt"][-2]["tool_calls"]) and row["prompt"][-1]["role"] == "tool"


def test_draws_that_were_not_taken_are_rejected_as_well():
    t = trajectory(3, bad_report=True)
    t = with_draws(t, cheaper(t.reports[1]), t.reports[1], cheaper(t.reports[1]))
    found = made(t)
    assert [(r["id"], r["kind"]) for r in found.rows] == [(f"{t.id}-r0", "report_round"), (f"{t.id}-r1d0", "best_of")]
    assert found.unpaired == 2  # one is the chosen text itself, one came before
    assert said(found.rows[1]["rejected"])[0]["reasoning_content"] == "I draw 0."
    assert found.rows[0]["prompt"] == found.rows[1]["prompt"] and found.rows[0]["chosen"] == found.rows[1]["chosen"]


@pytest.mark.parametrize(
    ("why", "t", "settings"),
    [
        ("the lead is below the margin", trajectory(4, bad_report=True), {"margin": 0.3}),
        ("it does not fit", trajectory(4, bad_report=True), {"longest": 1000}),
        ("nothing was approved", trajectory(4, bad_report=True, termination="max_rounds"), {}),
        ("the draft speaks of the supervisor", trajectory(4, bad_report=True), {}),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_a_report_without_a_pair_is_counted(why, t, settings):
    assert len(made(trajectory(4, bad_report=True)).rows) == 1
    if t.termination == "max_rounds":
        t.steps[-1].verdict.decision = "revise"
    if "supervisor" in why:
        t.reports[0] = t.steps[-4].content = t.reports[0].replace("<report>", "<report>\nMy supervisor will like this.")
    assert made(t, **settings) == Pairs([], 1)


def test_an_episode_with_one_report_gives_nothing():
    assert made(trajectory(5)) == Pairs([], 0)


def test_every_other_report_of_an_episode_is_a_pair_or_counted():
    rng = random.Random(0)
    total = 0
    for t in trajectories(120):
        draws = [rng.choice([t.reports[-1], cheaper(t.reports[-1])]) for _ in range(rng.randint(0, 2))]
        t = with_draws(t, *draws)
        found = made(t, policy=rng.choice(["keep_corrected", "drop"]))
        assert len(found.rows) + found.unpaired == len(t.reports) - 1 + len(draws)
        for row in found.rows:
            assert row["chosen_score"] - row["rejected_score"] >= 0.05 and row["chosen"] != row["rejected"]
        total += len(found.rows)
    assert total > 40
