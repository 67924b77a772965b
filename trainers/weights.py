"""The one mapping between Hugging Face checkpoints and Megatron parameters; load and export both read it.

`parameters(spec)` lists every parameter of the whole model once, in a fixed order, with the Hugging Face tensors it
is made of. From that list follows everything else:

1. join: HF tensors → whole Megatron tensor. Queries, keys and values are interleaved per key/value group, gate and up
   projections are stacked; everything else is the same tensor.
2. shard: whole tensor → the part of one tensor-parallel rank (of a stacked gate and up: a part of each).
3. name: which parameter of this rank it is, if any: pipeline stages count their layers from 0, expert-parallel ranks
   their experts, and Transformer Engine has other names for fused norms and grouped experts.
4. export runs the same steps backwards, tensor by tensor: the ranks that hold the parts send them to rank 0, which
   writes. No rank ever holds more than its own model and one tensor.

Invariants: load followed by export gives the same bytes (same dtype); each tensor of the checkpoint is used exactly
once and each parameter of each rank is set exactly once, else an error names it. Experts are never split over tensor
ranks (expert-tensor-parallel size 1); a shared expert is, like a dense FFN, and is on every expert-parallel rank.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from prstack.store import published
from prstack.store.published import Published
from trainers.hf_files import Reader, Writer
from trainers.spec import ModelSpec

_EMBED, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of the whole model."""

    name: str
    """Megatron's name (local layer spec), with layers and experts counted over the whole model."""
    hf: tuple[str, ...]
    """Its tensors in the checkpoint."""
    shapes: tuple[tuple[int, ...], ...]
    """Their shapes."""
    kind: str = "copy"
    """`copy`, `qkv` or `gate_up`."""
    dim: int | None = None
    """Dimension that tensor parallelism splits, if any."""
    layer: int = -1
    expert: int = -1
    tied: bool = False
    """A second copy of the embedding, held by the last pipeline stage; never exported."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(s[0] for s in self.shapes), *self.shapes[0][1:])


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rank stands in the layout."""

    tp_rank: int = 0
    tp: int = 1
    pp_rank: int = 0
    pp: int = 1
    ep_rank: int = 0
    ep: int = 1

    @staticmethod
    def here() -> Place:
        """The place of this process, from Megatron's parallel state."""
        from megatron.core import parallel_state as ps

        return Place(
            ps.get_tensor_model_parallel_rank(),
            ps.get_tensor_model_parallel_world_size(),
            ps.get_pipeline_model_parallel_rank(),
            ps.get_pipeline_model_parallel_world_size(),
            ps.get_expert_model_parallel_rank(),
            ps.get_expert_model_parallel_world_size(),
        )


def parameters(spec: ModelSpec) -> Iterator[Param]:
    """Every parameter of the whole model, once, in the order of the forward pass."""
    h, d, v, f = spec.hidden, spec.head_dim, spec.vocab, spec.ffn
    yield Param("embedding.word_embeddings.weight", (_EMBED,), ((v, h),), dim=0)
    for i in range(spec.layers):
        m, p = f"decoder.layers.{i}.", f"model.layers.{i}."
        yield Param(m + "input_layernorm.weight", (p + "input_layernorm.weight",), ((h,),), layer=i)
        yield Param(
            m + "self_attention.linear_qkv.weight",
            tuple(f"{p}self_attn.{x}_proj.weight" for x in "qkv"),
            ((spec.heads * d, h), (spec.kv_heads * d, h), (spec.kv_heads * d, h)),
            kind="qkv",
            dim=0,
            layer=i,
        )
        if spec.qkv_bias:
            yield Param(
                m + "self_attention.linear_qkv.bias",
                tuple(f"{p}self_attn.{x}_proj.bias" for x in "qkv"),
                ((spec.heads * d,), (spec.kv_heads * d,), (spec.kv_heads * d,)),
                kind="qkv",
                dim=0,
                layer=i,
            )
        if spec.qk_norm:
            for x in "qk":
                yield Param(f"{m}self_attention.{x}_layernorm.weight", (f"{p}self_attn.{x}_norm.weight",), ((d,),), layer=i)
        yield Param(
            m + "self_attention.linear_proj.weight", (p + "self_attn.o_proj.weight",), ((h, spec.heads * d),), dim=1, layer=i
        )
        yield Param(m + "pre_mlp_layernorm.weight", (p + "post_attention_layernorm.weight",), ((h,),), layer=i)
        if not spec.experts:
            yield from _ffn(m + "mlp.", p + "mlp.", ("gate_proj", "up_proj", "down_proj"), h, f, layer=i, dims=(0, 1))
            continue
        mixtral = spec.architecture == "MixtralForCausalLM"
        block = p + ("block_sparse_moe." if mixtral else "mlp.")
        names = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
        if spec.shared:
            yield from _ffn(m + "mlp.shared_experts.", block + "shared_expert.", names, h, spec.shared, layer=i, dims=(0, 1))
            yield Param(m + "mlp.shared_experts.gate_weight", (block + "shared_expert_gate.weight",), ((1, h),), layer=i)
        yield Param(m + "mlp.router.weight", (block + "gate.weight",), ((spec.experts, h),), layer=i)
        for e in range(spec.experts):
            yield from _ffn(f"{m}mlp.experts.local_experts.{e}.", f"{block}experts.{e}.", names, h, f, layer=i, expert=e)
    yield Param("decoder.final_layernorm.weight", ("model.norm.weight",), ((h,),))
    yield Param("output_layer.weight", (_EMBED if spec.tied else _HEAD,), ((v, h),), dim=0, tied=spec.tied)


