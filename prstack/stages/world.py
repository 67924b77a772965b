"""`prstack world`: the shopping environment, generated or imported, with its search index."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path

from prstack.config import fingerprint, to_dict
from prstack.report.tables import shown_path
from prstack.report.tracking import Tracker
from prstack.settings import Config
from prstack.store.records import Bad
from prstack.store.rundir import Manifest, RunDir
from prstack.world.world import build

SHOWN = 3
"""Quarantined records that are shown at the end."""


def run(config: Config, run: RunDir, tracker: Tracker, announce: bool = True) -> Manifest:
    """Builds the world beside its place and moves it in whole, so that a cut-off build leaves nothing half made."""
    stage = run.stage("world", fingerprint(config.world), to_dict(config.world))
    if stage.done:
        if announce:
            print(f"world: made already, {stage.folder}", flush=True)
        return stage.manifest
    building = run.path / ".world-building"
    shutil.rmtree(building, ignore_errors=True)
    counts = build(config.world, building, lambda step, n: print(f"world: {n:,} {step}", flush=True))
    content_hash = counts.pop("content_hash")
    for item in sorted(building.iterdir()):
        target = stage.folder / item.name
        shutil.rmtree(target, ignore_errors=True)
        item.replace(target)
    building.rmdir()
    for line in _quarantine(stage.folder / "quarantine.jsonl", counts["quarantined"]):
        print(f"world: {line}", flush=True)
    manifest = stage.finish(counts, content_hash)
    tracker.log({f"world/{k}": v for k, v in counts.items() if isinstance(v, (int, float))})
    return manifest


def _quarantine(path: Path, n: int) -> list[str]:
    """The first of what could not be read, and where the rest lies."""
    if not n:
        return []
    with open(path, encoding="utf-8") as file:
        first = [str(Bad(**json.loads(line))) for line in islice(file, SHOWN)]
    return [f"{n:,} source records could not be read and were put aside in {shown_path(path)}", *(f"  {b}" for b in first), *(["  …"] if n > SHOWN else [])]
