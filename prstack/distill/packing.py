"""Packs of whole samples, each no longer than the context: first-fit, deterministic.

1. Samples are sorted by id and cut into windows of at most `WINDOW_TOKENS` tokens, so that memory stays bounded. Where there are several,
   the tokens are spread over a file a window first, so that they are read twice, however many windows there are.
2. Within a window, samples go longest first (ids break ties), each into the first pack with room for it. A tree of the
   largest room left finds that pack in O(log packs).
3. Packs come in the order in which they were opened. How they are spread over ranks is the trainer's business: a pack
   says how long its segments are, from which its cost (linear and quadratic in length) follows.

Invariants (tested): every sample is in exactly one pack, once and whole; no pack is longer than the context; any two packs
of a window would not fit into one; the packs depend on the samples alone, not on the order in which they come.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prstack.errors import UserError
from prstack.store.parts import Parts
from prstack.types import SCHEMA_VERSION

WINDOW_TOKENS = 32_000_000
"""Tokens that are packed at a time: about 0.2 GB of memory."""
BATCH = 512
"""Samples that are read at a time."""
OPEN = 128
"""Files over which the tokens are spread, at most; a file holds several windows where there are more of these."""

TOKENS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.large_string()),
        pa.field("input_ids", pa.list_(pa.int32())),
        pa.field("loss_mask", pa.list_(pa.int8())),
    ],
    metadata={"prstack.schema_version": str(SCHEMA_VERSION), "prstack.record": "Tokens"},
)
"""One conversation as tokens; `loss_mask` is 1 on what the assistant wrote."""

PACKED_SCHEMA = pa.schema(
    [
        pa.field("id", pa.large_string()),
        pa.field("input_ids", pa.list_(pa.int32())),
        pa.field("loss_mask", pa.list_(pa.int8())),
        pa.field("position_ids", pa.list_(pa.int32())),
        pa.field("segment_lengths", pa.list_(pa.int32())),
        pa.field("sample_ids", pa.list_(pa.large_string())),
    ],
    metadata={"prstack.schema_version": str(SCHEMA_VERSION), "prstack.record": "Packed"},
)
"""One pack: segments one after another without padding; positions begin at 0 in each; sum(segment_lengths) tokens."""


@dataclass(slots=True)
class Sample:
    """One conversation as arrays of the same length."""

    id: str
    input_ids: np.ndarray
    loss_mask: np.ndarray


class _Room:
    """Room left in each pack; `first(n)` is the first pack with at least n. A tree of maxima over packs."""

    def __init__(self, packs: int, context: int):
        self.size = 1 << max(packs - 1, 0).bit_length()
        self.tree = [context] * (2 * self.size)

    def first(self, need: int) -> int:
        node = 1
        while node < self.size:
            node *= 2
            if self.tree[node] < need:
                node += 1
        return node - self.size

    def take(self, pack: int, amount: int) -> None:
        node = pack + self.size
        self.tree[node] -= amount
        while node > 1:
            node //= 2
            self.tree[node] = max(self.tree[2 * node], self.tree[2 * node + 1])


def first_fit(lengths: dict[str, int], context: int) -> list[list[str]]:
    """Samples (id → tokens) as packs of ids. Raises ValueError for a sample that is longer than the context or empty."""
    if bad := [i for i, n in lengths.items() if not 0 < n <= context]:
        raise ValueError(f"sample {bad[0]} has {lengths[bad[0]]} tokens; a pack holds 1 to {context}")
    packs: list[list[str]] = []
    room = _Room(len(lengths), context)
    for sample in sorted(lengths, key=lambda i: (-lengths[i], i)):
        n = room.first(lengths[sample])
        if n == len(packs):
            packs.append([])
        packs[n].append(sample)
        room.take(n, lengths[sample])
    return packs


def windows(lengths: dict[str, int], limit: int) -> Iterator[dict[str, int]]:
    """The samples in order of id, cut so that no window but that of a single sample has more than `limit` tokens."""
    window: dict[str, int] = {}
    total = 0
    for sample in sorted(lengths):
        if window and total + lengths[sample] > limit:
            yield window
            window, total = {}, 0
        window[sample] = lengths[sample]
        total += lengths[sample]
    if window:
        yield window


def packed_row(samples: list[str], tokens: dict[str, Sample]) -> dict:
    """A pack as a row of PACKED_SCHEMA; its id is a hash of its samples' ids."""
    lengths = [len(tokens[s].input_ids) for s in samples]
    return {
        "id": hashlib.sha256("\n".join(samples).encode()).hexdigest()[:16],
        "input_ids": np.concatenate([tokens[s].input_ids for s in samples]).tolist(),
        "loss_mask": np.concatenate([tokens[s].loss_mask for s in samples]).tolist(),
        "position_ids": [p for n in lengths for p in range(n)],
        "segment_lengths": lengths,
        "sample_ids": samples,
    }