def _ffn(
    m: str, p: str, names: tuple[str, str, str], h: int, f: int, layer: int, expert: int = -1, dims: tuple = (None, None)
) -> Iterator[Param]:
    gate, up, down = (f"{p}{n}.weight" for n in names)
    yield Param(m + "linear_fc1.weight", (gate, up), ((f, h), (f, h)), "gate_up", dims[0], layer, expert)
    yield Param(m + "linear_fc2.weight", (down,), ((h, f),), "copy", dims[1], layer, expert)


# --- one tensor, both ways ---------------------------------------------------------------------------------------
def join(param: Param, tensors: list[Tensor], spec: ModelSpec) -> Tensor:
    """HF tensors → the whole Megatron tensor [param.shape]."""
    if param.kind == "qkv":
        g, d, rest = spec.kv_heads, spec.head_dim, tensors[0].shape[1:]
        return torch.cat([t.reshape(g, -1, d, *rest) for t in tensors], dim=1).reshape(-1, *rest)
    return torch.cat(tensors) if param.kind == "gate_up" else tensors[0]


def part(param: Param, whole: Tensor, spec: ModelSpec) -> list[Tensor]:
    """The whole Megatron tensor → HF tensors; the inverse of `join`."""
    if param.kind == "qkv":
        g, d, rest = spec.kv_heads, spec.head_dim, whole.shape[1:]
        per = spec.heads // g
        groups = whole.reshape(g, per + 2, d, *rest)
        return [t.reshape(-1, *rest) for t in groups.split([per, 1, 1], dim=1)]
    return list(whole.chunk(2)) if param.kind == "gate_up" else [whole]


def shard(param: Param, whole: Tensor, rank: int, ranks: int) -> Tensor:
    """A tensor-parallel rank's part of the whole tensor."""
    if param.dim is None or ranks == 1:
        return whole
    if param.kind == "gate_up":
        return torch.cat([t.chunk(ranks, param.dim)[rank] for t in whole.chunk(2)])
    return whole.chunk(ranks, param.dim)[rank]


def unshard(param: Param, shards: list[Tensor]) -> Tensor:
    """The parts of all tensor-parallel ranks → the whole tensor; the inverse of `shard`."""
    if len(shards) == 1:
        return shards[0]
    if param.kind == "gate_up":
        return torch.cat([torch.cat(halves) for halves in zip(*(s.chunk(2) for s in shards))])
    return torch.cat(shards, param.dim)


