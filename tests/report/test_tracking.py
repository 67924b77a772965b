"""The tracker: the JSONL is always whole, W&B holds the same, and W&B can fail without taking the run along."""

import json
import math
import subprocess
import sys
import warnings

import pytest

from prstack.report.tracking import Gauges, Tracker, gauge_of, read_metrics
from prstack.secrets import HIDDEN, without_secrets
from prstack.settings import TrackingConfig

CONFIG = {
    "engine": {"model": "m", "api_key": "sk-abc", "max_tokens": 384, "base_url": "https://me:pw@host/v1"},
    "hf_token": "hf_x",
}


def wandb_records(run):
    """The records of a run's offline W&B logs, read back by W&B's own reader."""
    records = []
    for log in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        out = subprocess.run(
            [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        records += [json.loads(line) for line in out.splitlines()]
    return records


def logged(records):
    """The values of W&B's records of metrics, in order, without those that W&B adds."""
    return [{k: v for k, v in r["history"]["item"].items() if not k.startswith("_")} for r in records if r["type"] == "history"]


def written(run):
    """The lines of metrics.jsonl, each as W&B is to have it."""
    lines = []
    for row in read_metrics(run / "metrics.jsonl"):
        if row["stage"] != "summary":
            values = {k: v for k, v in row.items() if k not in ("stage", "step", "time") and v is not None}
            lines.append({**values, f"{row['stage']}/step": row["step"]})
    return lines


def test_offline_wandb_holds_what_the_jsonl_holds(tmp_path):
    with Tracker(tmp_path, TrackingConfig(project="shop"), "night", CONFIG) as t:
        for i in range(3):
            t.log({"synthesis/episodes": i, "synthesis/rate": i / 4, "synthesis/nothing_yet": None})
        t.log({"sft/loss": 2.5}, step=10)
        t.summary({"kept": 7})
    records = wandb_records(tmp_path)

    lines = written(tmp_path)
    assert logged(records) == lines and len(lines) == 4
    assert lines[3] == {"sft/loss": 2.5, "sft/step": 10}
    assert any(r["type"] == "summary" and r["summary"]["update"].get("kept") == 7 for r in records)

    (run,) = [r["run"] for r in records if r["type"] == "run"]
    assert (run["display_name"], run["project"]) == ("night", "shop")
    text = json.dumps(records)
    assert "sk-abc" not in text and "hf_x" not in text and "me:pw" not in text
    assert run["config"]["update"]["engine"]["max_tokens"] == 384


def test_steps_and_the_wandb_run_go_on_when_a_run_is_taken_up_again(tmp_path):
    for _ in range(2):
        with Tracker(tmp_path, TrackingConfig(), "r", {}) as t:
            t.log({"synthesis/episodes": 1})
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1]
    assert len({r["run"]["run_id"] for r in wandb_records(tmp_path) if r["type"] == "run"}) == 1


def test_a_line_that_a_kill_cut_off_costs_that_line_only(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"stage": "a", "step": 4, "time": 1.0, "a/x": 1}\n{"stage": "a", "st')
    with Tracker(tmp_path, TrackingConfig(wandb="disabled"), "r", {}) as t:
        t.log({"a/x": 2})
    assert [(r["step"], r["a/x"]) for r in read_metrics(tmp_path / "metrics.jsonl")] == [(4, 1), (5, 2)]


def test_every_line_is_json(tmp_path):
    import numpy as np

    with Tracker(tmp_path, TrackingConfig(wandb="disabled"), "r", {}) as t:
        t.log({"a/nan": math.nan, "a/inf": math.inf, "a/np": np.float32(0.5), "a/list": [1, math.nan], "a/path": tmp_path})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (row["a/nan"], row["a/inf"], row["a/np"], row["a/list"]) == ("nan", "inf", 0.5, [1, "nan"])


def test_disabled_writes_no_wandb_files_and_does_not_import_it(tmp_path):
    code = (
        "import sys; from prstack.report.tracking import Tracker; from prstack.settings import TrackingConfig\n"
        f"t = Tracker({str(tmp_path)!r}, TrackingConfig(wandb='disabled'), 'r', {{}}); t.log({{'a/x': 1}}); t.close(); t.close()\n"
        "assert not {'wandb', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl"]


def test_online_without_a_key_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.warns(RuntimeWarning, match=r"W&B could not start"):
        t = Tracker(tmp_path / "run", TrackingConfig(wandb="online"), "r", {})
    t.log({"a/x": 1})
    t.close()
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 1


def test_wandb_that_fails_in_the_middle_is_one_warning(tmp_path):
    t = Tracker(tmp_path, TrackingConfig(), "r", {})
    t._wandb.finish()  # from here on every W&B call fails
    with pytest.warns(RuntimeWarning, match=r"W&B could not log"):
        t.log({"a/x": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        t.log({"a/x": 2})
        t.summary({"x": 1})
        t.close()
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


@pytest.mark.parametrize(
    ("metric", "gauge", "labels"),
    [
        ("sft/loss", "prstack_sft_loss", {}),
        ("rl/mismatch/mean", "prstack_rl_mismatch_mean", {}),
        ("rl/reward", "prstack_rl_reward", {}),
        ("rl/reward/my.term", "prstack_rl_reward_term", {"term": "my.term"}),
        ("rl/outcome/forced", "prstack_rl_outcome", {"outcome": "forced"}),
        ("synthesis/failures/gate", "prstack_synthesis_failures", {"reason": "gate"}),
        ("evaluation/größe/7b/score", "prstack_evaluation_score", {"subject": r"gr\xf6\xdfe/7b"}),
        ("sft/Größe (cm)", "prstack_sft_Gr__e__cm_", {}),
    ],
)
def test_a_metric_becomes_a_gauge_that_prometheus_allows(metric, gauge, labels):
    assert gauge_of(metric) == (gauge, labels)


def test_gauges_that_fail_are_one_warning(monkeypatch):
    import ray.util.metrics

    def fail(*_, **__):
        raise ValueError("no such thing")

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray.util.metrics, "Gauge", fail)
    gauges = Gauges("r")
    with pytest.warns(RuntimeWarning, match=r"Ray's metrics: a/x: ValueError: no such thing"):
        gauges.set({"a/x": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gauges.set({"a/x": 2})


def test_secrets_are_hidden_and_the_rest_is_not():
    shown = without_secrets(CONFIG)
    assert shown["engine"] == {"model": "m", "api_key": HIDDEN, "max_tokens": 384, "base_url": f"https://{HIDDEN}@host/v1"}
    assert shown["hf_token"] == HIDDEN and CONFIG["hf_token"] == "hf_x"
    assert without_secrets({"password": None, "args": [{"secret": "s"}]}) == {"password": None, "args": [{"secret": HIDDEN}]}
