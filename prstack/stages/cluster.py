"""The Ray session of a stage: a local cluster of its own, or one that runs already."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.report.tables import make_console
from prstack.report.tracking import Gauges
from prstack.settings import Config, RayConfig
from prstack.stages.shipping import runtime_env
from prstack.submit import placement

STARTS = 3
"""Tries to start a local cluster. Ray gives up after 30 s, which a machine whose cores are taken may need."""
METRICS_MS = 1000
"""How often a local cluster's processes send their metrics to its endpoint; Ray's own default is ten times as long."""


@contextmanager
def ray_session(config: RayConfig) -> Iterator[None]:
    """Connects to Ray for the length of the block; prints the dashboard's address; nested blocks share one session.

    A local cluster ends with the block, and with this process if that is killed. Raises UserError when no cluster answers
    at `ray.address`, or fewer than `ray.nodes` nodes come.
    """
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if config.address:
            inside = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ  # a job of Ray's job server brings the package along
            env = runtime_env() if config.ship and not inside else None
            context = ray.init(address=config.address, runtime_env=env, logging_level=logging.ERROR, log_to_driver=True)
        else:
            context = _patiently(
                ray.init,
                num_cpus=config.num_cpus or os.cpu_count(),
                object_store_memory=config.object_store_mb << 20,
                include_dashboard=config.dashboard,
                dashboard_host=config.dashboard_host,
                dashboard_port=_free_port(config.dashboard_host, config.dashboard_port) if config.dashboard else None,
                _node_ip_address="127.0.0.1",
                logging_level=logging.ERROR,
                log_to_driver=True,
                _system_config={"metrics_report_interval_ms": METRICS_MS},
            )
    except (ConnectionError, RuntimeError, ValueError, OSError) as e:
        where = f"ray.address={config.address}" if config.address else "a local Ray cluster"
        raise UserError(f"{where}: {str(e).splitlines()[0] if str(e) else type(e).__name__}") from e
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put a handler of its own there, which ends the process at once
    if config.address:
        await_nodes(config)
    if context.dashboard_url:
        print(f"Ray dashboard: http://{context.dashboard_url} (asks for the token that `ray get-auth-token` prints)", flush=True)
    try:
        yield
        if not _KEPT.get():
            _until_metrics_are_out()
    finally:
        if not _KEPT.get():
            ray.shutdown()


def _until_metrics_are_out() -> None:
    """Waits until what was told last stands at the endpoint, where its reader may find it; no time where nothing was told for a while."""
    time.sleep(max(0.0, Gauges.told_at + 2 * METRICS_MS / 1000 - time.monotonic()))


def _patiently(start: Callable[..., Any], **options: Any) -> Any:
    """`start(**options)`, again where Ray gave up waiting for its own processes. Raises UserError when it gave up `STARTS` times."""
    for _ in range(STARTS):
        try:
            return start(**options)
        except Exception as e:  # Ray raises no narrower one
            if "timed out during startup" not in str(e):
                raise
    raise UserError(f"a local Ray cluster did not start within 30 s, {STARTS} times; the machine is busy: run again later, or name a cluster (ray.address)")


def await_nodes(config: RayConfig) -> None:
    """Waits for the nodes of a running cluster. Raises UserError that says how many came."""
    import ray

    deadline = time.monotonic() + config.wait
    while (there := sum(n["Alive"] for n in ray.nodes())) < config.nodes:
        if time.monotonic() > deadline:
            ray.shutdown()
            raise UserError(f"ray.nodes={config.nodes}: {there} came within ray.wait={config.wait:g} s; the others' logs say why")
        time.sleep(0.5)


def check_placement(config: Config, stages: Sequence[str]) -> None:
    """Holds what the stages want against the cluster that they will run on, before any of them begins.

    Connects to `ray.address`, where one is given, for good; for a local cluster this machine's CPUs count. Prints the table for a cluster, and
    wherever something finds no place, which is a UserError.
    """
    wanted = placement.wants(config, stages, gpu=False)
    if not wanted:
        return
    if config.ray.address:
        with ray_session(config.ray):
            import ray

            nodes = [
                placement.Node(n["NodeID"], n["Resources"].get("CPU", 0), n["Resources"].get("GPU", 0)) for n in ray.nodes() if n["Alive"]
            ]
    else:
        nodes = [placement.Node("this machine", config.ray.num_cpus or os.cpu_count() or 1, _gpus())]
    gpu = any(n.gpus for n in nodes)
    placed = placement.place(placement.wants(config, stages, gpu, gpu and _computes_on_gpu()), nodes)
    lacking = placement.missing(placed)
    if lacking or config.ray.address:
        make_console(stderr=bool(lacking)).print(placement.table(placed, nodes, "resources: wanted, and present on the cluster"))
    if lacking:
        where = f"the Ray cluster at {config.ray.address}" if config.ray.address else "this machine (ray.num_cpus)"
        raise UserError(f"{where} has too little: {lacking}")


def _gpus() -> int:
    """GPUs of this machine that a local cluster will find."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return sum(bool(d.strip()) for d in os.environ["CUDA_VISIBLE_DEVICES"].split(","))
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _computes_on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


_KEPT: ContextVar[bool] = ContextVar("kept", default=False)


@contextmanager
def one_session() -> Iterator[None]:
    """Stages inside the block share the Ray session that the first of them opens; it ends with the block.

    A session that was there before the block is left as it is.
    """
    ours = not ((ray := sys.modules.get("ray")) and ray.is_initialized())
    token = _KEPT.set(True)
    try:
        yield
        if ours:
            _until_metrics_are_out()
    finally:
        _KEPT.reset(token)
        if ours and (ray := sys.modules.get("ray")):
            ray.shutdown()


def _free_port(host: str, first: int) -> int:
    """The first port from `first` on that nothing listens on."""
    for port in range(first, first + 64):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
                return port
            except OSError:
                continue
    raise UserError(f"ray.dashboard_port: nothing is free from {first} to {first + 63}; set ray.dashboard=false or another port")