def local_name(param: Param, spec: ModelSpec, place: Place, te: bool = False) -> str | None:
    """This parameter's name on a rank, or None where another pipeline stage or expert rank has it.

    `te`: names of the Transformer Engine layer spec with grouped experts.
    """
    name = param.name
    if param.layer < 0:
        first = name.startswith("embedding.")
        if param.tied and place.pp == 1:
            return None
        return name if place.pp_rank == (0 if first else place.pp - 1) else None
    per_stage = spec.layers // place.pp
    stage, layer = divmod(param.layer, per_stage)
    if stage != place.pp_rank:
        return None
    rest = name.split(".", 3)[3]
    if param.expert >= 0:
        owner, expert = divmod(param.expert, spec.experts // place.ep)
        if owner != place.ep_rank:
            return None
        linear, leaf = rest.split(".", 4)[4].split(".", 1)
        rest = f"mlp.experts.{linear}.{leaf}{expert}" if te else f"mlp.experts.local_experts.{expert}.{linear}.{leaf}"
    elif te and rest == "input_layernorm.weight":
        rest = "self_attention.linear_qkv.layer_norm_weight"
    elif te and rest == "pre_mlp_layernorm.weight" and not spec.experts:
        rest = "mlp.linear_fc1.layer_norm_weight"
    return f"decoder.layers.{layer}.{rest}"


# --- whole models ------------------------------------------------------------------------------------------------
@torch.no_grad()
def load_hf(model: torch.nn.Module, folder: str | Path, spec: ModelSpec, place: Place, te: bool = False) -> None:
    """Sets this rank's parameters from a checkpoint folder, reading only the tensors that it needs.

    Raises UserError for a tensor that is missing, left over or of another shape.
    """
    reader = Reader(folder)
    reader.expect({n: s for p in parameters(spec) for n, s in zip(p.hf, p.shapes)})
    todo = {n: p for n, p in model.named_parameters() if ".lora_" not in n}  # adapters (`trainers.lora`) are in no checkpoint
    for param in parameters(spec):
        name = local_name(param, spec, place, te)
        if name is None:
            continue
        target = todo.pop(name)
        value = shard(param, join(param, [reader.get(n) for n in param.hf], spec), place.tp_rank, place.tp)
        if value.shape != target.shape:
            raise RuntimeError(f"{name}: mapping gives {tuple(value.shape)}, the model has {tuple(target.shape)}")
        target.copy_(value)
    if todo:
        raise RuntimeError(f"parameters without a tensor in the mapping: {', '.join(sorted(todo)[:5])}")


@torch.no_grad()
def hf_tensors(
    mine: Mapping[str, Tensor], spec: ModelSpec, place: Place, te: bool = False, listed: Iterable[Param] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """(name, CPU tensor) of the checkpoint, one by one, on rank 0; nothing on the others, which send their parts.

    `mine`: this rank's parameters, or anything of their names and shapes that maps linearly (gradients). `listed`: the parameters
    of the whole model that are wanted; `parameters(spec)` by default.
    Collective: every rank iterates to the end.
    """
    listed = list(parameters(spec) if listed is None else listed)
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    here = (place.tp_rank, [local_name(p, spec, place, te) is not None for p in listed])
    held: list[Any] = [here]
    if ranks > 1:
        held = [None] * ranks
        dist.all_gather_object(held, here)
    for i, param in enumerate(listed):
        if param.tied:
            continue
        parts = place.tp if param.dim is not None else 1
        owners = [next(r for r, (tp, has) in enumerate(held) if has[i] and (parts == 1 or tp == t)) for t in range(parts)]
        name = local_name(param, spec, place, te)
        shards = []
        for owner in owners:
            if rank == owner:
                value = mine[name].detach()
                if rank == 0:
                    shards.append(value.cpu())
                else:
                    dist.send(value.contiguous(), 0)
            elif rank == 0:
                some = next(iter(mine.values()))
                shape = list(param.shape)
                if param.dim is not None:
                    shape[param.dim] //= place.tp
                value = torch.empty(shape, dtype=some.dtype, device=some.device)
                dist.recv(value, owner)
                shards.append(value.cpu())
        if rank == 0:
            yield from zip(param.hf, part(param, unshard(param, shards), spec))


def export_hf(
    mine: Mapping[str, Tensor],
    base: str | Path,
    folder: str | Path,
    spec: ModelSpec,
    place: Place,
    te: bool = False,
    dtype: str | None = None,
    max_shard_bytes: int = 4 << 30,
    version: str | None = None,
) -> Published | None:
    """Writes `mine`, this rank's parameters by name, as a Hugging Face folder: safetensors, config, and what `base` has of tokenizer,
    chat template and generation config. Collective; rank 0 writes, and the folder appears whole or not at all.

    `dtype`: of the written tensors; that of the parameters by default. With a `version` the folder is one that engines can verify
    (`prstack.store.published`), which rank 0 returns.
    """
    start, writer = time.perf_counter(), None
    for name, tensor in hf_tensors(mine, spec, place, te):
        writer = writer or Writer(folder, max_shard_bytes, publishing=version is not None)
        writer.add(name, tensor.to(getattr(torch, dtype)) if dtype else tensor)
    if writer:
        kind = dtype or str(next(iter(mine.values())).dtype).removeprefix("torch.")
        writer.finish(base, {"dtype": kind}, version)
    if dist.is_initialized():
        dist.barrier()
    if not writer or version is None:
        return None
    return Published(version, str(folder), published.digest(writer.checksums), writer.bytes, time.perf_counter() - start)
