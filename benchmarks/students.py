"""What comparisons of trained students share: stages in a folder, the conversations of an evaluation, tables that are printed and written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import table
from prstack.evaluation.bootstrap import Interval
from prstack.report.tracking import Tracker
from prstack.settings import Config
from prstack.store.parts import write_text
from prstack.store.rundir import Manifest, RunDir

CONTROLS = ("no_check", "expert")
Table = tuple[str, tuple[str, ...], list[tuple]]
"""Title, head and rows."""


def stage(module: object, settings: Config, folder: Path) -> Manifest:
    """Runs a stage in a run folder; one that was cut off is taken up again."""
    run = RunDir(folder, {"name": folder.name})
    tracker = Tracker(run.path, settings.tracking, folder.name, {})
    try:
        return module.run(settings, run, tracker)
    finally:
        tracker.close()
        run.close()


def by_subject(file: Path) -> dict[str, list[dict]]:
    """The conversations of each subject, as lines of `episodes.jsonl`."""
    rows: dict[str, list[dict]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows.setdefault(row["subject"], []).append(row)
    return rows


def recipe(subject: str) -> str:
    """What a training `<recipe>-<seed>` was made by; an empty string for other subjects."""
    name, dash, seed = subject.rpartition("-")
    return name if dash and seed.isdigit() else ""


def mean(rows: Sequence[dict], metric: str) -> float | None:
    """Over the conversations that have a value."""
    values = [row[metric] for row in rows if row[metric] is not None]
    return float(np.mean(values)) if values else None


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def interval(i: Interval | None, of: int | None = None) -> str:
    """`+0.031 [+0.010, +0.052]`, and how many queries it rests on where these are not all `of` them."""
    if i is None:
        return "–"
    return f"{i.mean_difference:+.3f} [{i.low:+.3f}, {i.high:+.3f}]" + (f" ({i.n} queries)" if of not in (None, i.n) else "")


def show(made: Sequence[Table], file: Path) -> None:
    """Prints the tables, and writes them as Markdown."""
    text = ""
    for title, head, rows in made:
        table(title, head, rows)
        cells = [head, ["---"] * len(head), *([f"{v:,}" if isinstance(v, int) else v for v in row] for row in rows)]
        text += f"{title}:\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n\n"
    write_text(text, file)
