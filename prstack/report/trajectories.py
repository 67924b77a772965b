"""Finding, reading and summarising trajectories for a reader: the terminal table and the page share this.

A place is a run folder, a folder of trajectories, or one Parquet or JSONL file. What lies beside the trajectories in a run is
read too: the behaviour histories (the events that a persona's needs refer to), what distillation rejected and why, and the
funnel. Broken records are counted, not shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import ValidationError

from prstack.distill.episode import Turn, turns
from prstack.errors import UserError
from prstack.report.tables import clean, read_funnel
from prstack.store.records import Bad, data_files, from_row, read_json_lines, read_records
from prstack.types import Event, History, Trajectory

WHAT = "trajectories"
PLACES = ("synthesis/trajectories", "trajectories")
"""Where a run folder keeps trajectories."""
KEPT = "kept"


@dataclass(slots=True)
class Glance:
    """A trajectory in one line: what the list shows and filters by."""

    id: str
    user: str
    query: str
    termination: str
    score: float | None
    """Of the last report."""
    rounds: int
    """Reports written."""
    tool_calls: int
    revised: int
    """Research turns that the supervisor sent back."""
    corrected: int
    """Of those, the ones that an approved turn of the same state followed later."""
    tokens: int
    """Completion tokens of all roles."""
    strip: list[tuple[str, str]]
    """(state, `approve` | `revise` | `none`) of each research turn."""
    outcome: str = ""
    """What distillation did: `kept`, or the reason of rejection; empty when it did not come to it."""
    detail: str = ""
    """Of the rejection."""


@dataclass(slots=True)
class Collection:
    """What is shown: up to `limit` trajectories of `total`, with what a run says about them."""

    place: Path
    run: Path | None
    trajectories: list[Trajectory]
    glances: list[Glance]
    total: int
    bad: list[Bad] = field(default_factory=list)
    events: dict[str, dict[str, Event]] = field(default_factory=dict)
    """user id → event id → event."""
    funnel: dict[str, Any] | None = None


def glance(t: Trajectory, outcome: str = "", detail: str = "") -> Glance:
    """The line of a trajectory."""
    played = turns(t)
    return Glance(
        id=t.id,
        user=t.user_id,
        query=t.query,
        termination=t.termination,
        score=t.scores[-1] if t.scores else None,
        rounds=len(t.reports),
        tool_calls=sum(s.tool_call is not None for s in t.steps),
        revised=sum(turn.corrected for turn in played),
        corrected=corrected(played),
        tokens=sum(u.completion_tokens for u in t.usage),
        strip=[(turn.step.state, turn.verdict.decision if turn.verdict else "none") for turn in played],
        outcome=outcome,
        detail=detail,
    )


def corrected(played: list[Turn]) -> int:
    """Turns that were sent back and that an approved turn of the same state followed."""
    approved: set[str] = set()
    count = 0
    for turn in reversed(played):
        if turn.corrected:
            count += turn.step.state in approved
        elif turn.verdict is not None:
            approved.add(turn.step.state)
    return count


def find_place(target: str | Path) -> Path:
    """The file or folder of trajectories at `target`. Raises UserError that says where it was looked for."""
    path = Path(target)
    if not path.exists():
        raise UserError(f"{WHAT}: no such file or folder: {path}")
    if path.is_file():
        if path.suffix not in (".parquet", ".jsonl"):
            raise UserError(f"{WHAT}: {path} is neither a .parquet nor a .jsonl file")
        return path
    places = [path / p for p in PLACES]
    for place in places:
        if place.is_dir():
            return place
    if any(f.suffix in (".parquet", ".jsonl") for f in path.iterdir()) and not (path / "run.json").exists():
        return path
    raise UserError(f"{WHAT}: none in {path}; looked for {', '.join(PLACES)} and for .parquet or .jsonl files in it")


def run_of(place: Path) -> Path | None:
    """The run folder that a place lies in, if it does."""
    return next((p for p in [place, *place.resolve().parents] if (p / "run.json").exists()), None)


def collect(target: str | Path, limit: int) -> Collection:
    """The first `limit` trajectories at `target`. Raises UserError when there is none to read."""
    place = find_place(target)
    bad: list[Bad] = []
    trajectories: list[Trajectory] = []
    for t in read_records(place, Trajectory, bad.append, WHAT):
        trajectories.append(t)
        if len(trajectories) == limit:
            break
    if not trajectories:
        raise UserError(f"{WHAT}: none can be read at {place}" + (f"; the first problem is {clean(str(bad[0])).plain}" if bad else ""))
    run = run_of(place)
    outcomes = _outcomes(run)
    funnels = sorted(run.glob("*/funnel.json")) if run else []
    return Collection(
        place=place,
        run=run,
        trajectories=trajectories,
        glances=[glance(t, *outcomes.get(t.id, ())) for t in trajectories],
        total=max(_count(place), len(trajectories)),
        bad=bad,
        events=_events(run, {t.user_id for t in trajectories}) if run else {},
        funnel=read_funnel(funnels[0]) if funnels else None,
    )


def find(target: str | Path, prefix: str) -> Collection:
    """The one trajectory whose id starts with `prefix`. Raises UserError when there is none, or more than one."""
    place = find_place(target)
    matches: dict[str, Path] = {}
    for file in data_files(place, WHAT):
        for id in _ids(file):
            if id.startswith(prefix):
                matches[id] = file
    if prefix in matches:
        matches = {prefix: matches[prefix]}
    if len(matches) != 1:
        some = clean(", ".join(sorted(matches)[:5])).plain
        raise UserError(
            f"id={prefix}: {f'{len(matches)} trajectories start so ({some} …); give more of it' if matches else f'no trajectory of {place} starts so'}"
        )
    ((id, file),) = matches.items()
    bad: list[Bad] = []
    found = next((t for t in read_records(file, Trajectory, bad.append, WHAT) if t.id == id), None)
    if found is None:
        raise UserError(f"id={prefix}: its record cannot be read: {next((b for b in bad if b.excerpt.startswith(id)), bad[0])}")
    run = run_of(place)
    line = glance(found, *_outcomes(run).get(id, ()))
    return Collection(place, run, [found], [line], 1, events=_events(run, {found.user_id}) if run else {})


def _ids(file: Path) -> list[str]:
    if file.suffix == ".parquet":
        try:
            return [i for i in pq.read_table(file, columns=["id"]).column("id").to_pylist() if i]
        except (pa.ArrowInvalid, OSError, KeyError) as e:
            raise UserError(f"{file}: not a readable Parquet file of trajectories ({str(e).splitlines()[0]})") from e
    return [row["id"] for _, row in read_json_lines(file, lambda bad: None) if isinstance(row.get("id"), str)]


def _count(place: Path) -> int:
    """Records at a place, broken ones included, without parsing them."""
    total = 0
    for file in data_files(place, WHAT):
        if file.suffix == ".parquet":
            total += pq.read_metadata(file).num_rows
        else:
            with open(file, "rb") as f:
                total += sum(1 for line in f if line.strip())
    return total


def _events(run: Path, users: set[str]) -> dict[str, dict[str, Event]]:
    """The events of the users on the page; nothing when the run has no readable histories."""
    files = sorted((run / "world" / "histories").glob("*.parquet"))
    if not files:
        return {}
    try:
        rows = ds.dataset(files, format="parquet").to_table(filter=ds.field("user_id").isin(sorted(users))).to_pylist()
        histories = [from_row(History, {k: row[k] for k in ("user_id", "events")}) for row in rows]
    except (pa.ArrowInvalid, OSError, KeyError, ValidationError):
        return {}
    return {h.user_id: {e.id: e for e in h.events} for h in histories}


def _outcomes(run: Path | None) -> dict[str, tuple[str, str]]:
    """trajectory id → (`kept` or the reason of rejection, detail), as far as distillation has come."""
    if run is None:
        return {}
    out = {}
    for file in sorted((run / "distill" / "dataset").glob("*.parquet")):
        out |= {id: (KEPT, "") for id in pq.read_table(file, columns=["id"]).column("id").to_pylist()}
    for file in sorted((run / "distill" / "rejected").glob("*.parquet")):
        for row in pq.read_table(file, columns=["id", "reason", "detail"]).to_pylist():
            out[row["id"]] = (row["reason"], row["detail"])
    return out
