"""The trajectories of files, with file and line, and what is no trajectory beside them.

A record that cannot be read is a `Bad` with file, line (of JSONL, row of Parquet) and field, and the rest goes on: broken JSON, a line or row
over 32 MiB, an unknown role, a number that is none, half a surrogate pair, bytes that are no text, nesting without end. Invariant: every
record and every bad one comes once, in the order of the file. What is wrong with a file as a whole is a UserError.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from prstack.errors import UserError
from prstack.store.records import MAX_LINE, Bad, adapter, explain, from_row, read_json_lines, read_parquet
from prstack.types import Trajectory

Found = tuple[int, Trajectory, str]
"""(line, record, its JSON)."""


def trajectories(file: Path) -> Iterator[Found | Bad]:
    """Every record of a Parquet or JSONL file, or what is wrong with it."""
    bad: list[Bad] = []
    for line, t in _parquet(file, bad) if file.suffix == ".parquet" else _jsonl(file, bad):
        yield from bad
        bad.clear()
        record = adapter(Trajectory).dump_json(t).decode()
        if len(record) > MAX_LINE:
            yield Bad(str(file), line, "", f"record of {len(record)} characters (limit {MAX_LINE})", t.id[:200])
        else:
            yield line, t, record
    yield from bad


def known_total(files: list[Path]) -> int | None:
    """Records in Parquet files, from their footers; None when there is a JSONL file, which would have to be read."""
    if any(f.suffix != ".parquet" for f in files):
        return None
    try:
        return sum(pq.read_metadata(f).num_rows for f in files)
    except (pa.ArrowInvalid, OSError) as e:
        raise UserError(f"distill.input: a file is not readable Parquet ({str(e).splitlines()[0]})") from e


def _parquet(file: Path, bad: list[Bad]) -> Iterator[tuple[int, Trajectory]]:
    """(row, record); `read_parquet` counts bad rows too, so a record's number is all that came before, and one."""
    broken = 0

    def on_bad(b: Bad) -> None:
        nonlocal broken
        broken += 1
        bad.append(b)

    for n, t in enumerate(read_parquet(file, Trajectory, on_bad), 1):
        yield n + broken, t


def _jsonl(file: Path, bad: list[Bad]) -> Iterator[tuple[int, Trajectory]]:
    for line, row in read_json_lines(file, bad.append):
        try:
            yield line, from_row(Trajectory, row)
        except ValidationError as e:
            field, reason = explain(e)
            bad.append(Bad(str(file), line, field, reason, json.dumps(row, ensure_ascii=False)[:500]))
