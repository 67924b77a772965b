"""The ablation's arms are settings that load and do what their name says; its comparison is by query and training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.ablation.arms import ARMS, COMMON, Made
from benchmarks.ablation.measure import METRICS, document, read
from prstack.config import load
from prstack.distill.filters import chain
from tests.factories import trajectory


def test_arms_differ_in_filters_or_internalisation():
    made = {arm: load([*COMMON, *own]).distill for arm, own in ARMS.items()}
    assert [d.internalise for d in made.values()] == ["rule", "rule", "none", "turns"]
    assert made["none"].filters == made["turns"].filters == made["full"].filters
    bad = [trajectory(1, termination="max_rounds"), trajectory(2, reports=["<report>\nBuy [P999].\n</report>"])]
    bad[1].steps[-2].content = bad[1].reports[-1]
    for arm, kept in (("full", 0), ("no_filter", 2)):
        filters = chain(made[arm].filters)
        assert sum(all(keep(t) is None for keep in filters.values()) for t in bad) == kept, arm


def test_steps_come_nearest_to_the_tokens_with_a_loss():
    made = Made(Path("packed"), {"packs": 100, "learned_tokens": 150_000})
    assert made.steps(160_000, 2) == 53 and made.steps(10, 2) == 1


def test_differences_are_over_queries_and_trainings(tmp_path):
    rows = [
        {"subject": subject, "task": f"q{q}", **dict.fromkeys(METRICS, None), "score": base + q / 10}
        for subject, base in (("full-0", 0.3), ("full-1", 0.5), ("none-0", 0.1), ("none-1", 0.1), ("no_check", 0.9))
        for q in range(4)
    ]
    (tmp_path / "episodes.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = document(*read(tmp_path / "episodes.jsonl"), "full")
    assert found["means"]["full"]["score"] == pytest.approx(0.55) and found["trainings"]["full"]["score"] == pytest.approx([0.45, 0.65])
    assert found["controls"]["no_check"]["score"] == pytest.approx(1.05)
    gain = found["differences"]["none"]["score"]
    assert (gain["mean_difference"], gain["low"], gain["high"], gain["n"]) == pytest.approx((0.3, 0.2, 0.4, 4)), "queries cancel, trainings do not"
    assert found["differences"]["none"]["grounding"] is None
