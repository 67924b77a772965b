"""What a training by reinforcement gained: against the start, query by query, and over trainings."""

import json

import pytest

from benchmarks.rl_gain.__main__ import MEANS, by_kind, tables
from benchmarks.rl_gain.measure import COMPARED, curve, gains
from benchmarks.students import by_subject, mean


def rows(subject, rewards, **more):
    return [dict.fromkeys((*COMPARED, *MEANS), 0.0) | {"subject": subject, "task": f"q{n}", "reward": r} | more for n, r in enumerate(rewards)]


def test_each_training_and_all_of_an_algorithm_are_held_against_the_start(tmp_path):
    lines = rows("sft", [0.1, 0.2, 0.3]) + rows("grpo-0", [0.3, 0.4, 0.5]) + rows("grpo-1", [0.1, 0.3, 0.5], e_prod=2.0) + rows("no_check", [1, 1, 1])
    (tmp_path / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {g.name: g for g in gains(by_subject(tmp_path / "episodes.jsonl"), "sft")}
    assert set(found) == {"grpo-0", "grpo-1", "grpo"} and [found[n].pooled for n in ("grpo-0", "grpo")] == [False, True]
    same = found["grpo-0"].differences["reward"]
    assert (same.mean_difference, same.low, same.high, same.n) == pytest.approx((0.2, 0.2, 0.2, 3))
    pooled = found["grpo"].differences["reward"]
    assert pooled.mean_difference == pytest.approx(0.15) and pooled.low < 0.15 < pooled.high and found["grpo"].trainings == 2
    assert found["grpo"].differences["e_prod"].mean_difference == pytest.approx(1.0)


def test_a_metric_that_nobody_has_is_no_number():
    found = gains({"sft": rows("sft", [0.1], grounding=None), "grpo-0": rows("grpo-0", [0.2])}, "sft")
    unknown = rows("sft", [0.1], grounding=None)
    assert found[0].differences["grounding"] is None and mean(unknown, "grounding") is None and mean(unknown, "reward") == 0.1


def test_the_curve_has_one_value_an_update(tmp_path):
    (tmp_path / "steps.jsonl").write_text('{"reward": 0.25, "step": 1}\n{"step": 2}\n{"reward": 0.5, "step": 3}\n')
    assert curve(tmp_path / "steps.jsonl") == [0.25, 0.5] and curve(tmp_path / "steps.jsonl", "step") == [1, 3] and not curve(tmp_path / "steps.jsonl", "entropy")


def test_sampled_and_greedy_conversations_are_told_apart():
    said = [row | {"n": n} for n, r in ((0, 0.2), (1, 0.6)) for row in rows("sft", [r, r])]
    better = [row | {"n": n} for n, r in ((0, 0.1), (1, 0.9)) for row in rows("grpo-0", [r, r])]
    kinds = by_kind({"sft": said, "grpo-0": better, "expert": [row | {"n": 0} for row in rows("expert", [1.5, 1.5])]})
    assert {kind: mean(of["sft"], "reward") for kind, of in kinds.items()} == {"sampled": 0.6, "greedy": 0.2}
    assert {len(of["expert"]) for of in kinds.values()} == {2}, "a scripted subject stands on both sides"
    found = {kind: gains(of, "sft") for kind, of in kinds.items()}
    assert {kind: round(g[0].differences["reward"].mean_difference, 6) for kind, g in found.items()} == {"sampled": 0.3, "greedy": -0.1}
    assert [title.split(" (")[0] for title, _, _ in tables(kinds, found, {"grpo-0": [0.1, 0.4]})] == [
        "Means over queries, sampled",
        "Less sft, sampled",
        "Means over queries, greedy",
        "Less sft, greedy",
        "Mean reward of sampled episodes in training, first and last updates",
    ]
