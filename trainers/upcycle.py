"""Upcycling: a dense checkpoint becomes a mixture of experts that computes the same function at step 0.

Llama becomes Mixtral, Qwen3 becomes Qwen3-MoE; with a shared expert, Llama and Qwen2 become Qwen2-MoE. Attention, norms
and embeddings are copied; the weights of the chosen k experts sum to 1 (norm_topk_prob on).

`simple`: E experts, each the whole FFN, so that the sum of k equal outputs, weighted, is the output. Active FFN compute
grows k-fold.

`fine`: each FFN is cut into G shards of its hidden units (SwiGLU adds up over hidden units: y = Σ_g y_g), and the G
shards are replicated R times: E = G·R experts of 1/G size, k = G. The function stays when every token is routed to
one copy of each shard with equal weights. These architectures can express that exactly:

1. The G experts of one replica share one router row. Their logits tie, and the replica with the largest logit takes
   all k = G places: one copy of each shard, all of the same replica.
2. Equal logits give each the weight 1/G after normalisation over the chosen k; every down projection is multiplied by
   G (exact in floating point when G is a power of two). Active FFN compute is that of the dense model.

Experts lie replica by replica, so that should two replicas tie too (in fp32 as good as never, in bf16 for about one
token in some hundred), a top-k that prefers the lower index still takes one whole replica. Training separates the
shared rows, because each expert's output differs. (The construction is the "virtual group" initialisation of
He et al., Upcycling Large Language Models into Mixture of Experts, arXiv:2410.07524.)

A shared expert, which every token passes through, takes S shards of `fine` for itself: the FFN is cut into G + S, of
which S are never replicated. With `simple` it is the whole FFN, and it and the routed experts give half of y each. Its
gate starts at zero, so that its output is multiplied by sigmoid(0) = 1/2: the down projection of S shards is doubled,
that of the whole FFN left as it is and those of the routed experts halved (all exact). Biases of queries, keys and
values, which Qwen2-MoE has and Llama has not, start at zero.

Two ways give the experts a start of their own, at the price of the function; the shared expert is left as it is.

- `noise`: to each weight a normal number is added, of `noise` times the standard deviation of the expert's tensor
  (after Komatsuzaki et al., Sparse Upcycling, arXiv:2212.05055).
- `reinit`: of each expert that share of hidden units is drawn anew, the same units of gate, up and down projection,
  from a normal distribution of the mean and standard deviation that the drawn units' weights had, for each projection
  (after Nakamura et al., Drop-Upcycling, arXiv:2502.19261, who find a half best; whether their statistics are of the drawn units or of the
  whole projection was not compared with their code).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from prstack.errors import UserError
from trainers.hf_files import Reader, Writer
from trainers.spec import ModelSpec, read_config
from trainers.weights import Param, parameters

_TARGET = {"LlamaForCausalLM": ("MixtralForCausalLM", "mixtral"), "Qwen3ForCausalLM": ("Qwen3MoeForCausalLM", "qwen3_moe")}
_SHARED_TARGET = dict.fromkeys(("LlamaForCausalLM", "Qwen2ForCausalLM"), ("Qwen2MoeForCausalLM", "qwen2_moe"))
_OTHER_KEYS = ("pretraining_tp", "mlp_bias", "attention_bias", "use_sliding_window", "max_window_layers", "layer_types", "head_dim")
"""Keys of the dense configs that the sparse ones read otherwise or not at all; all have their neutral value here."""
_ROLES = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}


@dataclass(frozen=True, slots=True)
class _Cut:
    """Hidden units of the dense FFN that an expert gets, and what its down projection is multiplied by."""

    start: int
    units: int
    scale: float

    def of(self, dense: Tensor, role: str) -> Tensor:
        """[f, h] of gate and up projections, [h, f] of down projections, of the dense tensor."""
        if role == "down_proj":
            return dense.narrow(1, self.start, self.units) * self.scale
        return dense.narrow(0, self.start, self.units)


@dataclass(frozen=True, slots=True)
class _Variation:
    """What sets the experts apart from the start."""

    noise: float
    reinit: float
    seed: int

    def of(self, tensor: Tensor, role: str, layer: int, expert: int) -> Tensor:
        """The tensor with noise and with units drawn anew; what is drawn depends on the seed, layer, expert and role alone, and which
        units not on the role."""
        if not self.noise and not self.reinit:
            return tensor
        units = tensor.float()
        units = units.T if role == "down_proj" else units  # [f, h]
        draw = _generator(self.seed, layer, expert, 1 + list(_ROLES.values()).index(role))
        new = units + self.noise * units.std() * torch.randn(units.shape, generator=draw)
        if self.reinit:
            which = torch.randperm(len(units), generator=_generator(self.seed, layer, expert, 0))[: max(1, round(self.reinit * len(units)))]
            old = units[which]
            new[which] = old.mean() + old.std() * torch.randn(old.shape, generator=draw)
        return (new.T if role == "down_proj" else new).to(tensor.dtype)


def _generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


def upcycle(
    base: str | Path,
    folder: str | Path,
    experts: int = 4,
    topk: int = 2,
    kind: Literal["simple", "fine"] = "simple",
    shared: int = 0,
    noise: float = 0.0,
    reinit: float = 0.0,
    router_std: float = 0.02,
    seed: int = 0,
    max_shard_bytes: int = 4 << 30,
) -> ModelSpec:
    """Writes the sparse checkpoint of a dense one, tensor by tensor, and returns its spec.

    `topk` experts are active; with `fine` it is also the number of an FFN's shards that are routed to, and must divide `experts`.
    `shared`: shards of the shared expert (with `simple` 1 for the whole FFN); topk + shared must divide the FFN's hidden units.
    Routers are drawn from a normal distribution of `router_std`. Raises UserError.
    """
    spec = ModelSpec.from_hf(base)
    target = _check(spec, base, experts, topk, kind, shared, noise, reinit)
    routed, common = _cuts(spec.ffn, topk if kind == "fine" else 0, shared)
    config = _config(read_config(base), spec, target, experts, topk, routed[0].units, common.units if common else 0)
    sparse = ModelSpec.from_config(config, str(folder))
    reader, writer = Reader(base), Writer(folder, max_shard_bytes)
    reader.expect({n: s for p in parameters(spec) for n, s in zip(p.hf, p.shapes)})
    generator, variation = torch.Generator().manual_seed(seed), _Variation(noise, reinit, seed)
    for param in parameters(sparse):
        if param.tied:
            continue
        if param.name.endswith("router.weight"):
            rows = torch.randn(experts // len(routed), spec.hidden, generator=generator) * router_std
            writer.add(param.hf[0], rows.repeat_interleave(len(routed), 0).to(getattr(torch, spec.dtype)))
        elif param.name.endswith("gate_weight") or (param.name.endswith("linear_qkv.bias") and not spec.qkv_bias):
            for name, shape in zip(param.hf, param.shapes):
                writer.add(name, torch.zeros(shape, dtype=getattr(torch, spec.dtype)))
        elif ".shared_experts." in param.name:
            for name, role, dense in _dense(reader, param):
                writer.add(name, common.of(dense, role))
        elif param.expert >= 0:
            for name, role, dense in _dense(reader, param):
                writer.add(name, variation.of(routed[param.expert % len(routed)].of(dense, role), role, param.layer, param.expert))
        else:
            for name in param.hf:
                writer.add(name, reader.get(name))
    dropped = {k: None for k in read_config(base) if k not in config}
    writer.finish(base, config | dropped)
    return sparse


def _check(spec: ModelSpec, base: str | Path, experts: int, topk: int, kind: str, shared: int, noise: float, reinit: float) -> tuple[str, str]:
    """The architecture and model_type to upcycle to. Raises UserError with the setting that does not fit."""
    if spec.architecture not in _TARGET | _SHARED_TARGET:
        raise UserError(f"{base}: {spec.architecture} cannot be upcycled (only {', '.join(_TARGET | _SHARED_TARGET)})")
    if not 2 <= topk <= experts:
        raise UserError(f"upcycle.topk={topk}: must lie between 2 and upcycle.experts={experts} (the router of a single expert learns nothing)")
    if noise < 0 or not 0 <= reinit <= 1:
        raise UserError(f"upcycle.noise={noise}, upcycle.reinit={reinit}: noise must be 0 or more, reinit between 0 and 1")
    if kind == "simple" and shared not in (0, 1):
        raise UserError(f"upcycle.shared={shared}: with upcycle.kind=simple the shared expert is the whole FFN, once (0 or 1)")
    if kind == "fine" and experts % topk:
        raise UserError(f"upcycle.experts={experts}: with upcycle.kind=fine it must be a multiple of upcycle.topk={topk}, the number of shards")
    if kind == "fine" and spec.ffn % (topk + shared):
        raise UserError(
            f"upcycle.topk={topk}, upcycle.shared={shared}: the {spec.ffn} FFN units of {base} cannot be cut into {topk + shared} equal shards"
        )
    if not shared and spec.architecture not in _TARGET:
        raise UserError(f"upcycle.shared=0: {spec.architecture} becomes Qwen2-MoE, which has a shared expert; give 1 or more")
    if not shared:
        return _TARGET[spec.architecture]
    if spec.architecture not in _SHARED_TARGET:
        raise UserError(
            f"upcycle.shared={shared}: {base} has norms of queries and keys (Qwen3), and Qwen2-MoE, the architecture with a shared expert, has "
            "none; leave the shared expert out, or start from a Llama or Qwen2 model"
        )
    if spec.head_dim * spec.heads != spec.hidden:
        raise UserError(
            f"upcycle.shared={shared}: Qwen2-MoE has heads of hidden_size / num_attention_heads = {spec.hidden / spec.heads:g}, those of {base} have {spec.head_dim}"
        )
    return _SHARED_TARGET[spec.architecture]


def _cuts(ffn: int, shards: int, shared: int) -> tuple[list[_Cut], _Cut | None]:
    """The experts of one replica, and the shared expert. `shards`: routed ones of `fine`, 0 for `simple`."""
    if not shards:
        return [_Cut(0, ffn, 0.5 if shared else 1.0)], _Cut(0, ffn, 1.0) if shared else None
    units = ffn // (shards + shared)
    routed = [_Cut((shared + g) * units, units, shards) for g in range(shards)]
    return routed, _Cut(0, shared * units, 2.0) if shared else None


def _dense(reader: Reader, param: Param) -> Iterator[tuple[str, str, Tensor]]:
    """(name, role, tensor of the dense FFN) of an expert's parameter; the role is `gate_proj`, `up_proj` or `down_proj`."""
    for name in param.hf:
        last = name.split(".")[-2]
        role = _ROLES.get(last, last)
        yield name, role, reader.get(f"model.layers.{param.layer}.mlp.{role}.weight")


def _config(
    dense: dict[str, Any], spec: ModelSpec, target: tuple[str, str], experts: int, topk: int, ffn: int, shared: int
) -> dict[str, Any]:
    arch, model_type = target
    config = {k: v for k, v in dense.items() if k not in _OTHER_KEYS}
    config |= {
        "architectures": [arch],
        "model_type": model_type,
        "num_experts_per_tok": topk,
        "output_router_logits": False,
        "sliding_window": None,
        "dtype": spec.dtype,
    }
    config.pop("torch_dtype", None)
    if model_type == "mixtral":
        return config | {"head_dim": spec.head_dim, "num_local_experts": experts, "intermediate_size": ffn, "router_jitter_noise": 0.0}
    config |= {
        "num_experts": experts,
        "moe_intermediate_size": ffn,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "use_sliding_window": False,
    }
    if model_type == "qwen3_moe":
        return config | {"head_dim": spec.head_dim}
    return config | {"shared_expert_intermediate_size": shared, "qkv_bias": True}