def pack(tokens: Parts, packed: Parts, wanted: set[str], context: int, progress: Callable[[int], None], window: int = WINDOW_TOKENS) -> dict:
    """Packs the `wanted` samples of `tokens` into `packed`; packs that are there already are left.

    `progress` is told the number of samples packed. Returns counts: packs, tokens, learned_tokens (loss mask 1), fill
    (share of the context that is used). Raises UserError when a wanted sample has no tokens.
    """
    lengths = {id: n for id, n in _lengths(tokens) if id in wanted}
    if missing := wanted - set(lengths):
        raise UserError(f"{tokens.folder}: no tokens for {min(missing)} ({len(missing)} in all); remove {tokens.folder.parent} to make it again")
    packs = total = learned = 0
    with packed, contextlib.closing(_windowed(tokens, list(windows(lengths, window)), packed.folder / ".spread")) as parts:
        for part, samples in parts:
            for chosen in first_fit(part, context):
                row = packed_row(chosen, samples)
                packs, total, learned = packs + 1, total + len(row["input_ids"]), learned + sum(row["loss_mask"])
                if row["id"] not in packed:
                    packed.add(row)
                progress(len(chosen))
    return {"packs": packs, "tokens": total, "learned_tokens": learned, "fill": round(total / (packs * context), 4) if packs else 0.0}


def _lengths(tokens: Parts) -> Iterator[tuple[str, int]]:
    for batch in _batches(tokens, ["id", "input_ids"]):
        yield from zip(batch["id"].to_pylist(), pc.list_value_length(batch["input_ids"]).to_pylist(), strict=True)


Window = dict[str, int]
"""Its samples, and how many tokens each has."""


def _windowed(tokens: Parts, parts: list[Window], scratch: Path) -> Iterator[tuple[Window, dict[str, Sample]]]:
    """Each window with its samples, in order."""
    if len(parts) < 2:
        for part in parts:
            yield part, _samples(_batches(tokens, TOKENS_SCHEMA.names), part)
        return
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        _spread(tokens, parts, scratch)
        for n, part in enumerate(parts):
            with pa.OSFile(str(scratch / str(_file_of(n, parts)))) as file, pa.ipc.open_stream(file) as batches:
                yield part, _samples(batches, part)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _spread(tokens: Parts, parts: list[Window], scratch: Path) -> None:
    """The tokens of each window's samples into its file (Arrow IPC streams)."""
    place = {id: _file_of(n, parts) for n, part in enumerate(parts) for id in part}
    schema = pa.schema(list(TOKENS_SCHEMA))
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_stream(scratch / str(n), schema, options=options)) for n in range(min(OPEN, len(parts)))]
        for batch in _batches(tokens, TOKENS_SCHEMA.names):
            rows: dict[int, list[int]] = {}
            for row, id in enumerate(batch["id"].to_pylist()):
                if id in place:
                    rows.setdefault(place[id], []).append(row)
            for file, chosen in rows.items():
                writers[file].write_batch(batch.take(pa.array(chosen)).cast(schema))


def _file_of(window: int, parts: list[Window]) -> int:
    return window * min(OPEN, len(parts)) // len(parts)


def _samples(batches: Iterable[pa.RecordBatch], wanted: Window) -> dict[str, Sample]:
    found = {}
    for batch in batches:
        columns = [(batch[c].offsets.to_numpy(), batch[c].values.to_numpy()) for c in ("input_ids", "loss_mask")]
        for i, id in enumerate(batch["id"].to_pylist()):
            if id in wanted:
                found[id] = Sample(id, *(values[offsets[i] : offsets[i + 1]].copy() for offsets, values in columns))
    return found


def _batches(tokens: Parts, columns: list[str]) -> Iterator[pa.RecordBatch]:
    for path in tokens.files():
        with pq.ParquetFile(path) as f:
            yield from f.iter_batches(batch_size=BATCH, columns=columns)
