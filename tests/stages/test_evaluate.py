"""`prstack evaluate`: subjects beside controls, resumed and extended; the upcycled base in vLLM."""

from __future__ import annotations

import json
from typing import get_args

import pyarrow.parquet as pq
import pytest

from prstack.cli import main
from prstack.store.records import read_records
from prstack.world.holdout import Slice, slice_of
from prstack.world.material import Latent

SMALL = ["world.products=240", "world.users=40", "evaluation.queries=6", "tracking.wandb=disabled", "ray.dashboard=false"]


def evaluate(run, *args):
    return main(["evaluate", f"run_dir={run}", *SMALL, *args])


def rows(run):
    return [r for f in sorted((run / "evaluation" / "trajectories").glob("*.parquet")) for r in pq.read_table(f, columns=["id", "engines", "query", "termination"]).to_pylist()]


def episodes(run):
    return [json.loads(line) for line in (run / "evaluation" / "episodes.jsonl").read_text().splitlines()]


@pytest.mark.timeout(300)
def test_the_expert_beats_the_control_and_more_queries_add(tmp_path, capsys):
    run = tmp_path / "run"
    scripted = ["evaluation.subjects=[no_check,expert]", "evaluation.compare=expert", "evaluation.judge=expert"]
    assert evaluate(run, *scripted) == 0
    said = capsys.readouterr().out
    assert "natural valid share" in said and "leak 0.00" in said and "best line auc 0." in said and "tasks of unseen category" in said
    assert "no_check" in said and "precision" in said and "By what training saw of a need" in said and "Verdicts" in said
    assert "not by a language model" in said and "needs about" in said
    results = json.loads((run / "evaluation" / "results.json").read_text())
    expert, control = (results["subjects"][s] for s in ("expert", "no_check"))
    assert expert["episodes"] == control["episodes"] == 6
    assert expert["score"] > control["score"] and expert["precision_at_k"] > control["precision_at_k"] and expert["finished"] == 1
    assert expert["verdict_refuse_accuracy"] >= 0.9 and control["opened"] == 0
    assert list(results["race"]["subjects"]) == ["no_check"] and results["race"]["subjects"]["no_check"]["high"] < 0.5
    assert results["greedy"] == results["subjects"] and results["sampled"] == {}
    assert sum(rows["expert"]["episodes"] for rows in results["slices"].values()) == 6
    lines = episodes(run)
    assert len(lines) == 12 and {e["id"] for e in lines} == {r["id"] for r in rows(run)}
    assert {(e["subject"], e["n"]) for e in lines} == {("expert", 0), ("no_check", 0)} and {e["slice"] for e in lines} == set(results["slices"])
    assert sum(e["score"] for e in lines if e["subject"] == "expert") / 6 == pytest.approx(expert["score"])
    truth = read_records(run / "evaluation" / "world" / "truth" / "users", Latent, pytest.fail, "truth")
    assert {slice_of(u.category, [c.attribute for c in u.constraints]) for u in truth} == set(get_args(Slice))
    pairs = {(d["a"], d["b"], d["metric"]): d for d in results["differences"]}
    assert pairs["expert", "no_check", "score"]["low"] <= pairs["expert", "no_check", "score"]["mean_difference"] > 0
    before = {r["id"] for r in rows(run)}
    assert evaluate(run, *scripted) == 0 and "made already" in capsys.readouterr().out
    assert evaluate(run, *scripted, "evaluation.queries=8") == 0
    after = [r["id"] for r in rows(run)]
    assert before < set(after) and len(after) == len(set(after)) == 16 == len(episodes(run))
    assert evaluate(run, *scripted, "evaluation.valid_share=0.2") == 2 and "evaluation.valid_share was 0.35, is 0.2" in capsys.readouterr().err
    assert json.loads((run / "evaluation" / "manifest.json").read_text())["counts"]["queries"] == 8


def test_what_is_not_there_is_one_clear_error(tmp_path, capsys):
    def refused(*args):
        capsys.readouterr()
        assert evaluate(tmp_path / "run", *args) == 2
        return capsys.readouterr().err

    assert "run/sft holds no trained model; run `prstack sft` first, or leave out sft" in refused("evaluation.subjects=[sft]")
    assert "run/sft_shuffled holds no trained model; run `prstack run` first, or leave out sft_shuffled" in refused("evaluation.subjects=[sft_shuffled]")
    assert "evaluation.subjects: oracle is not known (there are: base," in refused("evaluation.subjects=[oracle]")
    assert "evaluation.world_seed=5 is the seed of the training world" in refused("evaluation.subjects=[expert]", "evaluation.world_seed=5", "world.seed=5")
    assert "base_fewshot needs the training set" in refused("evaluation.subjects=[base_fewshot]")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_upcycled_base_works_in_vllm(tmp_path):
    """Bare and constrained, greedy and sampled; what it says is worth little, but every conversation comes to an end."""
    run = tmp_path / "run"
    few = ["evaluation.queries=2", "evaluation.seeds=1", "evaluation.max_tool_calls=2", "evaluation.max_tokens=96", "engine.max_model_len=4096"]
    assert evaluate(run, "trainer.model=smollm2-135m-moe", "evaluation.subjects=[base,base_constrained]", "evaluation.compare=base", *few) == 0
    found = rows(run)
    assert len(found) == 8 and {r["engines"][0][1] for r in found} == {"base", "base_constrained"}
    assert {r["termination"] for r in found} <= {"finished", "max_tool_calls", "max_rounds", "max_tokens", "error"}
    results = json.loads((run / "evaluation" / "results.json").read_text())["subjects"]
    assert results["base_constrained"]["call_validity"] > results["base"]["call_validity"] or results["base"]["call_validity"] == 1
