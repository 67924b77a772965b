"""Memory of the driver, as `prstack synthesize` is: how it grows with the number of episodes that wait.

The command is started with few and with many episodes, over a world that is there already; as soon as its first episodes are committed, the
largest PSS of its own process (not Ray's) until then is taken, and it is told to stop.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.common import pss

PATIENCE = 180.0
"""Seconds until the first episodes must be committed."""


def growth(run: Path, overrides: list[str], few: int, many: int, folder: Path) -> float:
    """MB for a thousand queued episodes more. `run`: a run that holds the world that `overrides` say."""
    return (driver_pss(run, overrides, many, folder / "many") - driver_pss(run, overrides, few, folder / "few")) / 1e6 / (many - few) * 1000


def driver_pss(run: Path, overrides: list[str], episodes: int, folder: Path) -> int:
    """The largest PSS of the driver until its first episodes are committed, in bytes. Raises RuntimeError when it ends before."""
    shutil.copytree(run, folder)
    played = [f"synthesis.episodes={episodes}", "synthesis.concurrency=4", "synthesis.part_episodes=4"]
    settings = [f"run_dir={folder}", *played, "ray.dashboard=false", *overrides]
    log = folder / "log.txt"
    with log.open("w") as file:
        driver = subprocess.Popen([sys.executable, "-m", "prstack.cli", "synthesize", *settings], stdout=file, stderr=file)
    try:
        process, most, deadline = psutil.Process(driver.pid), 0, time.monotonic() + PATIENCE
        while not list(folder.glob("synthesis/trajectories/*.parquet")):
            if driver.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"prstack synthesize committed nothing: {log.read_text(errors='replace')[-2000:]}")
            most = max(most, pss(process))
            time.sleep(0.2)
        return max(most, pss(process))
    finally:
        driver.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            driver.wait(timeout=60)
        driver.kill()
        driver.wait()
