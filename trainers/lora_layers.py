"""Megatron's linear layers with adapters (`trainers.lora`): what they compute, and how the ranks of a layout share it.

Under tensor parallelism (always with sequence parallelism here) what travels between ranks is as wide as the adapters' rank:

| layer                     | A                  | B                | forward                                              |
|---------------------------|--------------------|------------------|------------------------------------------------------|
| column: linear_qkv, _fc1  | whole              | split by rows    | A x on this rank's tokens, gathered, then B          |
| row: linear_proj, _fc2    | split by columns   | whole            | A x in part, reduce-scattered over tokens, then B    |

1. The whole one of the two sees this rank's tokens only. It is marked `sequence_parallel`, so that Megatron sums its gradient over tensor
   ranks (`finalize_model_grads`); the split one is marked as such, so that the gradient norm counts every part.
2. Experts are not split over tensor ranks; their adapters get the marks of `.experts.` parameters (`trainers.model.build`).
3. A frozen weight has no gradient, no buffer and no optimizer state, and Megatron's layers then compute none
   (`tensor_parallel.layers.linear_with_frozen_weight`; Transformer Engine by `requires_grad`).
4. Merging needs no communication: the part of B A that belongs to a rank's part of W is the product of its own parts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.parallel_state import get_tensor_model_parallel_group
from megatron.core.tensor_parallel import (
    gather_from_sequence_parallel_region,
    reduce_scatter_to_sequence_parallel_region,
)
from megatron.core.tensor_parallel.layers import set_tensor_model_parallel_attributes
from megatron.core.transformer.spec_utils import ModuleSpec, get_module
from megatron.core.transformer.utils import make_sharded_tensors_for_checkpoint
from torch import Tensor

from trainers.lora import Lora, adapters, first
from trainers.spec import ModelSpec
from trainers.weights import Place, local_name, shard


@dataclass(frozen=True, slots=True)
class Parts:
    """How a linear layer is made of projections of the checkpoint."""

    rows: tuple[int, ...]
    """Outputs of each projection, in the whole model."""
    groups: int = 1
    """The outputs are interleaved in so many groups."""


class Adapted:
    """Comes before a linear layer among the bases of a class. `on` is False where the layer shall compute what the base computes."""

    splits_rows: bool
    """Whether tensor parallelism splits W's rows (and B) or its columns (and A)."""

    def __init__(self, input_size: int, output_size: int, *, lora: Lora, parts: Parts, config: Any, is_expert: bool = False, **rest: Any):
        super().__init__(input_size, output_size, config=config, is_expert=is_expert, **rest)
        self.on, self._scale, self._rank = True, lora.scale, lora.rank
        ranks = 1 if is_expert else config.tensor_model_parallel_size
        self._group = get_tensor_model_parallel_group() if ranks > 1 else None
        self._groups = max(1, parts.groups // ranks)

        def zeros(*shapes: tuple[int, int]) -> torch.nn.ParameterList:
            return torch.nn.ParameterList(torch.zeros(shape, dtype=config.params_dtype) for shape in shapes)

        columns = input_size if self.splits_rows else input_size // ranks
        self.lora_a = zeros(*[(lora.rank, columns)] * len(parts.rows))
        self.lora_b = zeros(*((rows // ranks if self.splits_rows else rows, lora.rank) for rows in parts.rows))
        split, whole, axis = ("b", "a", 0) if self.splits_rows else ("a", "b", 1)
        self._split = {f"lora_{split}.{i}": axis for i in range(len(parts.rows))}
        if ranks > 1:
            for p in getattr(self, f"lora_{split}"):
                set_tensor_model_parallel_attributes(p, True, axis, 1)
            for p in getattr(self, f"lora_{whole}"):
                p.sequence_parallel = True

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        out, bias = super().forward(x, *args, **kwargs)
        return (out + self._low_rank(x) if self.on else out), bias

    def _low_rank(self, x: Tensor) -> Tensor:
        """alpha / rank · B (A x): x [t, 1, in] of this rank, or [t, in] of an expert → the layer's output in its shape and place."""
        a = F.linear(x, torch.cat(list(self.lora_a))) * self._scale
        if self._group is not None:
            a = (gather_from_sequence_parallel_region if self.splits_rows else reduce_scatter_to_sequence_parallel_region)(a, group=self._group)
        return self._join([F.linear(part, b) for part, b in zip(a.split(self._rank, -1), self.lora_b)], a.dim() - 1)

    def _join(self, parts: list[Tensor], dim: int) -> Tensor:
        """The projections' outputs, along `dim`, in the order of the layer's own."""
        return torch.cat([p.unflatten(dim, (self._groups, -1)) for p in parts], dim + 1).flatten(dim, dim + 1)

    def merged(self) -> Tensor:
        """This rank's part of W + alpha / rank · B A, added up in fp32."""
        product = self._join([b.float() @ a.float() for a, b in zip(self.lora_a, self.lora_b)], 0)
        return (self.weight.float() + self._scale * product).to(self.weight.dtype)

    def sharded_state_dict(self, prefix: str = "", sharded_offsets: tuple = (), metadata: dict | None = None) -> dict[str, Any]:
        """The layer's own, in which adapters count as whole on every tensor rank, and over it those that are not."""
        found = super().sharded_state_dict(prefix, sharded_offsets, metadata)
        if self._group is None:
            return found
        split = {n: p for n, p in self.state_dict(keep_vars=True).items() if n in self._split}
        groups = {"tp_group": self._group, "dp_cp_group": metadata["dp_cp_group"]}
        return found | make_sharded_tensors_for_checkpoint(split, prefix, self._split, sharded_offsets, **groups)


class Column(Adapted):
    splits_rows = True


class Row(Adapted):
    splits_rows = False


class NormColumn(Column):
    """Transformer Engine's norm and linear layer in one: the adapters see what the norm gives, as W does."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.return_layernorm_output = True

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        (out, normed), bias = super(Adapted, self).forward(x)
        return (out + self._low_rank(normed) if self.on else out), bias


KINDS = {
    "ColumnParallelLinear": Column,
    "RowParallelLinear": Row,
    "TEColumnParallelLinear": Column,
    "TERowParallelLinear": Row,
    "TELayerNormColumnParallelLinear": NormColumn,
}
"""Megatron's linear layers → what gives them adapters."""


def adapt(layer: ModuleSpec, spec: ModelSpec, lora: Lora) -> None:
    """Puts layers with adapters into the spec of a transformer layer, wherever `lora` says."""

    def linear(old: Any, *rows: int, groups: int = 1) -> ModuleSpec:
        base = get_module(old)
        kind = type(f"Adapted{base.__name__}", (KINDS[base.__name__], base), {})
        return ModuleSpec(module=kind, params={"lora": lora, "parts": Parts(rows, groups)})

    def ffn(old: ModuleSpec, width: int) -> None:
        new = {"linear_fc1": linear(old.submodules.linear_fc1, width, width), "linear_fc2": linear(old.submodules.linear_fc2, spec.hidden)}
        old.submodules = dataclasses.replace(old.submodules, **new)  # one object may be that of shared and other experts

    parts = layer.submodules
    if "attention" in lora.targets:
        attention, kv = parts.self_attention.submodules, spec.kv_heads * spec.head_dim
        attention.linear_qkv = linear(attention.linear_qkv, spec.heads * spec.head_dim, kv, kv, groups=spec.kv_heads)
        attention.linear_proj = linear(attention.linear_proj, spec.hidden)
    if "mlp" in lora.targets:
        if spec.experts:
            ffn(parts.mlp.submodules.shared_experts, spec.shared)
        else:
            ffn(parts.mlp, spec.ffn)
    if "experts" in lora.targets:
        ffn(parts.mlp.submodules.experts, spec.ffn)


@torch.no_grad()
def begin(model: torch.nn.Module, spec: ModelSpec, lora: Lora, place: Place, seed: int, te: bool = False) -> None:
    """Sets the adapters to what they begin with, and takes all other parameters out of training."""
    own = dict(model.named_parameters())
    for p in own.values():
        p.requires_grad_(False)
    for param in adapters(spec, lora):
        name = local_name(param, spec, place, te)
        if name is not None:
            own[name].copy_(shard(param, first(param, seed), place.tp_rank, place.tp)).requires_grad_(True)


class Merged(Mapping[str, Tensor]):
    """A rank's weights by name, with adapters merged into the layers that they belong to; each is computed when it is asked for."""

    def __init__(self, model: torch.nn.Module):
        adapted = {name: m for name, m in model.named_modules() if isinstance(m, Adapted)}
        mine = {f"{name}.lora_{x}.{i}" for name, m in adapted.items() for x in "ab" for i in range(len(m.lora_a))}
        self._own = {n: p for n, p in model.named_parameters() if n not in mine}
        self._adapted = {f"{name}.weight": m for name, m in adapted.items()}

    @torch.no_grad()
    def __getitem__(self, name: str) -> Tensor:
        return self._adapted[name].merged() if name in self._adapted else self._own[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


@contextmanager
def off(model: torch.nn.Module) -> Iterator[None]:
    """Within it the model computes what the base computes."""
    layers = [m for m in model.modules() if isinstance(m, Adapted)]
    for layer in layers:
        layer.on = False
    try:
        yield
    finally:
        for layer in layers:
            layer.on = True
