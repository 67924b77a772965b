"""Where the processor time of a record goes: the profile of the pipeline's functions over a few hundred records, in one process."""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.distill import job
from prstack.distill import pipeline
from prstack.distill.committed import Store
from prstack.stages.distill import pack, write_layouts
from prstack.stages.models import resolve_tokenizer

STEPS = {
    "read": ("pipeline.py", "_records"),
    "parse": ("pipeline.py", "_row", "distiller.py", "__call__"),
    "count tokens": ("distiller.py", "count"),
    "filter": ("filters/__init__.py", "<lambda>"),
    "internalise": ("distiller.py", "conversation"),
    "check": ("checker.py", "violations"),
    "render": ("render.py", "render"),
    "pairs": ("preferences.py", "pairs"),
    "signature": ("near.py", "signature"),
    "select": ("committed.py", "take"),
    "commit": ("committed.py", "commit"),
    "pack": ("distill.py", "pack"),
    "layouts": ("distill.py", "write_layouts"),
}
"""Step → the file and function whose time it is, with all that it calls; and those whose time is not counted."""


def profile(files: str, folder: Path, records: int) -> dict[str, float]:
    """Step → milliseconds of processor time a record. `render` and `check` include what preference pairs need of them, as `pairs` does."""
    config = job.configured(files, 1)
    settings, frame = config.distill, job.framed(config)
    worker = pipeline._Worker(settings, str(resolve_tokenizer(settings.tokenizer)), frame)
    store = Store.open(folder)
    for row in job.first(files, 20):  # what loads once is loaded before
        worker._row(row)
    measured = cProfile.Profile(time.process_time)
    measured.enable()
    rows = (dict.fromkeys(pipeline.OUTPUT.names) | worker._row(row) for row in job.first(files, records))
    pipeline.take_all(settings, store, rows, lambda tally: None)
    pack(store, settings)
    write_layouts(store, settings)
    measured.disable()
    return {step: 1000 * seconds / records for step, seconds in times(pstats.Stats(measured).stats, STEPS).items()}


def times(stats: dict, steps: dict[str, tuple[str, ...]]) -> dict[str, float]:
    """Seconds of each step, with what it calls, by the statistics of a profile."""
    found: dict[str, float] = {}
    for step, (file, function, *but) in steps.items():
        found[step] = _cumulative(stats, file, function) - (_cumulative(stats, *but) if but else 0.0)
    return found


def _cumulative(stats: dict, file: str, function: str) -> float:
    """Of all functions of that name in that file."""
    called = ((key, value) for key, value in stats.items() if key[2] == function and key[0].endswith(f"/{file}"))
    return sum(value[3] for _, value in called)


def largest(steps: dict[str, float], but: Iterable[str] = ()) -> str:
    return max((s for s in steps if s not in but), key=steps.__getitem__)
