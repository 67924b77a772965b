"""Records to rows and back, and readers that put bad records aside instead of stopping.

A reader yields good records and hands every bad one to `on_bad` as a `Bad` with file, line and field, so that
read = kept + quarantined always adds up. What is wrong with a file as a whole (missing, not Parquet) is a UserError.
"""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_json

from prstack.errors import UserError
from prstack.store.rows import python_rows
from prstack.types import SCHEMA_VERSION

T = TypeVar("T")

MIGRATIONS: dict[tuple[str, int], Callable[[dict], dict]] = {
    ("Product", 1): lambda row: row | {"shipping": ""},
    ("Trajectory", 2): lambda row: row | {"steps": [{"alternatives": []} | step for step in row["steps"]]},
    ("Trajectory", 3): lambda row: row | {"steps": [{"joined": False} | step for step in row["steps"]]},
}
"""(record name, version) → function from a row of that version to a row of the next, of records that changed. Version 1 is the first."""

WITHIN = {("Trajectory", "Rollout"): "trajectory"}
"""(record that is asked for, record of a file) → the field of the latter that holds one of the former."""

MAX_LINE = 32 << 20
"""Longest JSONL line that is parsed, in bytes; a longer one is quarantined."""


@dataclass(slots=True)
class Bad:
    """A record that could not be read."""

    file: str
    line: int
    """1-based line of a JSONL file, or row of a Parquet file."""
    field: str
    reason: str
    excerpt: str

    def __str__(self) -> str:
        at = f" field {self.field}:" if self.field else ""
        return f"{self.file}:{self.line}:{at} {self.reason}"


@functools.cache
def adapter(cls: type[T]) -> TypeAdapter[T]:
    """The pydantic adapter of a record type: unknown fields are errors, numbers must be finite."""
    return TypeAdapter(_forbid_extra(cls))


def _forbid_extra(cls: type) -> type:
    import dataclasses
    import typing

    seen: set[type] = set()

    def walk(hint: Any) -> None:
        if dataclasses.is_dataclass(hint) and hint not in seen:
            seen.add(hint)
            hint.__pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)
            for sub in typing.get_type_hints(hint).values():
                walk(sub)
        for arg in typing.get_args(hint):
            walk(arg)

    walk(cls)
    return cls


def to_row(record: Any) -> dict:
    """A record as plain dicts and lists, as written to Parquet and JSONL."""
    return adapter(type(record)).dump_python(record)


def from_row(cls: type[T], row: dict) -> T:
    """A record from a row. Raises pydantic.ValidationError, whose first error names the field."""
    return adapter(cls).validate_python(row)


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def canonical_json(row: Any, integers: Collection[str] = ()) -> str:
    """JSON with sorted keys and without spaces. `integers`: keys of a row whose values are lists of integers; of these, which may be long, the same
    text is had from pydantic's encoder, in a fraction of the time."""
    if not integers:
        return _CANONICAL.encode(row)
    encoded = (f"{_CANONICAL.encode(k)}:{to_json(v).decode() if k in integers else _CANONICAL.encode(v)}" for k, v in sorted(row.items()))
    return f"{{{','.join(encoded)}}}"


def encoded(record: Any) -> tuple[dict, str]:
    """A record as a row and as the row's canonical JSON."""
    row = to_row(record)
    return row, canonical_json(row)


def explain(error: ValidationError) -> tuple[str, str]:
    """(field path, reason) of the first error."""
    first = error.errors(include_url=False, include_context=False)[0]
    got = repr(first.get("input"))
    return ".".join(str(p) for p in first["loc"]), f"{first['msg']} (got {got[:80]})"


def read_jsonl(path: Path, cls: type[T], on_bad: Callable[[Bad], None]) -> Iterator[T]:
    """Records of a JSON-lines file. Lines end at `\\n` alone, since real text holds U+2028 and form feeds."""
    for number, row in read_json_lines(path, on_bad):
        try:
            yield from_row(cls, row)
        except ValidationError as e:
            field, reason = explain(e)
            on_bad(Bad(str(path), number, field, reason, json.dumps(row, ensure_ascii=False)[:500]))


