"""Packed training sequences, and the order in which training sees them.

A pack is several conversations in a row, each a segment of its own: attention and positions start anew with each.
Parquet columns (one row a pack):

    input_ids        list<int>   tokens of all segments
    loss_mask        list<int>   1 where a token is to be learned (assistant tokens), parallel to input_ids
    position_ids     list<int>   0, 1, 2, … within each segment, parallel to input_ids
    segment_lengths  list<int>   tokens of each segment; they add up to len(input_ids)
    id               string      optional: stands in messages beside file and row
    <any other>      list<float> optional: `Pack.extra`, a number for each token, parallel to input_ids

The label of position t is token t + 1 of the same segment where its loss_mask is 1, else IGNORE; the last position of
a segment has none. What is said of a token (its mask, its advantage) stands at the token, what is computed of it (its
log-probability) at the position before: `at_labels` and `at_tokens` go from one to the other.

Order: epoch e is a permutation of the packs drawn from (seed, e), or, without shuffling, the order of the files; the stream is the epochs one after the other, and a
batch is the next `global_batch` packs of it, across the end of an epoch if need be. The position in the stream is all
of its state. Shares: within a batch, packs of like cost stand at the same place on all data-parallel ranks (costs
sorted, dealt back and forth), and every rank gets the same number of micro-batches; the set of packs of a batch does
not depend on the layout.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prstack.errors import UserError
from prstack.store.records import data_files
from trainers.losses import IGNORE, SFT, Loss

COLUMNS = ("input_ids", "loss_mask", "position_ids", "segment_lengths")


@dataclass(slots=True)
class Pack:
    """One packed sequence."""

    input_ids: np.ndarray
    """int32 [t]"""
    loss_mask: np.ndarray
    """int8 [t]"""
    segment_lengths: np.ndarray
    """int32 [segments]"""
    name: str = ""
    """File, row and id, for messages."""
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    """What a loss wants to know of each token beside its mask, float32 [t] each: `trainers.policy` names them."""

    @property
    def targets(self) -> int:
        """Number of tokens that have a loss: learned ones that do not open a segment."""
        starts = np.cumsum(self.segment_lengths) - self.segment_lengths
        return int(self.loss_mask.sum() - self.loss_mask[starts].sum())

    @property
    def cost(self) -> int:
        """What the pack costs to compute, up to a factor: linear layers and attention within segments."""
        n = self.segment_lengths.astype(np.int64)
        return int((n * 2048 + n * n).sum())


@dataclass(slots=True)
class Batch:
    """The packs of one optimizer step, for each data-parallel rank in micro-batches."""

    shares: list[list[list[Pack]]]
    """[dp][micro-batch][pack]"""
    epoch: int
    """Epoch of the first pack."""
    loss: Loss = SFT
    """What the step minimises."""

    def names(self) -> list[str]:
        return [p.name for share in self.shares for micro in share for p in micro]

    def save(self, path: Path) -> None:
        """Writes the packs, so that a step can be replayed."""
        packs = [p for share in self.shares for micro in share for p in micro]
        write_packs(packs, path)


def read_packs(folder: str | Path, vocab: int | None = None, context: int | None = None) -> list[Pack]:
    """The packs of a folder of Parquet files, in file order; views into Arrow memory, 5 bytes a token.

    Raises UserError naming file, row and column for what is no pack, or has a token outside the vocabulary.
    """
    packs: list[Pack] = []
    for file in data_files(folder, "packed training data"):
        try:
            columns = pq.read_schema(file).names
        except (pa.ArrowInvalid, OSError) as e:
            raise UserError(f"{file}: not a readable Parquet file ({e})") from e
        for name in COLUMNS:
            if name not in columns:
                raise UserError(f"{file}: column {name} is missing")
        more = [f.name for f in pq.read_schema(file) if pa.types.is_list(f.type) and pa.types.is_floating(f.type.value_type)]
        wanted = [*COLUMNS, *more, *(["id"] if "id" in columns else [])]
        packs += _packs(pq.read_table(file, columns=wanted), str(file), vocab, context, more)
    if not packs:
        raise UserError(f"{folder}: no packed sequence to train on")
    return packs


def _packs(table: pa.Table, file: str, vocab: int | None, context: int | None, more: list[str]) -> Iterator[Pack]:
    ids = _lists(table, "input_ids", np.int32)
    masks = _lists(table, "loss_mask", np.int8)
    positions = _lists(table, "position_ids", np.int32)
    lengths = _lists(table, "segment_lengths", np.int32)
    names = table.column("id").to_pylist() if "id" in table.column_names else [""] * len(table)
    extras: Iterator[tuple[np.ndarray, ...]] = zip(*(_lists(table, name, np.float32) for name in more)) if more else itertools.repeat(())
    for row, (i, m, p, n, name, values) in enumerate(zip(ids, masks, positions, lengths, names, extras)):
        where = f"{file}:{row + 1}" + (f" ({name})" if name else "")
        if len(i) == 0 or (n <= 0).any() or n.sum() != len(i):
            raise UserError(f"{where}: segment_lengths {n.tolist()[:8]} do not add up to {len(i)} tokens")
        if len(m) != len(i) or ((m != 0) & (m != 1)).any():
            raise UserError(f"{where}: loss_mask must hold a 0 or 1 for each of {len(i)} tokens")
        starts = np.repeat(np.cumsum(n) - n, n)
        if len(p) != len(i) or (p != np.arange(len(i)) - starts).any():
            raise UserError(f"{where}: position_ids must count from 0 within each segment")
        if vocab and (i.min() < 0 or i.max() >= vocab):
            raise UserError(
                f"{where}: input_ids hold token {i.max() if i.max() >= vocab else i.min()}, the model has {vocab} tokens: "
                "the data was rendered with another tokenizer"
            )
        if context and len(i) > context:
            raise UserError(f"{where}: {len(i)} tokens, trainer.context is {context}")
        for column, x in zip(more, values):
            if len(x) != len(i) or not np.isfinite(x).all():
                raise UserError(f"{where}: {column} must hold a finite number for each of {len(i)} tokens")
        yield Pack(i, m, n, where, dict(zip(more, values)))


def _lists(table: pa.Table, name: str, dtype: Any) -> Iterator[np.ndarray]:
    for chunk in table.column(name).chunks:
        values = chunk.values.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
        bounds = chunk.offsets.to_numpy()
        for a, b in itertools.pairwise(bounds):
            yield values[a:b]


def write_packs(packs: list[Pack], path: Path) -> None:
    """Writes packs as a Parquet file of the columns above. All have the `extra` of the first."""
    position = [np.concatenate([np.arange(n) for n in p.segment_lengths]) for p in packs]
    table = pa.table(
        {
            "input_ids": pa.array([p.input_ids for p in packs], pa.list_(pa.int32())),
            "loss_mask": pa.array([p.loss_mask for p in packs], pa.list_(pa.int8())),
            "position_ids": pa.array(position, pa.list_(pa.int32())),
            "segment_lengths": pa.array([p.segment_lengths for p in packs], pa.list_(pa.int32())),
        }
        | {name: pa.array([p.extra[name] for p in packs], pa.list_(pa.float32())) for name in packs[0].extra}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


class Batches:
    """The stream of batches over packs. Iterating never ends; `position` says where it stands, and can be set."""

    def __init__(self, packs: list[Pack], global_batch: int, micro_batch: int, dp: int, seed: int = 0, position: int = 0, shuffle: bool = True):
        if global_batch % (micro_batch * dp):
            raise UserError(
                f"trainer.global_batch={global_batch} must be a multiple of micro_batch · data-parallel ranks = "
                f"{micro_batch} · {dp}"
            )
        if not any(p.targets for p in packs):
            raise UserError("no token of the training data is to be learned (loss_mask is 0 everywhere)")
        self.packs = packs
        self.global_batch, self.micro_batch, self.dp, self.seed, self.shuffle = global_batch, micro_batch, dp, seed, shuffle
        self.position = position
        """Packs that were handed out."""
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def steps(self, epochs: float) -> int:
        """Batches in so many epochs, the last one filled up from the next epoch."""
        return max(1, -(-round(epochs * len(self.packs)) // self.global_batch))

    def pack_at(self, position: int) -> Pack:
        """The pack at a place of the stream."""
        epoch, i = divmod(position, len(self.packs))
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.packs)) if self.shuffle else np.arange(len(self.packs))
            self._epoch, self._order = epoch, order
        return self.packs[self._order[i]]

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        epoch = self.position // len(self.packs)
        packs = [self.pack_at(self.position + i) for i in range(self.global_batch)]
        self.position += self.global_batch
        return Batch(deal(packs, self.micro_batch, self.dp), epoch)

    def state(self) -> dict[str, int]:
        """What a checkpoint keeps of the stream."""
        return {"position": self.position, "seed": self.seed, "packs": len(self.packs)}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken. Raises UserError when it is of other data, or of another order."""
        for key, now in (("seed", self.seed), ("packs", len(self.packs))):
            if state[key] != now:
                raise UserError(f"the checkpoint was trained with {state[key]} as {key} of the data, now it is {now}")
        self.position = state["position"]

    def after_step(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Packs do not depend on the model that is trained on them: nothing to do, nothing to add to the metrics."""
        return {}


def deal(packs: list[Pack], micro_batch: int, dp: int) -> list[list[list[Pack]]]:
    """Packs of one step → [dp][micro-batch][pack], every rank with the same number of micro-batches and about the same cost.

    What is missing to a whole number of micro-batches is filled up with packs of two tokens of which none is learned.
    """
    packs = sorted(packs, key=lambda p: -p.cost)
    missing = -len(packs) % (micro_batch * dp)
    packs += [filler(packs[0]) for _ in range(missing)]
    ranks: list[list[Pack]] = [[] for _ in range(dp)]
    for i in range(0, len(packs), dp):
        row = packs[i : i + dp]
        for rank, pack in enumerate(row if (i // dp) % 2 == 0 else reversed(row)):
            ranks[rank].append(pack)
    return [[share[i : i + micro_batch] for i in range(0, len(share), micro_batch)] for share in ranks]


def filler(like: Pack) -> Pack:
    """A pack that counts for nothing, with the `extra` of another."""
    zeros = np.zeros(2, np.float32)
    return Pack(np.zeros(2, np.int32), np.zeros(2, np.int8), np.array([2], np.int32), "filler", dict.fromkeys(like.extra, zeros))


def labels_of(pack: Pack) -> np.ndarray:
    """The label at each position, IGNORE where there is none. int64 [t]"""
    labels = np.full(len(pack.input_ids), IGNORE, np.int64)
    labels[:-1] = np.where(pack.loss_mask[1:] == 1, pack.input_ids[1:], IGNORE)
    labels[np.cumsum(pack.segment_lengths) - 1] = IGNORE
    return labels


def at_labels(pack: Pack, values: np.ndarray) -> np.ndarray:
    """What is said of each token [t] → at the position that has the token as its label [t], 0 where there is no label."""
    moved = np.zeros(len(values), values.dtype)
    moved[:-1] = values[1:]
    return np.where(labels_of(pack) != IGNORE, moved, 0)


def at_tokens(values: np.ndarray) -> np.ndarray:
    """What was computed at each position of its label [t], as `Group.forward` answers → at the token itself [t]; the first has nothing, 0."""
    moved = np.zeros_like(values)
    moved[1:] = values[:-1]
    return moved
