"""Memory and processor time of a process and all below it, over time, by what the processes are for."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import psutil

from benchmarks.common import pss

SETTLED = 0.2
"""Share of the records after which memory is looked at: what loads once is loaded then."""


@dataclass(slots=True)
class Sample:
    at: float
    """Seconds since the epoch."""
    memory: dict[str, int]
    """What the processes are for (`purpose`) → their proportional set sizes, in bytes."""


class Watch:
    """Samples while the context is open. `cpu`: purpose → seconds, as last seen."""

    def __init__(self, pid: int, every: float):
        self.every, self.samples = every, list[Sample]()
        self._root, self._cpu, self._kinds = psutil.Process(pid), dict[int, float](), dict[int, str]()
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self.every):
            memory: dict[str, int] = defaultdict(int)
            with suppress(psutil.Error):
                for process in [self._root, *self._root.children(recursive=True)]:
                    self._look_at(process, memory)
            self.samples.append(Sample(time.time(), dict(memory)))

    def _look_at(self, process: psutil.Process, memory: dict[str, int]) -> None:
        with suppress(psutil.Error):
            times, kind = process.cpu_times(), "driver"
            if process.pid != self._root.pid:
                kind = purpose(" ".join(process.cmdline()))
                if kind == "idle":  # a worker of Ray between two tasks
                    kind = self._kinds.get(process.pid, "read")
            self._kinds[process.pid], self._cpu[process.pid] = kind, times.user + times.system
            memory[kind] += pss(process)

    @property
    def cpu(self) -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        for pid, seconds in self._cpu.items():
            found[self._kinds[pid]] += seconds
        return dict(found)

    @property
    def peak(self) -> int:
        """The largest memory of all processes together, in bytes."""
        return max((sum(s.memory.values()) for s in self.samples), default=0)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


def purpose(command: str) -> str:
    """What a process below the driver is for, by its command line."""
    if command.startswith("ray::"):
        return "distil" if "_Worker" in command else "idle" if "IDLE" in command else "read"
    return "ray" if "ray" in command.split(" --")[0] else "distil"


def slope(samples: Sequence[Sample], marks: Sequence[tuple[float, int]], records: int, of: str = "") -> float:
    """Megabytes that the memory (`of` one purpose, or of all) grows by in 10,000 records, by least squares over the samples between
    `SETTLED` of the records and the last mark; NaN where these are fewer than three."""
    times, taken = (np.array(column, float) for column in zip(*marks, strict=True))
    points = [(np.interp(s.at, times, taken), (s.memory.get(of, 0) if of else sum(s.memory.values())) / 1e6) for s in samples if s.at <= times[-1]]
    points = [(n, mb) for n, mb in points if n >= SETTLED * records]
    if len(points) < 3:
        return float("nan")
    x, y = np.array(points).T
    return float(1e4 * np.polyfit(x, y, 1)[0])
