"""Distillation as a stream: Ray Data strings the functions of this package together, the driver commits what comes out.

1. Read: a reader or a few yield, file by file, chunks of records, as JSON, with file and line; what cannot be read comes as a `bad` row.
   Records whose ids are committed already come as a `done` row, without their content.
2. Distil: a pool of workers, each with its tokenizer loaded once, turns a record into a kept or a rejected one. One on which a step fails
   is quarantined with the error. Where a model writes reflections, a worker has many records in flight, and gives them on in their order.
3. Select, on the driver, in the order of the input: what can only be decided over all (`prstack.distill.filters.selection`).
4. Commit: tokens/, signatures/ and preferences/ first, then rejected/, then dataset/. An id in a committed part of dataset/ or rejected/
   is done; what the others hold without it is taken up again, and is the same. dataset/ comes last, so that nobody is judged
   against records that came after it.

Invariants: read = kept + rejected + quarantined; the second record of an id is quarantined, in every session the same one;
memory is bounded by the chunk, the blocks in flight and one uncommitted part. A kill loses at most that part.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import ray.data

from prstack.distill.committed import Quarantine, Store, remembered, take
from prstack.distill.distiller import Distiller, Frame, Outcome
from prstack.distill.reading import trajectories
from prstack.distill.writing import Writer
from prstack.errors import UserError
from prstack.settings import DistillConfig
from prstack.store.records import Bad, adapter, to_row
from prstack.store.rows import python_rows
from prstack.types import Trajectory

CHUNK = 16
"""Records a chunk: what a worker takes at a time."""
WORKERS_A_READER = 6
"""A record takes a worker some twelve times as long as a reader."""
BLOCK_BYTES = 1 << 20
"""Size of the blocks between the steps. What a worker gets at a time is a block of records, some 40 of the expert's: with 8 MiB one of two workers stood
idle at both ends."""
COMMIT_TOKENS = 2_000_000
"""A part is committed with fewer than `part_records` records when they hold this many tokens."""

_INPUT = pa.schema([("kind", pa.string()), ("id", pa.large_string()), ("file", pa.large_string()), ("line", pa.int64()), ("record", pa.large_string())])
OUTPUT = pa.schema(
    [
        *_INPUT,
        ("input_ids", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.int8())),
        ("pairs", pa.large_string()),
        ("signature", pa.list_(pa.uint32())),
        ("rejection", pa.large_string()),
        ("source", pa.large_string()),
    ]
)
"""`record` is the row of the data set of a kept one, else of rejected/. A kept one brings its trajectory (`source`), and, where only a lenient
filter rejects it, that `rejection`."""


@dataclass(slots=True)
class Tally:
    """What a session saw. `new` records were distilled in it, the others were done before."""

    read: int = 0
    quarantined: int = 0
    new: int = 0


def distil(
    config: DistillConfig,
    files: list[Path],
    store: Store,
    tokenizer: Path,
    frame: Frame,
    progress: Callable[[Tally], None],
    writer: Callable[[], Writer] | None = None,
) -> Tally:
    """Streams the trajectories of `files` into `store`; needs a Ray session. `progress` is called after every record. `writer` makes what
    asks a model for reflections, in each worker.

    Raises UserError for a file that is no data file at all, a filter that fails, a tokenizer that cannot be read.
    """
    done = frozenset(store.dataset.ids | store.rejected.ids)
    with contextlib.closing(_stream(config, files, done, tokenizer, frame, writer)) as stream:
        return take_all(config, store, stream, progress)


def take_all(config: DistillConfig, store: Store, stream: Iterable[dict], progress: Callable[[Tally], None]) -> Tally:
    """Selects and commits rows of OUTPUT, which come in the order of the input. Raises UserError as `distil` does."""
    tally, seen, selection = Tally(), set(), remembered(store, config.filters)
    uncommitted = tokens = 0
    with Quarantine(store.folder / "quarantine.jsonl") as quarantine:
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
                    take(store, selection, row)
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


# --- the stream ----------------------------------------------------------------------------------------------
def _stream(
    config: DistillConfig, files: list[Path], done: frozenset[str], tokenizer: Path, frame: Frame, writer: Callable[[], Writer] | None
) -> Iterator[dict]:
    """Rows of OUTPUT in the order of the input."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = BLOCK_BYTES
    context.target_min_block_size = 1
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns that its progress bars are off
    # Readers are actors: Ray ends the process of a task that has had nothing to do for a second, where actors hold the cores, and starts a new one, 8 s
    # of a core, for each next file. Pools do not grow: a second worker was never started where readers kept just ahead of the first.
    readers = ray.data.ActorPoolStrategy(size=min(len(files), 1 + config.workers // WORKERS_A_READER))
    workers = ray.data.ActorPoolStrategy(size=config.workers)
    with ray.data.DataContext.current(context):
        dataset = (
            ray.data.from_items([{"file": str(f)} for f in files], override_num_blocks=len(files))
            .map_batches(_Reader, batch_size=1, batch_format="pyarrow", fn_constructor_args=[done], num_cpus=0.25, compute=readers)
            .map_batches(
                _WritingWorker if writer else _Worker,
                batch_size=CHUNK,
                batch_format="pyarrow",
                fn_constructor_args=[config, str(tokenizer), frame, writer],
                num_cpus=0.75,
                compute=workers,
            )
        )
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
            for batch in table.to_batches(max_chunksize=CHUNK):
                yield from python_rows(batch)


class _Reader:
    """Hosts reading in a Ray Data actor. `done`: ids that are committed already."""

    def __init__(self, done: frozenset[str]):
        self.done = done

    def __call__(self, files: pa.Table) -> Iterator[pa.Table]:
        """The records of a file, as rows of _INPUT."""
        for file in files.column("file").to_pylist():
            rows = _or_error(_records(Path(file), self.done))
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
    for found in trajectories(file):
        if isinstance(found, Bad):
            yield _bad(found)
            continue
        line, t, record = found
        new = t.id not in done
        yield {"kind": "record" if new else "done", "id": t.id, "file": str(file), "line": line, "record": record if new else None}


def _bad(b: Bad) -> dict:
    return {"kind": "bad", "id": "", "file": b.file, "line": b.line, "record": json.dumps(asdict(b), ensure_ascii=False)}


class _Worker:
    """Hosts a Distiller in a Ray Data actor; it is made with the first record, so that what is wrong with it can be told."""

    def __init__(self, config: DistillConfig, tokenizer: str, frame: Frame, writer: Callable[[], Writer] | None = None):
        self.settings, self.open_writer = (config, tokenizer, frame), writer
        self.made: Distiller | None = None

    @property
    def distil(self) -> Distiller:
        self.made = self.made or Distiller(*self.settings)
        return self.made

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = _or_error(self._row(row) for row in python_rows(table))
        return pa.Table.from_pylist(list(rows), schema=OUTPUT)

    def _row(self, row: dict) -> dict:
        if row["kind"] != "record":
            return row
        with _putting_aside(row) as bad:
            return _told(row, self.distil(adapter(Trajectory).validate_json(row["record"])))
        return bad


class _WritingWorker(_Worker):
    """The same with a model: Ray Data runs several chunks of it at a time on one event loop, and takes what comes out in their order. All
    records of a chunk wait for their reflections together."""

    writer: Writer | None = None

    async def __call__(self, table: pa.Table) -> pa.Table:
        rows = await asyncio.gather(*map(self._written, python_rows(table)), return_exceptions=True)
        return pa.Table.from_pylist(list(_or_error(map(_raised, rows))), schema=OUTPUT)

    async def _written(self, row: dict) -> dict:
        if row["kind"] != "record":
            return row
        self.writer = self.writer or self.open_writer()
        with _putting_aside(row) as bad:
            return _told(row, await self.distil.write(adapter(Trajectory).validate_json(row["record"]), self.writer))
        return bad


@contextlib.contextmanager
def _putting_aside(row: dict) -> Iterator[dict]:
    """One record that no step foresaw is put aside, and the rest goes on: what the block gives after an error is the row of it."""
    bad: dict = {}
    try:
        yield bad
    except UserError:
        raise
    except Exception as e:
        bad |= _bad(Bad(row["file"], row["line"], "", f"distillation fails on it: {type(e).__name__}: {e}"[:500], row["id"][:200]))


def _raised(found: dict | BaseException) -> dict:
    if isinstance(found, BaseException):
        raise found
    return found


def _told(row: dict, out: Outcome) -> dict:
    """What became of a record, as a row of OUTPUT."""
    if out.rejected and not out.row:
        return row | {"kind": "rejected", "record": json.dumps(to_row(out.rejected), ensure_ascii=False)}
    return row | {
        "kind": "kept",
        "record": json.dumps(out.row, ensure_ascii=False),
        "input_ids": out.input_ids,
        "loss_mask": out.loss_mask,
        "pairs": json.dumps(out.pairs, ensure_ascii=False),
        "signature": out.signature,
        "rejection": json.dumps(to_row(out.rejected) | {"record": ""}, ensure_ascii=False) if out.rejected else None,
        "source": row["record"],
    }