def read_json_lines(path: Path, on_bad: Callable[[Bad], None]) -> Iterator[tuple[int, dict]]:
    """(line number, object) of a JSON-lines file, also one packed with gzip (.gz); what is no JSON object goes to `on_bad`."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as f:
        for number, (line, size) in enumerate(_lines(f), 1):
            if size > MAX_LINE:
                on_bad(Bad(str(path), number, "", f"line of {size} bytes (limit {MAX_LINE})", line[:200].decode(errors="replace")))
                continue
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                json.dumps(row, ensure_ascii=False).encode()  # lone surrogates are refused here, not at the writer
            except (ValueError, RecursionError) as e:
                reason = "nested too deeply" if isinstance(e, RecursionError) else f"not JSON: {e}"
                on_bad(Bad(str(path), number, "", reason, line[:200].decode(errors="replace").strip()))
                continue
            if not isinstance(row, dict):
                on_bad(Bad(str(path), number, "", f"expected a JSON object, found {type(row).__name__}", str(row)[:200]))
                continue
            yield number, row


def _lines(f: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """(line, size) of each line; of one over the limit only the beginning, so that memory stays bounded."""
    while line := f.readline(MAX_LINE + 1):
        size = len(line)
        if size > MAX_LINE:
            while not line.endswith(b"\n") and (more := f.readline(1 << 20)):
                line, size = line[:200] + more[-1:], size + len(more)
        yield line, size


def read_parquet(path: Path, cls: type[T], on_bad: Callable[[Bad], None]) -> Iterator[T]:
    """Records of a Parquet file written by this package, brought to the current schema version."""
    for number, (version, record, row) in enumerate(_parquet_rows(path), 1):
        if isinstance(row, str):
            on_bad(Bad(str(path), number, "", f"not text: {row}", ""))
            continue
        try:
            row = row[WITHIN[cls.__name__, record]] if (cls.__name__, record) in WITHIN else row
            yield from_row(cls, migrate(cls.__name__, version, row))
        except ValidationError as e:
            field, reason = explain(e)
            on_bad(Bad(str(path), number, field, reason, str(row.get("id", ""))[:200]))


def _parquet_rows(path: Path) -> Iterator[tuple[int, str, dict | str]]:
    """(schema version, name of the record, row, or what is wrong with its text) of a Parquet file. Raises UserError for a file that is damaged, or newer than this package."""
    try:
        with pq.ParquetFile(path) as file:
            about = file.schema_arrow.metadata or {}
            version, record = int(about.get(b"prstack.schema_version", SCHEMA_VERSION)), about.get(b"prstack.record", b"").decode()
            if version > SCHEMA_VERSION:
                raise UserError(f"{path}: schema version {version} is newer than this prstack ({SCHEMA_VERSION}); update prstack")
            for batch in file.iter_batches(batch_size=256):
                for row in _rows(batch):
                    yield version, record, row
    except (pa.ArrowException, OSError, ValueError) as e:
        raise UserError(f"{path}: not a readable Parquet file ({' '.join(str(e).split())[:200]})") from e


def _rows(batch: pa.RecordBatch) -> list[dict | str]:
    """The rows of a batch; for one whose bytes are no text, what is wrong with it."""
    try:
        return python_rows(batch)
    except UnicodeDecodeError as e:
        if batch.num_rows == 1:
            return [str(e)]
    return [row for n in range(batch.num_rows) for row in _rows(batch.slice(n, 1))]


def migrate(record: str, version: int, row: dict) -> dict:
    for v in range(version, SCHEMA_VERSION):
        row = MIGRATIONS.get((record, v), dict)(row)
    return row


def data_files(path: str | Path, what: str) -> list[Path]:
    """The Parquet or JSONL files of a file or folder, sorted. Raises UserError naming `what` when there is none."""
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.exists():
        raise UserError(f"{what}: no such file or folder: {path}")
    files = sorted(p for pattern in ("*.parquet", "*.jsonl") for p in path.glob(pattern) if not p.name.startswith("."))
    if not files:
        raise UserError(f"{what}: {path} holds no .parquet or .jsonl file")
    return files


def read_records(path: str | Path, cls: type[T], on_bad: Callable[[Bad], None], what: str) -> Iterator[T]:
    """Records of a file or folder of Parquet and JSONL files."""
    for file in data_files(path, what):
        read = read_parquet if file.suffix == ".parquet" else read_jsonl
        yield from read(file, cls, on_bad)
