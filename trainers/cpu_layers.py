"""Attention and norm for machines without CUDA, in the shapes that megatron-core's local layer spec expects."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from megatron.core import parallel_state as ps
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.tensor_parallel.mappings import gather_from_sequence_parallel_region
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from trainers.micro import everywhere, share


class RMSNorm(torch.nn.Module):
    """Root-mean-square norm in fp32. Its weight is marked for sequence parallelism, as Megatron's reduction needs."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **_: Any):
        super().__init__()
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, dtype=config.params_dtype))
        self.weight.sequence_parallel = config.sequence_parallel

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class SDPAttention(torch.nn.Module):
    """Causal attention by torch's scaled_dot_product_attention, grouped queries included.

    Unpacked: q [s, b, heads, d], k and v [s, b, kv heads, d] → [s, b, heads·d].
    Packed (`thd`): q [t, heads, d], … → [t, heads·d]; each segment attends to itself only. With context parallelism t is a rank's part
    (`trainers.micro.share`): queries, keys and values of all are gathered, and each rank computes all attention. That is slow, and exact.
    """

    def __init__(self, config: TransformerConfig, layer_number: int, attn_mask_type: Any, attention_type: str, **_: Any):
        super().__init__()
        self.dropout, self.cp = config.attention_dropout, config.context_parallel_size
        if self.dropout:
            raise ValueError("attention dropout is not supported")

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        attn_mask_type: Any = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: PackedSeqParams | None = None,
        **_: Any,
    ) -> Tensor:
        if packed_seq_params is not None:
            bounds = packed_seq_params.cu_seqlens_q.tolist()
            return self._gathered(query, key, value, bounds) if self.cp > 1 else self._packed(query, key, value, bounds)
        q, k, v = (x.permute(1, 2, 0, 3) for x in (query, key, value))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return out.permute(2, 0, 1, 3).reshape(out.shape[2], out.shape[0], -1)

    def _gathered(self, query: Tensor, key: Tensor, value: Tensor, bounds: list[int]) -> Tensor:
        group, lengths = ps.get_context_parallel_group(), np.diff(bounds)
        order = torch.from_numpy(np.argsort(everywhere(lengths, self.cp)))
        whole = [gather_from_sequence_parallel_region(x, group=group)[order] for x in (query, key, value)]
        return self._packed(*whole, bounds)[torch.from_numpy(share(lengths, self.cp, group.rank()))]

    @staticmethod
    def _packed(query: Tensor, key: Tensor, value: Tensor, bounds: list[int]) -> Tensor:
        outs = []
        for a, b in itertools.pairwise(bounds):
            q, k, v = (x[a:b].transpose(0, 1).unsqueeze(0) for x in (query, key, value))
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            outs.append(out[0].transpose(0, 1).reshape(b - a, -1))
        return torch.cat(outs)
