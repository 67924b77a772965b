"""Results of conversations: rows over all, by decoding and by slice, and paired differences."""

from types import SimpleNamespace

import pytest

from prstack.evaluation.metrics import measure
from prstack.evaluation.power import queries_needed
from prstack.evaluation.results import COMPARED, Measured, summarise
from tests.evaluation.test_metrics import TRUTH, opened

GOOD = measure(opened("P1").report("1. [P1] Aurel").trajectory("good"), TRUTH)
BAD = measure(opened("P2").report("1. [P2] Bonvar").trajectory("bad"), TRUTH)
TASKS = {"q1": "unseen category", "q2": "seen combination"}


def had(subject, task, n, metrics):
    return Measured(f"{subject}-{task}-{n}", subject, SimpleNamespace(id=task, slice=TASKS[task]), n, metrics)


CONVERSATIONS = [
    had("sft", "q1", 0, GOOD), had("sft", "q1", 1, BAD), had("sft", "q2", 0, GOOD), had("sft", "q2", 1, GOOD),
    had("no_check", "q1", 0, BAD), had("no_check", "q2", 0, BAD),
]  # fmt: skip


def test_rows_of_all_conversations_of_greedy_and_sampled_ones_and_by_slice():
    found = summarise(CONVERSATIONS, ["no_check", "sft"], "sft")
    assert list(found["subjects"]) == ["no_check", "sft"]
    assert found["subjects"]["sft"]["episodes"] == 4 and found["subjects"]["sft"]["valid_listed"] == 0.75
    assert found["greedy"]["sft"]["valid_listed"] == 1.0 and found["sampled"]["sft"]["valid_listed"] == 0.5
    assert list(found["greedy"]) == ["no_check", "sft"] and list(found["sampled"]) == ["sft"]
    assert {name: {s: row["episodes"] for s, row in rows.items()} for name, rows in found["slices"].items()} == {
        "unseen category": {"no_check": 1, "sft": 2}, "seen combination": {"no_check": 1, "sft": 2},
    }  # fmt: skip
    assert found["slices"]["unseen category"]["sft"]["valid_listed"] == 0.5


def test_differences_are_paired_by_query_over_its_seeds():
    differences = summarise(CONVERSATIONS, ["no_check", "sft"], "sft")["differences"]
    assert {(d["a"], d["b"]) for d in differences} == {("sft", "no_check")}
    assert {d["metric"] for d in differences} == set(COMPARED) - {"grounding"}  # no report claims anything
    precision = next(d for d in differences if d["metric"] == "precision_at_k")
    assert precision["n"] == 2 and precision["mean_difference"] == pytest.approx((0.5 + 1.0) / 2 / 3)
    assert summarise(CONVERSATIONS, ["no_check", "sft"], "base")["differences"] == []


def test_what_a_difference_needs_where_its_spread_is_known():
    conversations = [had("sft", "q1", 0, BAD), had("sft", "q2", 0, GOOD), had("no_check", "q1", 0, BAD), had("no_check", "q2", 0, BAD)]
    (needed,) = summarise(conversations, ["no_check", "sft"], "sft")["power"]
    spread = abs(GOOD.score - BAD.score) / 2**0.5
    assert spread > 0 and needed == {"a": "sft", "b": "no_check", "metric": "score", "difference": 0.02, "spread": pytest.approx(spread), "queries": queries_needed(spread)}
    assert summarise(conversations[:2], ["sft"], "sft")["power"] == [], "nothing to compare with"
    assert summarise([c for c in conversations if c.task.id == "q1"], ["no_check", "sft"], "sft")["power"] == [], "one query has no spread"


def test_a_line_of_episodes():
    line = CONVERSATIONS[1].line()
    assert list(line)[:5] == ["id", "subject", "task", "n", "slice"]
    assert (line["id"], line["subject"], line["task"], line["n"], line["slice"]) == ("sft-q1-1", "sft", "q1", 1, "unseen category")
    assert line["score"] == BAD.score and line["verdict_refuse_accuracy"] is None


def test_nothing_was_had():
    assert summarise([], ["sft"], "sft") == {"subjects": {}, "greedy": {}, "sampled": {}, "slices": {}, "differences": [], "power": []}
