"""An existing Ray cluster gets prstack's packages, and nothing secret."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from prstack import cli
from prstack.errors import UserError
from prstack.stages.shipping import PACKAGES, runtime_env


def test_what_is_shipped_is_the_packages(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "planted")
    env = runtime_env({"NCCL_DEBUG": "WARN"})
    assert [Path(p).name for p in env["py_modules"]] == list(PACKAGES) and all(Path(p).is_dir() for p in env["py_modules"])
    assert env["env_vars"] == {"NCCL_DEBUG": "WARN"} and "working_dir" not in env and "planted" not in json.dumps(env)
    assert set(runtime_env()) == {"py_modules", "excludes"}


def test_a_variable_that_looks_like_a_secret_is_not_shipped():
    with pytest.raises(UserError, match="HF_TOKEN: Ray shows"):
        runtime_env({"HF_TOKEN": "planted"})


def test_a_dry_run_prints_the_command_of_ray(capsys):
    assert cli.main(["submit", "synthesize", "preset=smoke", "cluster=ray", "run_dir=/shared/r", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("ray job submit --address http://127.0.0.1:8265 --runtime-env-json ")
    assert said.rstrip().endswith("-- python -m prstack.cli synthesize preset=smoke run_dir=/shared/r ray.address=auto")


@pytest.fixture
def cluster():
    """A Ray cluster of one node that was there before, with a dashboard; its address and the dashboard's."""
    with socket.socket() as a, socket.socket() as b, socket.socket() as c, socket.socket() as d:
        for s in (a, b, c, d):
            s.bind(("127.0.0.1", 0))
        port, dashboard, client, agent = (s.getsockname()[1] for s in (a, b, c, d))
    import ray

    own, temp = ray.util.get_node_ip_address(), tempfile.mkdtemp(prefix="ps-")  # Ray takes 127.0.0.1 in an address for this one
    options = ["--block", "--head", f"--node-ip-address={own}", f"--port={port}", "--num-cpus=2", "--object-store-memory=100000000", f"--temp-dir={temp}"]
    ports = ["--min-worker-port=0", "--max-worker-port=0", f"--ray-client-server-port={client}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    ports += [f"--dashboard-agent-listen-port={agent}"]  # another Ray on this machine has the default one, and an agent without it takes no jobs
    process = subprocess.Popen([sys.executable, "-m", "ray.scripts.scripts", "start", *options, *ports], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert process.poll() is None, "Ray did not start"
            with socket.socket() as s:
                if not s.connect_ex(("127.0.0.1", dashboard)):
                    break
            time.sleep(0.2)
        yield f"{own}:{port}", f"http://127.0.0.1:{dashboard}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        finally:
            os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
            shutil.rmtree(temp, ignore_errors=True)


def test_a_cluster_that_has_no_agent_yet_is_asked_again(monkeypatch):
    from prstack.stages import submit

    answers = [RuntimeError("Request failed with status code 500: No available agent to submit job, please try again later.."), "raysubmit_1"]

    class Client:
        def submit_job(self, **job):
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr(submit.time, "sleep", lambda seconds: None)
    assert submit._submitted(Client(), entrypoint="x") == "raysubmit_1"
    answers[:] = [RuntimeError("Request failed with status code 400: bad entrypoint")]
    with pytest.raises(RuntimeError, match="bad entrypoint"):
        submit._submitted(Client(), entrypoint="x")


@pytest.mark.slow
def test_a_command_runs_on_a_cluster_that_is_there_and_as_a_job_of_it(cluster, tmp_path):
    from ray.job_submission import JobStatus, JobSubmissionClient

    address, dashboard = cluster
    small = ["preset=smoke", "synthesis.episodes=4", "world.products=60", "world.users=8", "tracking.wandb=disabled"]
    code = f"import sys; from prstack.cli import main; rc = main({['synthesize', *small, f'ray.address={address}', f'run_dir={tmp_path}/a']!r}); sys.exit(rc)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    where = f"import ray; from prstack.stages.shipping import runtime_env; ray.init('{address}', runtime_env=runtime_env()); print(ray.get(ray.remote(lambda: __import__('prstack').__file__).remote()))"
    there = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "runtime_resources/py_modules_files" in there.stdout, there.stdout + there.stderr

    submitted = subprocess.run(
        [sys.executable, "-m", "prstack.cli", "submit", "synthesize", *small, "cluster=ray", f"cluster.address={dashboard}", f"cluster.python={sys.executable}", f"run_dir={tmp_path}/b"],
        cwd=tmp_path, env=os.environ | {"OPENAI_API_KEY": "planted-in-shell"}, capture_output=True, text=True, timeout=120,
    )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    client, number = JobSubmissionClient(dashboard), submitted.stdout.split("job ")[1].split()[0]
    deadline = time.monotonic() + 120
    while (status := client.get_job_status(number)) in (JobStatus.PENDING, JobStatus.RUNNING) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert status == JobStatus.SUCCEEDED, client.get_job_logs(number)
    assert "planted-in-shell" not in client.get_job_info(number).json()
    for run in ("a", "b"):
        assert json.loads((tmp_path / run / "synthesis" / "manifest.json").read_text())["counts"]["trajectories"] == 4
