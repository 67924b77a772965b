"""A micro-batch as the model takes it: packs in a row, as one packed (`thd`) sequence of tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor

from trainers.batches import Pack, labels_of
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
    tokens: int
    """Tokens without padding."""

    @property
    def targets(self) -> int:
        return int((self.labels != IGNORE).sum())


def collate(packs: list[Pack], multiple: int = 1, device: str = "cpu") -> Micro:
    """Packs → one packed sequence. Padding is a segment of its own at the end, without labels."""
    ids = np.concatenate([p.input_ids for p in packs]).astype(np.int64)
    labels = np.concatenate([labels_of(p) for p in packs])
    lengths = np.concatenate([p.segment_lengths for p in packs])
    tokens, pad = len(ids), -len(ids) % multiple
    if pad:
        ids = np.concatenate([ids, np.zeros(pad, np.int64)])
        labels = np.concatenate([labels, np.full(pad, IGNORE, np.int64)])
        lengths = np.concatenate([lengths, [pad]])
    ends = np.cumsum(lengths)
    bounds = torch.tensor(np.concatenate([[0], ends]), dtype=torch.int32, device=device)
    longest = int(lengths.max())
    positions = np.arange(len(ids)) - np.repeat(ends - lengths, lengths)
    return Micro(
        input_ids=torch.from_numpy(ids)[None].to(device),
        position_ids=torch.from_numpy(positions)[None].to(device),
        labels=torch.from_numpy(labels)[None].to(device),
        packed=PackedSeqParams(
            qkv_format="thd", cu_seqlens_q=bounds, cu_seqlens_kv=bounds, max_seqlen_q=longest, max_seqlen_kv=longest
        ),
        tokens=tokens,
    )
