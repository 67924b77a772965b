"""`prstack submit COMMAND`: the same command on other machines, through Slurm or as a job of a Ray cluster that runs already.

    settings ──► jobs ──► placement on the nodes that are asked for ──► scripts in <run>/submit/ ──► sbatch, each after the last
                                                                  or ──► Ray's job server

For a run that lies in a store, scripts, logs and the token of a Slurm job are in a folder of their own under `runs`, which all nodes see.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prstack.config import type_name
from prstack.errors import UserError
from prstack.report.tables import make_console
from prstack.secrets import HIDDEN, names_secret, without_secrets
from prstack.settings import Config
from prstack.stages.shipping import runtime_env
from prstack.store import remote
from prstack.submit import placement
from prstack.submit.jobs import Job, jobs
from prstack.submit.script import render

COMMANDS = ("run", "world", "synthesize", "distill", "sft", "rl", "evaluate", "pretrain", "selftest")
"""What can be submitted: what makes something without a terminal."""
AGENT_SECONDS = 90.0
"""How long a Ray cluster is waited for that has no node to start a job's driver on yet."""


def submit(config: Config, command: str, settings: Sequence[str], stages: Sequence[str], dry_run: bool) -> int:
    """Submits, or prints with `dry_run` what would be. `settings`: key=value as given; `stages`: what the command would run.

    Raises UserError for what cannot be placed on the nodes that are asked for, for secrets among the settings, and for what Slurm or
    Ray refuses.
    """
    _check(config, command, settings)
    planned = jobs(config, command, settings)
    if config.cluster.kind == "ray":
        return _to_ray(config, planned[0], dry_run)
    for job in planned:
        _check_placement(config, job, stages)
    url = remote.url_of(config.run_dir) if config.run_dir else None
    run_dir = Path((not url and config.run_dir) or Path(config.runs) / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{config.name}").absolute()
    # All nodes see `runs`, so they see a folder in it; what is set may be any disk.
    named = config.cluster.env.get("PRSTACK_STAGING") or os.environ.get("PRSTACK_STAGING") or run_dir / "staging"
    staging = Path(named).absolute() if url else None
    python = config.cluster.python or (sys.executable if config.cluster.launcher == "bare" else "python")
    scripts = [render(config, job, run_dir, Path.cwd(), python, url, staging) for job in planned]
    if dry_run:
        print("\n".join(scripts), end="")
        return 0
    return _to_slurm(config, planned, scripts, run_dir, url)


def _check(config: Config, command: str, settings: Sequence[str]) -> None:
    c = config.cluster
    if command not in COMMANDS:
        raise UserError(f"prstack submit {command}: one of {', '.join(COMMANDS)}")
    if config.run_dir:
        remote.url_of(config.run_dir)  # refuses one with a key
    if remote.is_url(config.runs):
        raise UserError(f"runs={without_secrets(config.runs)}: a folder that all nodes see; name a run in a store by run_dir=URL")
    for setting in settings:
        key, _, value = setting.partition("=")
        if HIDDEN in str(without_secrets({key.rpartition(".")[2]: value})):
            raise UserError(f"{key}: what looks like a secret would be written into the job; keep it in the file that cluster.env_file names, or in the nodes' environment")
    if wrong := next((name for name in c.env if names_secret(name)), None):
        raise UserError(f"cluster.env.{wrong}: what looks like a secret would be written into the job; it belongs into the file that cluster.env_file names")
    if c.launcher != "bare" and not c.image:
        raise UserError(f"cluster.image: cluster.launcher={c.launcher} needs a container image")
    if c.env_file:
        path = Path(c.env_file)
        if not path.is_absolute() or not path.is_file():
            raise UserError(f"cluster.env_file={c.env_file}: give the absolute path of a file that all nodes see")
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UserError(f"cluster.env_file={c.env_file}: others may read it; chmod 600 {c.env_file}")
    if c.seeds and command not in ("run", "synthesize", "evaluate", "rl"):
        raise UserError(f"cluster.seeds: prstack {command} has no seed ({type_name('seed')}) of a run")
    if c.signal_lead <= config.synthesis.grace:
        raise UserError(f"cluster.signal_lead={c.signal_lead}: episodes get synthesis.grace={config.synthesis.grace:g} s to end before the job does; give it more than that")


def _check_placement(config: Config, job: Job, stages: Sequence[str]) -> None:
    c = config.cluster
    nodes = [placement.Node(f"node {i + 1}", c.cpus_per_node, c.gpus_per_node) for i in range(job.nodes)]
    here = [s for s in stages if s == job.name or (s == "control" and job.name == "evaluate")] if c.chain and job.command == "run" else stages
    placed = placement.place(placement.wants(config, here, bool(c.gpus_per_node)), nodes)
    if lacking := placement.missing(placed):
        make_console(stderr=True).print(placement.table(placed, nodes, f"{job.name}: wanted, and present on the nodes that are asked for"))
        raise UserError(f"{job.name} does not fit on {job.nodes} nodes of {c.gpus_per_node} GPUs and {c.cpus_per_node} CPUs: {lacking}")


def _to_slurm(config: Config, planned: Sequence[Job], scripts: Sequence[str], run_dir: Path, url: str | None) -> int:
    if not shutil.which("sbatch"):
        raise UserError("sbatch is not here: submit on a node of the cluster that has Slurm's commands, or see the script with --dry-run")
    folder = run_dir / "submit"
    folder.mkdir(parents=True, exist_ok=True)
    number = None
    for i, (job, script) in enumerate(zip(planned, scripts)):
        file = folder / f"{i + 1}-{job.name}.sbatch"
        file.write_text(script, encoding="utf-8")
        (run_dir / "logs" / job.name).mkdir(parents=True, exist_ok=True)  # Slurm makes no folder for an output
        after = [f"--dependency={'aftercorr' if config.cluster.seeds else 'afterok'}:{number}", "--kill-on-invalid-dep=yes"] if job.after else []
        # What is in the environment stays here: --export=NONE in the script, and none of Slurm's own variables of an outer job.
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SBATCH_", "SLURM_")) or k == "SLURM_CONF"}
        done = subprocess.run(["sbatch", "--parsable", *after, str(file)], capture_output=True, text=True, env=clean)
        if done.returncode:
            raise UserError(f"sbatch refused {file}: {' '.join(done.stderr.split())}")
        number = done.stdout.strip().partition(";")[0]
        print(f"{job.name}: job {number}{' after the one before' if job.after else ''}, {run_dir}/logs/{job.name}/", flush=True)
    print(f"run: {url or run_dir}")
    return 0


def _submitted(client: Any, **job: Any) -> str:
    """The job's number. A cluster that has just started takes jobs only once a node's agent has told the dashboard of itself; until then
    Ray asks to try again later, and that is done for AGENT_SECONDS. Raises RuntimeError."""
    deadline = time.monotonic() + AGENT_SECONDS
    while True:
        try:
            return client.submit_job(**job)
        except RuntimeError as e:
            if "No available agent" not in str(e) or time.monotonic() > deadline:
                raise
        time.sleep(1.0)


def _to_ray(config: Config, job: Job, dry_run: bool) -> int:
    """A job of Ray's job server; its driver runs on the cluster, with this package and no more of this machine."""
    address = config.cluster.address
    given = [f"run_dir={config.run_dir}"] if config.run_dir else [f"runs={config.runs}"]
    entrypoint = shlex.join([config.cluster.python or "python", "-m", "prstack.cli", job.command, *job.settings, *given, "ray.address=auto"])
    if dry_run:
        print(f"ray job submit --address {shlex.quote(address)} --runtime-env-json {shlex.quote(json.dumps(runtime_env(config.cluster.env)))} -- {entrypoint}")
        return 0
    from ray.job_submission import JobStatus, JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
        number = _submitted(client, entrypoint=entrypoint, runtime_env=runtime_env(config.cluster.env))
    except (ConnectionError, RuntimeError) as e:
        raise UserError(f"cluster.address={address}: {str(e).splitlines()[0]}") from e
    print(f"{job.name}: job {number} at {address}; its log: ray job logs --follow {number}", flush=True)
    return int(client.get_job_status(number) == JobStatus.FAILED)
