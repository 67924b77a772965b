"""Distillation as a stream: Ray Data strings the functions of this package together, the driver commits what comes out.

1. Read: one task a file yields chunks of records, as JSON, with file and line; what cannot be read comes as a `bad` row.
   Records whose ids are committed already come as a `done` row, without their content.
2. Distil: a pool of workers, each with its tokenizer loaded once, turns a record into a kept or a rejected one.
3. Commit, on the driver, in the order of the input: tokens/ first, then dataset/ and rejected/. An id in a committed part
   of dataset/ or rejected/ is done; tokens without it are taken up again, and are the same.

Invariants: read = kept + rejected + quarantined; the second record of an id is quarantined, in every session the same one;
memory is bounded by the chunk, the blocks in flight and one uncommitted part. A kill loses at most that part.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from pydantic import ValidationError

from prstack.distill.distiller import Distiller, Frame
from prstack.distill.export import DATASET_SCHEMA
from prstack.distill.packing import TOKENS_SCHEMA
from prstack.errors import UserError
from prstack.settings import DistillConfig
from prstack.store.parts import Parts
from prstack.store.records import Bad, adapter, explain, from_row, read_json_lines, read_parquet, to_row
from prstack.types import Rejected, Trajectory

CHUNK = 16
"""Records a chunk: what a worker takes at a time."""
BLOCK_BYTES = 8 << 20
"""Size of the blocks between the steps."""
COMMIT_TOKENS = 2_000_000
"""A part is committed with fewer than `part_records` records when they hold this many tokens."""

_INPUT = pa.schema([("kind", pa.string()), ("id", pa.large_string()), ("file", pa.large_string()), ("line", pa.int64()), ("record", pa.large_string())])
_OUTPUT = pa.schema([*_INPUT, ("input_ids", pa.list_(pa.int32())), ("loss_mask", pa.list_(pa.int8()))])


@dataclass(slots=True)
class Store:
    """The committed records of a stage folder, and what could not be read."""

    folder: Path
    tokens: Parts
    dataset: Parts
    rejected: Parts

    @staticmethod
    def open(folder: Path) -> Store:
        """The driver decides when a part is committed, in the order that makes a kill harmless: `commit`."""
        never = sys.maxsize
        return Store(
            folder,
            Parts(folder / "tokens", schema=TOKENS_SCHEMA, flush_every=never),
            Parts(folder / "dataset", schema=DATASET_SCHEMA, flush_every=never),
            Parts(folder / "rejected", Rejected, flush_every=never),
        )

    def commit(self) -> None:
        self.tokens.flush()
        self.dataset.flush()
        self.rejected.flush()


@dataclass(slots=True)
class Tally:
    """What a session saw. `new` records were distilled in it, the others were done before."""

    read: int = 0
    quarantined: int = 0
    new: int = 0


def distil(config: DistillConfig, files: list[Path], store: Store, tokenizer: Path, frame: Frame, progress: Callable[[Tally], None]) -> Tally:
    """Streams the trajectories of `files` into `store`; needs a Ray session. `progress` is called after every record.

    Raises UserError for a file that is no data file at all, a filter that fails, a tokenizer that cannot be read.
    """
    done = frozenset(store.dataset.ids | store.rejected.ids)
    tally, seen = Tally(), set()
    uncommitted = tokens = 0
    stream = _stream(config, files, done, tokenizer, frame)
    with _Quarantine(store.folder / "quarantine.jsonl") as quarantine, contextlib.closing(stream):
        for row in stream:
            if row["kind"] == "error":
                raise UserError(row["record"])
            tally.read += 1
            if row["kind"] == "bad":
                quarantine.add(json.loads(row["record"]))
            elif row["id"] in seen:
                quarantine.add(asdict(Bad(row["file"], row["line"], "id", "this id came before", row["id"])))
            else:
                seen.add(row["id"])
                if row["kind"] != "done":
                    _add(store, row)
                    tally.new, uncommitted, tokens = tally.new + 1, uncommitted + 1, tokens + len(row["input_ids"] or ())
            tally.quarantined = quarantine.count
            progress(tally)
            if uncommitted >= config.part_records or tokens >= COMMIT_TOKENS:
                store.commit()
                uncommitted = tokens = 0
        store.commit()
    if tally.read != len(store.dataset) + len(store.rejected) + tally.quarantined:
        raise RuntimeError(f"{store.folder}: {tally.read} read, but {len(store.dataset)} kept, {len(store.rejected)} rejected, {tally.quarantined} quarantined")
    return tally


def known_total(files: list[Path]) -> int | None:
    """Records in Parquet files, from their footers; None when there is a JSONL file, which would have to be read."""
    if any(f.suffix != ".parquet" for f in files):
        return None
    try:
        return sum(pq.read_metadata(f).num_rows for f in files)
    except (pa.ArrowInvalid, OSError) as e:
        raise UserError(f"distill.input: a file is not readable Parquet ({str(e).splitlines()[0]})") from e


class _Quarantine:
    """Bad records, one JSON line each. Every session reads the whole input, so it writes the whole list anew."""

    def __init__(self, path: Path):
        self.path, self.count = path, 0
        self._tmp = path.with_name(f".{path.name}.tmp")

    def __enter__(self) -> _Quarantine:
        self._file = open(self._tmp, "w", encoding="utf-8")
        return self

    def add(self, row: dict) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.count += 1

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            os.replace(self._tmp, self.path)


def _add(store: Store, row: dict) -> None:
    record = json.loads(row["record"])
    if row["kind"] == "rejected":
        store.rejected.add(record)
        return
    if row["id"] not in store.tokens:
        store.tokens.add({"id": row["id"], "input_ids": row["input_ids"], "loss_mask": row["loss_mask"]})
    store.dataset.add(record)


# --- the stream ----------------------------------------------------------------------------------------------
def _stream(config: DistillConfig, files: list[Path], done: frozenset[str], tokenizer: Path, frame: Frame) -> Iterator[dict]:
    """Rows of _OUTPUT in the order of the input."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = BLOCK_BYTES
    context.target_min_block_size = 1
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns that its progress bars are off
    readers = ray.data.TaskPoolStrategy(size=min(len(files), config.workers + 1))
    workers = ray.data.ActorPoolStrategy(min_size=1, max_size=config.workers)
    with ray.data.DataContext.current(context):
        dataset = (
            ray.data.from_items([{"file": str(f)} for f in files], override_num_blocks=len(files))
            .map_batches(_read, batch_size=1, batch_format="pyarrow", fn_args=[done], num_cpus=0.25, compute=readers)
            .map_batches(
                _Worker,
                batch_size=CHUNK,
                batch_format="pyarrow",
                fn_constructor_args=[config, str(tokenizer), frame],
                num_cpus=0.75,
                compute=workers,
            )
        )
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
            for batch in table.to_batches(max_chunksize=CHUNK):
                yield from batch.to_pylist()


