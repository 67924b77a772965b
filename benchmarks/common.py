"""What benchmarks share: figures with their goals, a table and a JSON document, the machine they ran on, peak memory.

`finish` prints the table and, as the last line of standard output, the document, which it also writes to
`benchmarks/results/<name>.json` (`<name>-quick.json` for a quick run).
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from prstack.report.tables import make_console

RESULTS = Path(__file__).parent / "results"
MIB, GIB = 1 << 20, 1 << 30


@dataclass(slots=True)
class Figure:
    """`goal`: what the value should not pass (`at_least`: should reach); None where there is none."""

    value: float
    goal: float | None = None
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.value >= self.goal if self.at_least else self.value <= self.goal


def machine() -> dict[str, Any]:
    """The machine, and how busy it is: the load of the last minute beside the cores."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": model or platform.processor(),
        "cores": cores,
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions(*packages: str) -> dict[str, str]:
    return {"python": platform.python_version()} | {p: metadata.version(p) for p in packages}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (the nearest rank)."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class PeakMemory:
    """The largest proportional set size of this process and all its children while the context is open; in bytes."""

    def __init__(self, every: float = 0.2):
        self.every, self.peak = every, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        this = psutil.Process()
        while not self._stop.wait(self.every):
            self.peak = max(self.peak, sum(map(pss, [this, *this.children(recursive=True)])))

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


def pss(process: psutil.Process) -> int:
    """A process's own memory and its share of what it has in common with others, in bytes; 0 once it is gone."""
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0


def cpu_times() -> dict[int, float]:
    """User and system time in seconds of this process and of all below it that live, by process id."""
    this, found = psutil.Process(), {}
    for process in [this, *this.children(recursive=True)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def cpu_between(before: dict[int, float], after: dict[int, float]) -> float:
    """Seconds that the processes of `after` used since `before`. Those that ended in between are not counted."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


class Clock:
    """Seconds since it was made."""

    def __init__(self):
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start


def table(title: str, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table; numbers are set to the right."""
    rows = [list(r) for r in rows]
    shown = Table(title=title, title_justify="left")
    for n, name in enumerate(columns):
        shown.add_column(name, justify="right" if rows and isinstance(rows[0][n], int | float) else "left")
    for row in rows:
        shown.add_row(*(f"{v:,.3g}" if isinstance(v, float) and abs(v) < 1000 else f"{v:,.0f}" if isinstance(v, int | float) else str(v) for v in row))
    make_console().print(shown)


def finish(
    name: str, figures: dict[str, Figure], quick: bool, described: dict[str, Any], used: dict[str, str], notes: Sequence[str] = (), details: Any = None
) -> None:
    """Prints the figures beside their goals and the document, and writes it; `details` stand in the document alone."""
    verdict = {True: "met", False: "not met", None: ""}
    rows = [(key, f.value, "" if f.goal is None else f"{'≥' if f.at_least else '≤'} {f.goal:g}", f.unit, verdict[f.met]) for key, f in figures.items()]
    table(f"{name}{' (quick: a small part, figures are not those of the full run)' if quick else ''}", ("figure", "value", "goal", "unit", ""), rows)
    for note in notes:
        print(note)
    document = {
        "benchmark": name,
        "quick": quick,
        "figures": {key: {k: v for k, v in asdict(f).items() if k != "at_least" or v} for key, f in figures.items()},
        "machine": described,
        "versions": used,
        "notes": list(notes),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    } | ({} if details is None else {"details": details})
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}{'-quick' if quick else ''}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(document, ensure_ascii=False), flush=True)
