"""A micro-batch as the model takes it: packs in a row, as one packed (`thd`) sequence of tensors.

With context parallelism a rank holds its share of each segment (`share`), and of what is told of tokens; counts, lengths and bounds are
those of the whole, as Megatron's rotary embedding and Transformer Engine's attention want them. Segments are padded for it, each by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor

from trainers.batches import Pack, at_labels, labels_of
from trainers.losses import IGNORE


@dataclass(slots=True)
class Micro:
    """Tensors of one forward pass; t is padded to a multiple of the tensor-parallel size. With context parallelism t is this rank's part."""

    input_ids: Tensor
    """int64 [1, t]"""
    position_ids: Tensor
    """int64 [1, t], from 0 within each segment"""
    labels: Tensor
    """int64 [1, t], IGNORE where nothing is to be predicted"""
    packed: PackedSeqParams
    segment: Tensor
    """int64 [t], the number of the segment within the micro-batch"""
    learned: Tensor
    """float32 [segments], labels in each segment"""
    tokens: int
    """Tokens without padding."""
    extra: dict[str, Tensor] = field(default_factory=dict)
    """`Pack.extra`, each float32 [t]: at each position what is said of its label, 0 where there is none"""
    at: Tensor | None = None
    """int64 [tokens], with context parallelism: where each token lies in the parts of all its ranks, one after another"""

    @property
    def targets(self) -> int:
        """Labels of the whole sequence."""
        return int(self.learned.sum())

    @property
    def sequences(self) -> int:
        """Segments of which something is learned."""
        return int((self.learned > 0).sum())

    def said(self) -> dict[str, Tensor]:
        """What a loss is told (`losses.Loss`)."""
        return self.extra | {"mask": (self.labels[0] != IGNORE).float(), "segment": self.segment, "learned": self.learned}


def share(lengths: np.ndarray, cp: int, rank: int) -> np.ndarray:
    """Positions of a packed sequence that one of `cp` ranks holds: of each segment, cut into 2 · cp chunks, chunk `rank` from the front and
    chunk `rank` from the back, which under a causal mask is the same work for all. As Transformer Engine's `thd_get_partitioned_indices`.

    lengths [segments] are multiples of 2 · cp → [sum of lengths / cp].
    """
    starts = np.cumsum(lengths) - lengths
    chunks = [a + n // (2 * cp) * c + np.arange(n // (2 * cp)) for a, n in zip(starts, lengths) for c in (rank, 2 * cp - 1 - rank)]
    return np.concatenate(chunks)


def everywhere(lengths: np.ndarray, cp: int) -> np.ndarray:
    """The positions that all ranks hold, one rank's after another's."""
    return np.concatenate([share(lengths, cp, r) for r in range(cp)])


def _placed(values: np.ndarray, at: np.ndarray, size: int, filler: int) -> np.ndarray:
    out = np.full(size, filler, values.dtype)
    out[at] = values
    return out


def collate(packs: list[Pack], multiple: int = 1, device: str = "cpu", least: int = 0, cp: int = 1, cp_rank: int = 0) -> Micro:
    """Packs → one packed sequence of at least `least` tokens. Padding is a segment of its own at the end, without labels; with `cp` > 1 each
    segment is padded to `multiple` as well, and what is returned is the part of rank `cp_rank`.

    Raises ValueError for packs that do not have the same `extra`.
    """
    names = packs[0].extra.keys()
    for p in packs:
        if p.extra.keys() != names:
            raise ValueError(f"{p.name}: has {sorted(p.extra)} for each token, another pack of its micro-batch {sorted(names)}")
    extra = {n: np.concatenate([at_labels(p, p.extra[n]) for p in packs]).astype(np.float32) for n in names}
    ids = np.concatenate([p.input_ids for p in packs]).astype(np.int64)
    labels = np.concatenate([labels_of(p) for p in packs])
    lengths = np.concatenate([p.segment_lengths for p in packs])
    tokens = len(ids)
    real = np.arange(tokens)
    if cp > 1:
        wider = lengths + -lengths % multiple
        real = real + np.repeat(np.cumsum(wider - lengths) - (wider - lengths), lengths)
        ids, labels = _placed(ids, real, wider.sum(), 0), _placed(labels, real, wider.sum(), IGNORE)
        extra, lengths = {n: _placed(x, real, wider.sum(), 0) for n, x in extra.items()}, wider
    pad = max(least - len(ids), 0)
    pad += -(len(ids) + pad) % multiple
    if pad:
        ids = np.concatenate([ids, np.zeros(pad, np.int64)])
        labels = np.concatenate([labels, np.full(pad, IGNORE, np.int64)])
        extra = {n: np.concatenate([x, np.zeros(pad, np.float32)]) for n, x in extra.items()}
        lengths = np.concatenate([lengths, [pad]])
    ends = np.cumsum(lengths)
    bounds = torch.tensor(np.concatenate([[0], ends]), dtype=torch.int32, device=device)
    longest = int(lengths.max())
    positions = np.arange(len(ids)) - np.repeat(ends - lengths, lengths)
    segment = np.repeat(np.arange(len(lengths)), lengths)
    learned = np.bincount(segment[labels != IGNORE], minlength=len(lengths)).astype(np.float32)
    at = None
    if cp > 1:
        at = torch.from_numpy(np.argsort(everywhere(lengths, cp))[real]).to(device)
        here = share(lengths, cp, cp_rank)
        ids, labels, positions, segment, extra = ids[here], labels[here], positions[here], segment[here], {n: x[here] for n, x in extra.items()}
    return Micro(
        input_ids=torch.from_numpy(ids)[None].to(device),
        position_ids=torch.from_numpy(positions)[None].to(device),
        labels=torch.from_numpy(labels)[None].to(device),
        packed=PackedSeqParams(
            qkv_format="thd", cu_seqlens_q=bounds, cu_seqlens_kv=bounds, max_seqlen_q=longest, max_seqlen_kv=longest
        ),
        segment=torch.from_numpy(segment).to(device),
        learned=torch.from_numpy(learned).to(device),
        tokens=tokens,
        extra={n: torch.from_numpy(x).to(device) for n, x in extra.items()},
        at=at,
    )
