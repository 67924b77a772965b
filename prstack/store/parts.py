"""A journal of immutable Parquet parts.

1. Records are buffered and written to `.part-….tmp`, flushed to disk, and renamed to `part-….parquet`.
2. A record is done when its id lies in a renamed part; nothing else is state.
3. Whoever starts again reads the ids of the parts and leaves those records out.

Invariants: no id is in two parts (the writer refuses a second one); a kill at any moment loses at most the buffer;
`content_hash` does not depend on how records were spread over parts or in which order they came.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prstack.errors import UserError
from prstack.store.records import canonical_json, to_row
from prstack.store.rows import python_rows
from prstack.types import arrow_schema

ROW_GROUP = 1024
_MODULUS = 1 << 256


class Parts:
    """The parts of one record type in one folder; one writer at a time (the run directory's lock sees to it)."""

    def __init__(self, folder: str | Path, record: type | None = None, *, schema: pa.Schema | None = None, flush_every: int = 64):
        self.folder = Path(folder)
        self.schema = schema or arrow_schema(record)
        self.flush_every = flush_every
        self._integers = {f.name for f in self.schema if pa.types.is_list(f.type) and pa.types.is_integer(f.type.value_type)}
        self.ids: set[str] = set()
        self._buffer: list[dict] = []
        self._hash = 0
        self._next = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        for tmp in self.folder.glob(".part-*.tmp"):
            tmp.unlink()
        for path in self.files():
            self._take_in(path)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def _take_in(self, path: Path) -> None:
        try:
            with pq.ParquetFile(path) as f:
                meta = f.schema_arrow.metadata or {}
                ids = f.read(columns=["id"]).column("id").to_pylist()
            rows_hash, number = int(meta.get(b"prstack.rows_hash", b"0"), 16), int(path.stem.split("-")[1])
        except (pa.ArrowException, OSError, KeyError, ValueError) as e:
            raise UserError(f"{path}: a committed part cannot be read ({e}); move it away to have its records made again") from e
        before = len(self.ids)
        self.ids.update(ids)
        if len(self.ids) != before + len(ids):
            raise UserError(f"{path}: holds ids that another part of {self.folder} holds as well; move one of them away")
        self._hash = (self._hash + rows_hash) % _MODULUS
        self._next = max(self._next, number + 1)

    def add(self, record: Any) -> None:
        """Appends a record (dataclass or row with an `id`). Raises ValueError for an id that is already there."""
        row = record if isinstance(record, dict) else to_row(record)
        if row["id"] in self.ids:
            raise ValueError(f"{self.folder}: id {row['id']} twice")
        self.ids.add(row["id"])
        self._buffer.append(row)
        if len(self._buffer) >= self.flush_every:
            self.flush()

    def flush(self) -> None:
        """Commits what is buffered as one part."""
        if not self._buffer:
            return
        rows_hash = sum(int(hashlib.sha256(canonical_json(r, self._integers).encode()).hexdigest(), 16) for r in self._buffer) % _MODULUS
        meta = dict(self.schema.metadata or {}) | {b"prstack.rows_hash": format(rows_hash, "x").encode()}
        table = pa.Table.from_pylist(self._buffer, schema=self.schema.with_metadata(meta))
        write_table(table, self.folder / f"part-{self._next:06d}.parquet")
        self._hash = (self._hash + rows_hash) % _MODULUS
        self._next += 1
        self._buffer.clear()

    @property
    def content_hash(self) -> str:
        return format(self._hash, "064x")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: str) -> bool:
        return id in self.ids

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *exc: object) -> None:
        self.flush()

    def rows(self, columns: list[str] | None = None) -> Iterator[dict]:
        """The committed rows, a row group in memory at a time."""
        for path in self.files():
            with pq.ParquetFile(path) as f:
                for batch in f.iter_batches(batch_size=ROW_GROUP, columns=columns):
                    yield from python_rows(batch)


def write_table(table: pa.Table, path: Path) -> None:
    """Writes a Parquet file so that it is either there whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.parent / f".{path.stem}.tmp"
    with open(tmp, "wb") as f:
        pq.write_table(table, f, compression="zstd", row_group_size=ROW_GROUP)
        f.flush()
        os.fsync(f.fileno())
    os.replace(tmp, path)


def write_text(text: str, path: Path) -> None:
    """Writes a text file so that it is either there whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.tmp")
    tmp.write_text(text, encoding="utf-8")
    os.replace(tmp, path)
