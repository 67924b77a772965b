"""Wants of stages, placed on nodes."""

from __future__ import annotations

import pytest

from prstack import cli
from prstack.config import load
from prstack.submit.placement import Node, Want, missing, place, wants


def test_units_are_whole_on_a_node_and_all_of_a_stage_at_once():
    nodes = [Node("a", 8, 4), Node("b", 8, 4)]
    engines, ranks = Want("rl", "vLLM engines", 2, 0, 2), Want("rl", "ranks", 4, 1, 1)
    assert [p.placed for p in place([ranks, engines], nodes)] == [4, 2], "engines first, ranks in what they leave"
    assert [p.placed for p in place([Want("sft", "ranks", 9, 1, 1)], nodes)] == [8]
    assert [p.placed for p in place([Want("evaluate", "vLLM engines", 1, 0, 8)], nodes)] == [0], "8 GPUs, but not on one node"
    assert [p.placed for p in place([Want("sft", "ranks", 8, 1, 1), Want("evaluate", "vLLM engines", 2, 0, 4)], nodes)] == [8, 2], "one after the other"
    assert place([Want("sft", "ranks", 4, 1, 1)], nodes)[0].nodes == 1, "close together"


def test_what_is_missing_is_said_in_one_line():
    said = missing(place([Want("sft", "ranks", 3, 2, 0)], [Node("a", 4, 0)]))
    assert said == "sft: 1 of 3 ranks with 2 CPUs each on one node"
    assert missing(place([Want("sft", "ranks", 2, 2, 0)], [Node("a", 4, 0)])) == ""


def test_stages_want_what_their_settings_say():
    c = load(["preset=cluster_8x8"])
    found = {(w.stage, w.what): (w.count, w.cpus, w.gpus) for w in wants(c, ["world", "synthesize", "distill", "sft", "rl", "evaluate", "report"], gpu=True)}
    assert found == {
        ("synthesize", "vLLM engines"): (8, 0, 8),
        ("distill", "workers"): (1, 1, 0),
        ("sft", "ranks"): (64, 4, 1),
        ("rl", "vLLM engines"): (4, 0, 8),
        ("rl", "ranks"): (32, 4, 1),
        ("evaluate", "vLLM engines"): (8, 0, 8),
    }
    laptop = wants(load(["evaluation.subjects=[no_check,expert]"]), ["synthesize", "sft", "evaluate"], gpu=False)
    assert [(w.stage, w.count, w.cpus, w.gpus) for w in laptop] == [("sft", 2, 1, 0)], "scripted engines and subjects want nothing"


@pytest.mark.parametrize("args", [["run", "preset=smoke", "until=report", "trainer.threads=4"], ["sft", "trainer.threads=4"]])
def test_a_machine_that_is_too_small_is_refused_before_anything_is_made(args, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*args, "ray.num_cpus=2", "run_dir=r", "tracking.wandb=disabled"]) == 2
    _, err = capsys.readouterr()
    assert "wanted" in err and "2 ranks" in err and "this machine (ray.num_cpus) has too little: sft: 2 of 2 ranks with 4 CPUs each on one node" in err
    assert not list((tmp_path / "r").glob("*/manifest.json"))
