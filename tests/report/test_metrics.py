"""The metrics that docs/metrics.md promises: read from a run while it runs, asked for by the dashboard, told the same to W&B."""

import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from prstack.report.tracking import gauge_of
from tests.report.test_tracking import logged, wandb_records, written
from tests.stages.rl_common import REWARDED

ROOT = Path(__file__).resolve().parents[2]
PAGE, DASHBOARD = ROOT / "docs" / "metrics.md", ROOT / "docs" / "grafana" / "prstack.json"
SAMPLE = re.compile(r"(ray_prstack_\w+)\{(.*)\} (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Documented:
    """A line of the page's tables, for one of its stages."""

    name: str
    stage: str
    labels: frozenset[str]
    always: bool


def documented() -> list[Documented]:
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("| `ray_prstack_"):
            continue
        metric, stages, _unit, labels, when, meaning = (cell.strip() for cell in line.strip().strip("|").split("|"))
        assert meaning, line
        stages = stages.split(", ")
        assert metric.startswith(f"`ray_prstack_{stages[0]}_"), line
        rest = metric.strip("`").removeprefix(f"ray_prstack_{stages[0]}_")
        found += [Documented(f"ray_prstack_{stage}_{rest}", stage, frozenset(labels.split(", ")), not when) for stage in stages]
    return found


def test_each_metric_is_documented_once():
    names = [d.name for d in documented()]
    assert len(names) > 100 and len(set(names)) == len(names)


def test_the_dashboard_asks_for_what_is_documented_and_for_all_of_it():
    panels = [p for p in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] if p["type"] != "row"]
    asked = set()
    for panel in panels:
        for target in panel["targets"]:
            names = set(re.findall(r"\w*prstack_\w+", target["expr"]))
            assert names, f"{panel['title']}: {target['expr']} asks for no metric"
            asked |= names
    names = {d.name for d in documented()}
    assert asked - names == set(), "not documented"
    assert names - asked == set(), "on no panel"


def test_what_reinforcement_learning_and_evaluation_tell_is_documented():
    """The names as the code has them, without a run: one would take minutes."""
    from prstack.rl.groups import OUTCOMES, Filling
    from prstack.rl.mismatch import Mismatch
    from prstack.stages.training import TRACKED
    from trainers.policy import PolicyLoss

    told = {*TRACKED, *PolicyLoss.metrics, *Filling(1, 1).log(), *Mismatch(0, 0, 0, 1, 1).log(), "busiest_expert_share", "reward/a", "update"}
    told |= {f"episode/{n}" for n in ("turns", "tool_calls", "tool_errors", "sampled_tokens", "tokens")} | {"reward", "episodes", "episodes/used"}
    told |= {"tokens", "targets", "sequences", "seconds", "seconds/rollouts", "seconds/compare", "seconds/publish"}
    assert {f"ray_{gauge_of(f'rl/{n}')[0]}" for n in told} == {d.name for d in documented() if d.stage == "rl"}
    assert len(OUTCOMES) == sum(n.startswith("outcome/") for n in told)
    subjects = {f"ray_{gauge_of(f'evaluation/sft/{n}')[0]}" for n in ("score", "e_prod", "precision_at_k", "reward")}
    assert subjects == {d.name for d in documented() if d.stage == "evaluation"}


class Prometheus(threading.Thread):
    """Reads an endpoint every half a second, from when its address is known until the test is over. `seen`: metric → the labels that it came with."""

    def __init__(self, url: str):
        super().__init__(daemon=True)
        self.url, self.over = url, threading.Event()
        self.seen: dict[str, list[dict[str, str]]] = {}
        self.reads = 0

    def run(self) -> None:
        while not self.over.wait(0.5):
            try:
                text = urllib.request.urlopen(self.url, timeout=10).read().decode()
            except OSError:
                continue  # the run's Ray is not there yet, or no more
            self.reads += 1
            for name, labels, _ in SAMPLE.findall(text):
                labels = dict(LABEL.findall(labels))
                if labels not in self.seen.setdefault(name, []):
                    self.seen[name].append(labels)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole small run, its folder, and what Prometheus would have read meanwhile."""
    cwd = tmp_path_factory.mktemp("metrics")
    evaluated = ["evaluation.subjects=[sft,rl,no_check]", "evaluation.queries=2", "evaluation.seeds=0", "evaluation.max_tokens=64"]
    reinforced = [*REWARDED, "rl.max_turns=2", "rl.max_tokens=32"]  # after ten steps all episodes are malformed alike; such a reward tells them apart
    settings = ["preset=smoke", *reinforced, "until=report", "run_dir=a-run", "synthesis.episodes=210", "trainer.steps=10", *evaluated, "ray.dashboard=false"]
    with open(cwd / "stderr", "w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "prstack.cli", "run", *settings], cwd=cwd, stdout=subprocess.PIPE, stderr=stderr, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        )
    prometheus, said = None, []
    try:
        for line in process.stdout:
            said.append(line)
            if prometheus is None and (found := re.match(r"Ray metrics: (http://\S+)", line)):
                prometheus = Prometheus(found[1])
                prometheus.start()
        assert process.wait(30) == 0, "".join(said[-20:]) + (cwd / "stderr").read_text()[-3000:]
        assert prometheus and prometheus.reads > 5, "".join(said)
    finally:
        if prometheus:
            prometheus.over.set()
            prometheus.join()
        if process.poll() is None:
            process.terminate()
            process.wait(60)
    return cwd / "a-run", prometheus.seen


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_prometheus_finds_every_documented_metric_of_a_run_while_it_runs(run):
    _, seen = run
    stages = {"world", "synthesis", "engine", "distill", "sft", "rl", "evaluation"}
    of_the_run = [d for d in documented() if d.stage in stages]
    assert {d.name for d in of_the_run if d.always or d.stage == "world"} - seen.keys() == set(), "documented, and not there"
    assert {"ray_prstack_distill_progress", "ray_prstack_sft_aux_loss", "ray_prstack_sft_busiest_expert_share", "ray_prstack_synthesis_score_last"} <= seen.keys()
    assert seen.keys() - {d.name for d in of_the_run} == set(), "there, and not documented"
    for d in of_the_run:
        for labels in seen.get(d.name, []):
            assert d.labels <= labels.keys(), f"{d.name}: {labels}"
            if "run" in d.labels:
                assert labels["run"] == "a-run"
            else:
                assert re.fullmatch(r"prstack-[0-9a-f]{8}-engine-\w+-\d+", labels["engine"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_offline_wandb_run_holds_every_line_of_metrics(run):
    folder, _ = run
    lines = written(folder)
    assert logged(wandb_records(folder)) == lines
    assert {key.split("/")[0] for line in lines for key in line} == {"world", "synthesis", "distill", "sft", "rl", "evaluation"} and len(lines) > 20
