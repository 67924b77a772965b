"""Fixtures of the whole suite, and the check that it leaves no process behind.

Every process that a test starts, at any depth, inherits `PRSTACK_TEST_SESSION` from this one; at the end, whatever still
carries this session's value is listed, ended, and fails the session. Ray is started with a token of this session's own, so
that neither a token file in the home directory nor its absence makes a difference, and none is written there.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

MARK = "PRSTACK_TEST_SESSION"
ENDS_WITH_US = "multiprocessing.resource_tracker"
"""A helper of the standard library that lives as long as the process that it serves: this one."""
GRACE = 15.0
"""Seconds that processes get to end by themselves after the last test."""
ROOT = Path(__file__).resolve().parents[1]

os.environ[MARK] = uuid.uuid4().hex
_home = Path(tempfile.mkdtemp(prefix="prstack-tests-"))
_token = _home / "ray-token"
_token.touch(mode=0o600)
_token.write_text(uuid.uuid4().hex + uuid.uuid4().hex)
os.environ.update(
    RAY_AUTH_MODE="token",
    RAY_AUTH_TOKEN_PATH=str(_token),
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    RAY_DEDUP_LOGS="1",
    WANDB_MODE="offline",
    WANDB_SILENT="true",
    HF_HUB_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # another worker has the other core
for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "WANDB_API_KEY"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """A real Ray cluster of this session's own: 2 CPUs, 128 MiB object store, 127.0.0.1, no dashboard."""
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(
        num_cpus=2,
        object_store_memory=128 << 20,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        logging_level=logging.WARNING,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def shared_data():
    """`shared_data(name)`: the folder of a real data set, or a skip that says where it was looked for."""

    def find(name: str) -> Path:
        roots = [Path(r) for r in (os.environ.get("PRSTACK_DATA"), ROOT / "data", ROOT.parent / "shared" / "data") if r]
        for root in roots:
            if (root / name).is_dir():
                return root / name
        pytest.skip(
            f"the data set {name} is in none of {', '.join(map(str, roots))}; set PRSTACK_DATA to the folder that holds it"
        )

    return find


def left_behind() -> list[psutil.Process]:
    """Processes other than this one that carry the session's mark."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.pid != os.getpid() and process.environ().get(MARK) == os.environ[MARK]
            if ours and process.status() != psutil.STATUS_ZOMBIE and ENDS_WITH_US not in " ".join(process.cmdline()):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or another user's
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the session when a process of its own is still there."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()  # its service would live as long as this process
    deadline = time.monotonic() + GRACE
    while (left := left_behind()) and time.monotonic() < deadline:
        time.sleep(0.25)
    if left:
        lines = []
        for process in left:
            try:
                lines.append(f"  {process.pid} {' '.join(process.cmdline())[:160]}")
                process.kill()
            except psutil.Error:
                continue
        print(f"\nprocesses that the tests left behind (now ended):\n{chr(10).join(lines)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    shutil.rmtree(_home, ignore_errors=True)
