"""A micro-batch as the model takes it: packs in a row, as one packed (`thd`) sequence of tensors."""

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
    """Tensors of one forward pass; t is padded to a multiple of the tensor-parallel size."""

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

    @property
    def targets(self) -> int:
        return int((self.labels != IGNORE).sum())

    @property
    def sequences(self) -> int:
        """Segments of which something is learned."""
        return int((self.learned > 0).sum())

    def said(self) -> dict[str, Tensor]:
        """What a loss is told (`losses.Loss`)."""
        return self.extra | {"mask": (self.labels[0] != IGNORE).float(), "segment": self.segment, "learned": self.learned}


def collate(packs: list[Pack], multiple: int = 1, device: str = "cpu") -> Micro:
    """Packs → one packed sequence. Padding is a segment of its own at the end, without labels.

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
    tokens, pad = len(ids), -len(ids) % multiple
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
    )
