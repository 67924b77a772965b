"""Aggregates and tables."""

import io

import pytest
from rich.console import Console

from prstack.evaluation.metrics import Truth, measure
from prstack.evaluation.table import COLUMNS, VERDICTS, aggregate, evaluation_tables
from tests.evaluation.test_metrics import TRUTH, opened
from tests.factories import trajectory


def text(table, width=110) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


def test_means_leave_out_what_an_episode_does_not_have():
    with_report = measure(opened("P1", "P2", "P4").report("1. [P1] Aurel\n2. [P2] Bonvar").trajectory("a"), TRUTH)
    without = measure(opened("P1").trajectory("b"), TRUTH)
    row = aggregate([with_report, without])
    assert row["episodes"] == 2 and row["finished"] == 0.5
    assert row["score"] == with_report.score / 2 and row["score_given_valid"] == with_report.score
    assert row["grounding"] is None and row["verdict_accept_accuracy"] is None


def test_accuracies_are_over_products_not_episodes():
    one = measure(opened("P2").report("1. [P2] Bonvar").trajectory("a"), TRUTH)  # 0 of 1 refused
    many = measure(opened("P1", "P2", "P4").report("1. [P1] Aurel").trajectory("b"), TRUTH)  # 2 of 2
    row = aggregate([one, many])
    assert row["refuse_accuracy"] == pytest.approx(2 / 3)
    assert row["accept_accuracy"] == 1.0 and row["opened_valid_share"] == 1 / 4


def test_nothing_to_aggregate():
    row = aggregate([])
    assert row.pop("episodes") == 0 and set(row.values()) == {None}


def test_tables():
    row = aggregate([measure(trajectory(n), Truth(frozenset())) for n in range(3)])
    assert {name for name, _, _ in (*COLUMNS, *VERDICTS)} <= set(row)
    differences = [
        {"a": "sft", "b": "no_check", "metric": "score", "mean_difference": 0.2, "low": 0.1, "high": 0.3, "n": 1200},
        {"a": "sft", "b": "expert", "metric": "score", "mean_difference": -0.2, "low": -0.3, "high": -0.1, "n": 100},
        {"a": "sft", "b": "base", "metric": "score", "mean_difference": 0.0, "low": -0.1, "high": 0.1, "n": 100},
    ]
    shown = text(evaluation_tables({"subjects": {"a trained [bold]model\x1b": row, "empty": aggregate([])}, "differences": differences}))
    assert "[bold]" in shown and "\x1b" not in shown and "…" not in shown
    assert "precision" in shown and "grounding" in shown and "1.000" in shown and "-2.00" in shown and "–" in shown
    up, down, none = (next(line for line in shown.splitlines() if other in line) for other in ("no_check", "expert", "base"))
    assert "▲" in up and "+0.200" in up and "1,200" in up and "▼" in down and "▲" not in none and "▼" not in none


def test_what_a_difference_needs_stands_below():
    power = [{"a": "sft", "b": b, "metric": "score", "difference": 0.02, "spread": 0.3, "queries": n} for b, n in (("base", 1766), ("no_check", 400))]
    shown = " ".join(text(evaluation_tables({"subjects": {}, "power": power})).split())
    assert "To find a difference of 0.02 in the score of sft (80 % power) needs about 1,766 queries against base, 400 queries against no_check." in shown


def test_what_is_not_there_has_no_table():
    shown = text(evaluation_tables({"subjects": {}}))
    assert "differences" not in shown and "sampled" not in shown and "training saw" not in shown


def test_greedy_and_sampled_answers_and_slices_stand_apart():
    row = aggregate([measure(trajectory(n), Truth(frozenset())) for n in range(3)])
    names = ["base", "base_fewshot", "base_constrained", "sft_shuffled", "sft", "no_check", "expert"]
    rows = dict.fromkeys(names, row)
    slices = {"unseen category": rows, "unseen combination": rows, "seen combination": {"sft": row | {"score": 0.123}}}
    shown = text(evaluation_tables({"subjects": rows, "greedy": rows, "sampled": {"sft": row | {"score": 0.456}}, "slices": slices}))
    assert "Evaluation, greedy and sampled answers together" in shown and "…" not in shown
    for name in names:  # in one line each: the main table, greedy and sampled, slices, verdicts
        assert sum(name in line.split() for line in shown.splitlines()) == 4, name
    _, decoding, by_slice, verdicts = (line.split() for line in shown.splitlines() if "sft" in line.split())
    assert decoding[1] == "1.000" and decoding[5] == "0.456" and by_slice[-3] == "0.123" and len(verdicts) == 7
