"""`distill.internalise=llm`, the stage on real Ray: over an endpoint, cut off and taken up again; and over a real vLLM engine."""

from __future__ import annotations

import json

import pytest

from prstack.config import load
from prstack.distill.committed import Store
from prstack.distill.writing import tally
from prstack.errors import UserError
from prstack.report.tracking import Tracker
from prstack.stages import distill
from prstack.store.records import to_row
from prstack.store.rundir import RunDir
from tests.chat_endpoint import Endpoint, answer
from tests.factories import trajectory

pytestmark = pytest.mark.usefixtures("ray_local")

REFLECTION = "My plan leaves out a need, no louder than 60 dB, so I add it before I begin."
"""Right for a plan that leaves out the noise, and for nothing else."""


def run_stage(folder, source, *more: str):
    config = load([f"distill.input={source}", "distill.internalise=llm", "distill.tokenizer=smollm2-135m-instruct", "tracking.wandb=disabled", *more])
    run = RunDir(folder, {})
    try:
        with Tracker(run.path, config.tracking, "test", {}) as tracker:
            return distill.run(config, run, tracker)
    finally:
        run.close()


def episodes(path, plans: int, calls: int, others: int):
    """So many episodes with a corrected plan, with a corrected call, and without a correction."""
    n = plans + calls
    ts = [trajectory(i, id=f"t{i:02d}", vague_plan=i < plans, duplicate=plans <= i < n) for i in range(n + others)]
    path.write_text("".join(json.dumps(to_row(t)) + "\n" for t in ts))
    return path


@pytest.fixture
def source(tmp_path):
    return episodes(tmp_path / "in.jsonl", 14, 6, 4)


def test_over_an_endpoint_taken_up_again(source, tmp_path, monkeypatch, capsys):
    endpoint = Endpoint(answer(json.dumps({"reflections": [{"n": 1, "reflection": REFLECTION}]})), slow=0.05)
    asked = ["engine=openai", "engine.model=m", f"engine.endpoint.base_url={endpoint.url}", "distill.part_records=8", "distill.attempts=2"]

    class Cut(Exception):
        pass

    def cut(tally):
        if tally.read == 12:
            raise Cut

    try:
        with monkeypatch.context() as m:
            m.setattr(distill._Progress, "__call__", lambda self, tally: cut(tally))
            with pytest.raises(Cut):
                run_stage(tmp_path / "run", source, *asked)
        done = Store.open(tmp_path / "run" / "distill").dataset.ids
        assert len(done) == 8
        before = len(endpoint.asked)
        manifest = run_stage(tmp_path / "run", source, *asked)
        resumed = len(endpoint.asked) - before
    finally:
        endpoint.close()
    assert manifest.counts["kept"] == 24
    assert {k: manifest.counts[k] for k in ("reflections", "reflections_by_model", "fallbacks")} == {"reflections": 20, "reflections_by_model": 14, "fallbacks": 6}
    assert resumed == 14 - len(done) + 6 * 2, "what was committed is not asked for again; what is refused is, once"
    assert endpoint.most > 1, "requests of several records are in flight together"
    rows = list(Store.open(tmp_path / "run" / "distill").dataset.rows())
    assert [r["id"] for r in rows] == [f"t{n:02d}" for n in range(24)], "in the order of the input"
    assert all((REFLECTION in str(r["messages"])) == (n < 14) for n, r in enumerate(rows))
    assert {r["fallbacks"] for r in rows[14:20]} == {'{"toolcall-2": "reflection_missing"}'}
    funnel = json.loads((tmp_path / "run" / "distill" / "funnel.json").read_text())
    assert funnel["reflections"] == tally(rows) == {"reflections": 20, "by_model": 14, "fallbacks": {"reflection_missing": 6}}
    card = (tmp_path / "run" / "distill" / "README.md").read_text()
    assert "A model wrote 14, the rule 6, where those of the model were refused (reflection_missing 6)." in card
    assert "the model wrote 14 of 20 reflections" in capsys.readouterr().out


def test_the_scripted_expert_writes_none(source, tmp_path):
    with pytest.raises(UserError, match=r"distill\.internalise=llm.*engine=vllm"):
        run_stage(tmp_path / "run", source)


@pytest.mark.parametrize(
    ("more", "said"),
    [(["distill.internalise=turns", "distill.wrong_actions=drop"], "wrong_actions"), (["distill.internalise=none", "distill.layouts=[llama_factory]"], "alternate")],
)
def test_settings_that_contradict_each_other(source, tmp_path, more, said):
    with pytest.raises(UserError, match=said):
        run_stage(tmp_path / "run", source, *more)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_over_a_real_engine_every_reflection_is_accounted_for(tmp_path):
    """The base of nine million parameters knows nothing of reflections: what it writes is refused or taken, and all of it is counted."""
    pytest.importorskip("vllm")
    small = ["engine=vllm", "engine.model=world-9m", "engine.kv_cache_mb=128", "engine.max_model_len=2048", "distill.attempts=2"]
    manifest = run_stage(tmp_path / "run", episodes(tmp_path / "in.jsonl", 3, 2, 1), *small)
    assert manifest.counts["kept"] == 6 and manifest.counts["reflections"] == 5
    assert manifest.counts["reflections_by_model"] + manifest.counts["fallbacks"] == 5
    rows = list(Store.open(tmp_path / "run" / "distill").dataset.rows())
    assert all(r["reflections"] == r["by_model"] + len(json.loads(r["fallbacks"])) for r in rows)
    assert not any(reason.startswith("engine:") for r in rows for reason in json.loads(r["fallbacks"]).values())
