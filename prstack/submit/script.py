"""A job's batch script: `slurm/job.sbatch.jinja`, filled in."""

from __future__ import annotations

import shlex
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from prstack.settings import Config
from prstack.store.remote import is_url
from prstack.submit.jobs import Job

ALWAYS = {
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
GPU = {
    "NCCL_DEBUG": "WARN",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",  # a rank whose peer is gone ends instead of waiting for it
    "CUDA_DEVICE_MAX_CONNECTIONS": "1",  # Megatron overlaps communication of tensor parallelism only in this order
}


def templates() -> Path:
    """The folder of templates: the installed `slurm` package, in a checkout and from a wheel alike."""
    import slurm

    return Path(slurm.__file__).resolve().parent


def render(config: Config, job: Job, run_dir: Path, folder: Path, python: str, url: str | None = None, staging: Path | None = None) -> str:
    """The script of one job. `run_dir`: the folder of the job's logs and token, and the run's own, unless that lies at `url`, worked on in
    `staging`; `folder`: where the command runs, which relative paths are relative to; `python`: the interpreter."""
    c = config.cluster
    environment = Environment(loader=FileSystemLoader(templates()), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)
    environment.filters |= {"sh": shlex.quote, "quoted": lambda text: "'" + text.replace("'", "'\\''") + "'"}
    return environment.get_template("job.sbatch.jinja").render(
        options=_options(config, job, run_dir, folder),
        name=job.name,
        shared=_of_seed(config, str(run_dir)),
        run_dir=_of_seed(config, url) if url else "$shared",
        folder=str(folder),
        array=bool(c.seeds),
        env=_environment(config) | ({"PRSTACK_STAGING": str(staging)} if staging else {}),
        env_file=c.env_file,
        cpus=c.cpus_per_node,
        gpus=c.gpus_per_node,
        nodes=job.nodes,
        launcher=c.launcher,
        image=c.image,
        staging=bool(staging),
        mounts=_mounts(config, run_dir, folder, staging),
        setup=c.setup,
        scratch=c.scratch.rstrip("/"),
        python=python,
        object_store=round(c.object_store_gib * (1 << 30)),
        head_options=_head(config),
        command=[python, "-m", "prstack.cli", job.command, *job.settings],
        requeues=c.requeues,
    )


def _options(config: Config, job: Job, run_dir: Path, folder: Path) -> list[str]:
    c = config.cluster
    asked = [
        f"--job-name={config.name}-{job.name}",
        *([f"--partition={c.partition}"] if c.partition else []),
        *([f"--account={c.account}"] if c.account else []),
        f"--nodes={job.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={c.cpus_per_node}",
        *([f"--gpus-per-node={c.gpus_per_node}"] if c.gpus_per_node else []),
        f"--mem={c.memory}",
        f"--time={c.time}",
        *([f"--array={','.join(map(str, c.seeds))}"] if c.seeds else []),
        f"--chdir={folder}",
        f"--output={run_dir}/logs/{job.name}/{'%A_%a' if c.seeds else '%j'}.log",
        "--open-mode=append",
        f"--signal=B:USR1@{c.signal_lead}",
        "--requeue" if c.requeues else "--no-requeue",
        "--export=NONE",
        *c.sbatch,
    ]
    return [shlex.quote(o) if " " in o else o for o in asked]


def _environment(config: Config) -> dict[str, str]:
    c = config.cluster
    interface = {"NCCL_SOCKET_IFNAME": c.interface, "GLOO_SOCKET_IFNAME": c.interface} if c.interface else {}
    return ALWAYS | (GPU if c.gpus_per_node else {}) | interface | ({} if c.metrics else {"RAY_enable_metrics_collection": "false"}) | c.env


def _of_seed(config: Config, place: str) -> str:
    """A folder or URL as a word of the script: in an array that of the task's seed, which stands before what a URL has after its path."""
    path, mark, query = place.partition("?") if is_url(place) else (place, "", "")
    return shlex.quote(path) + ('/seed-"$SLURM_ARRAY_TASK_ID"' if config.cluster.seeds else "") + (shlex.quote(mark + query) if mark else "")


def _mounts(config: Config, run_dir: Path, folder: Path, staging: Path | None) -> list[str]:
    own = dict.fromkeys([str(run_dir), str(folder), config.cluster.scratch, *([str(staging)] if staging and not staging.is_relative_to(run_dir) else [])])
    return [f"{path}:{path}" for path in own] + config.cluster.mounts


def _head(config: Config) -> list[str]:
    """Options of the head alone. Its dashboard listens where `ray.dashboard_host` says, by default where only that node reaches it."""
    if not config.ray.dashboard:
        return ["--include-dashboard=false"]
    return ["--include-dashboard=true", f"--dashboard-host={config.ray.dashboard_host}", "--dashboard-port=$((30000 + SLURM_JOB_ID % 10000))"]