def _read(files: pa.Table, done: frozenset[str]) -> Iterator[pa.Table]:
    """The records of a file, as rows of _INPUT."""
    for file in files.column("file").to_pylist():
        rows = _or_error(_records(Path(file), done))
        while chunk := list(itertools.islice(rows, CHUNK)):
            yield pa.Table.from_pylist(chunk, schema=_INPUT)
    yield _INPUT.empty_table()


def _or_error(rows: Iterator[dict]) -> Iterator[dict]:
    """The rows, and a UserError as a last row of kind `error`: the driver raises it, without Ray's layers around it."""
    try:
        yield from rows
    except UserError as e:
        yield {"kind": "error", "id": "", "file": "", "line": 0, "record": str(e)}


def _records(file: Path, done: frozenset[str]) -> Iterator[dict]:
    bad: list[Bad] = []
    records = _parquet(file, bad) if file.suffix == ".parquet" else _jsonl(file, bad)
    for line, t in records:
        yield from _bad_rows(bad)
        if t.id in done:
            yield {"kind": "done", "id": t.id, "file": str(file), "line": line, "record": None}
        else:
            yield {"kind": "record", "id": t.id, "file": str(file), "line": line, "record": adapter(Trajectory).dump_json(t).decode()}
    yield from _bad_rows(bad)


def _bad_rows(bad: list[Bad]) -> Iterator[dict]:
    for b in bad:
        yield {"kind": "bad", "id": "", "file": b.file, "line": b.line, "record": json.dumps(asdict(b), ensure_ascii=False)}
    bad.clear()


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


class _Worker:
    """Hosts a Distiller in a Ray Data actor; it is made with the first record, so that what is wrong with it can be told."""

    def __init__(self, config: DistillConfig, tokenizer: str, frame: Frame):
        self.settings = config, tokenizer, frame
        self.distil: Distiller | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = _or_error(self._row(row) for row in table.to_pylist())
        return pa.Table.from_pylist(list(rows), schema=_OUTPUT)

    def _row(self, row: dict) -> dict:
        if row["kind"] != "record":
            return row
        self.distil = self.distil or Distiller(*self.settings)
        out = self.distil(adapter(Trajectory).validate_json(row["record"]))
        if out.rejected:
            return row | {"kind": "rejected", "record": json.dumps(to_row(out.rejected), ensure_ascii=False)}
        record = json.dumps(out.row, ensure_ascii=False)
        return row | {"kind": "kept", "record": record, "input_ids": out.input_ids, "loss_mask": out.loss_mask}
