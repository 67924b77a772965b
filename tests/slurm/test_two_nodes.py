"""`prstack submit` on a real Slurm of two nodes: a whole run, a node that loses its power, a job that reaches its time limit.

Each node has one CPU and a GPU that is none, so that two ranks of training have to be on two nodes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.slurm.cluster import Slurm

NODES = ["cluster.nodes=2", "cluster.cpus_per_node=1", "cluster.gpus_per_node=1", "cluster.interface=eth0", "cluster.object_store_gib=0.1"]
SMALL = ["preset=smoke", "tracking.wandb=disabled", "ray.dashboard=false"]
ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL")


def submit(slurm: Slurm, cwd: Path, *args: str, **env: str) -> str:
    """Submits a command; the number of its job."""
    done = subprocess.run([sys.executable, "-m", "prstack.cli", "submit", *args], cwd=cwd, env=slurm.env | env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"job (\d+)", done.stdout)[-1]


def wait(there: Callable[[], bool], run: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, logs(run)
        time.sleep(0.2)


def logs(run: Path) -> str:
    return "\n".join(f"--- {f}\n{f.read_text(errors='replace')[-3000:]}" for f in sorted(run.glob("logs/*/*.log")) + sorted(run.glob("logs/*/*/ray-*.log")))


def ended(slurm: Slurm, number: str, run: Path, seconds: float) -> dict[str, str]:
    """Waits for the end of a job, which must be a good one."""
    wait(lambda: slurm.job(number).get("JobState") in ENDED, run, seconds)
    job = slurm.job(number)
    assert job["JobState"] == "COMPLETED", logs(run)
    return job


def ids(run: Path) -> list[str]:
    return [i for f in sorted((run / "synthesis" / "trajectories").glob("*.parquet")) for i in pq.read_table(f, columns=["id"]).column("id").to_pylist()]


def parts(run: Path) -> int:
    return len(list((run / "synthesis" / "trajectories").glob("*.parquet")))


def steps(run: Path) -> list[int]:
    file = run / "sft" / "steps.jsonl"
    return [json.loads(line)["step"] for line in file.read_text().splitlines() if line.endswith("}")] if file.exists() else []


def manifest(run: Path, stage: str) -> dict:
    return json.loads((run / stage / "manifest.json").read_text())


@pytest.fixture(scope="module")
def whole(slurm, tmp_path_factory) -> Path:
    """The run folder of a whole loop over two nodes, with secrets in the submitter's environment and in the job's file."""
    cwd = tmp_path_factory.mktemp("whole")
    keys = cwd / "keys"
    keys.write_text("OPENAI_API_KEY=planted-in-file-7c1f\n")
    keys.chmod(0o600)
    less = ["evaluation.subjects=[sft,no_check]", "evaluation.queries=2", "evaluation.seeds=0", "evaluation.max_tokens=32", "trainer.steps=4", "trainer.checkpoint_every=2"]
    number = submit(slurm, cwd, "run", *SMALL, *NODES, *less, "until=evaluate", f"cluster.env_file={keys}", f"run_dir={cwd / 'r'}", WANDB_API_KEY="planted-in-shell-93b0")
    ended(slurm, number, cwd / "r", 560)
    return cwd / "r"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_whole_run_has_ranks_on_both_nodes_and_all_it_makes_in_the_shared_folder(whole):
    assert all(manifest(whole, stage)["status"] == "complete" for stage in ("world", "synthesis", "distill", "sft", "evaluation"))
    assert len(set(ids(whole))) == len(ids(whole)) == 12 and manifest(whole, "sft")["counts"]["ranks"] == 2
    (job,) = whole.glob("logs/run/*.log")
    said = job.read_text()
    assert "resources: wanted, and present" in said and "on 2 nodes" in said and re.search(r"evaluate +1 vLLM engines +1 GPU", said), said
    (attempt,) = (p for p in (whole / "logs" / "run").iterdir() if p.is_dir())
    assert {p.name for p in attempt.iterdir()} == {"n1", "n2", "ray-0.log", "ray-1.log"}, "Ray's own logs of both nodes"
    actors = {name: [node for node in ("n1", "n2") for f in (attempt / node).glob("worker-*.err") if f"actor_name:{name}" in f.read_text(errors="replace")] for name in ("_Actor", "VLLMEngine")}
    assert actors["_Actor"] == ["n1", "n2"] and len(actors["VLLMEngine"]) == 1, f"a rank on each node, an engine on one: {actors}"


@pytest.mark.slow
@pytest.mark.long
def test_no_file_of_it_holds_a_secret(slurm, whole):
    """Neither the run folder nor what Slurm keeps; the token of its Ray cluster is gone."""
    for folder in (whole.parent, slurm.folder):
        for file in folder.rglob("*"):
            if file.is_file() and file != whole.parent / "keys":
                assert b"planted-in-" not in file.read_bytes(), file
    assert not list(whole.rglob(".ray-token-*"))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_node_without_power_costs_a_requeue_and_nothing_else(slurm, tmp_path, whole):
    """The training of two ranks loses a node; Slurm notices, the job waits for a node and goes on from its checkpoint."""
    run = tmp_path / "r"
    number = submit(slurm, tmp_path, "sft", *SMALL, *NODES, f"trainer.input={whole / 'distill' / 'packed'}", "trainer.steps=12", "trainer.checkpoint_every=2", f"run_dir={run}")
    wait(lambda: len(steps(run)) >= 4, run, 240)
    slurm.power_off("n2")
    at = len(steps(run))
    wait(lambda: slurm.job(number)["JobState"] == "PENDING", run, 120)
    slurm.power_on("n2")
    job = ended(slurm, number, run, 240)
    assert job["Restarts"] == "1" and at < 12
    assert steps(run) == list(range(1, 13)) and manifest(run, "sft")["counts"]["steps"] == 12
    assert "taking up again after step" in (run / "logs" / "sft" / f"{number}.log").read_text()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_job_at_its_time_limit_is_requeued_and_plays_no_episode_twice(slurm, tmp_path):
    run, episodes = tmp_path / "r", 700
    limit = ['cluster.time="00:01:00"', "cluster.signal_lead=20", "synthesis.grace=2"]
    number = submit(slurm, tmp_path, "synthesize", *SMALL, *NODES, *limit, f"synthesis.episodes={episodes}", "synthesis.part_episodes=10", f"run_dir={run}")
    wait(lambda: slurm.job(number).get("Restarts", "0") != "0" and bool(ids(run)), run, 240)
    at = len(ids(run))
    slurm.command("scontrol", "update", f"JobId={number}", "TimeLimit=10")
    ended(slurm, number, run, 300)
    said = (run / "logs" / "synthesize" / f"{number}.log").read_text()
    assert 0 < at < episodes and "time limit; the command is asked to stop" in said and "taking up again" in said, said
    assert len(ids(run)) == len(set(ids(run))) == episodes == manifest(run, "synthesis")["counts"]["trajectories"]
