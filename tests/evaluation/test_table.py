"""Aggregates and tables."""

import io

import pytest
from rich.console import Console

from prstack.evaluation.metrics import Truth, measure
from prstack.evaluation.table import COLUMNS, aggregate, evaluation_table
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
    assert {name for name, _, _ in COLUMNS} <= set(row)
    differences = [
        {"a": "sft", "b": "no_check", "metric": "score", "mean_difference": 0.2, "low": 0.1, "high": 0.3, "n": 1200},
        {"a": "sft", "b": "expert", "metric": "score", "mean_difference": -0.2, "low": -0.3, "high": -0.1, "n": 100},
        {"a": "sft", "b": "base", "metric": "score", "mean_difference": 0.0, "low": -0.1, "high": 0.1, "n": 100},
    ]
    shown = text(evaluation_table({"a trained [bold]model\x1b": row, "empty": aggregate([])}, differences))
    assert "[bold]" in shown and "\x1b" not in shown and "…" not in shown
    assert "precision" in shown and "grounding" in shown and "1.000" in shown and "-2.00" in shown and "–" in shown
    up, down, none = (next(line for line in shown.splitlines() if other in line) for other in ("no_check", "expert", "base"))
    assert "▲" in up and "+0.200" in up and "1,200" in up and "▼" in down and "▲" not in none and "▼" not in none


def test_no_differences_no_second_table():
    assert "differences" not in text(evaluation_table({}))
