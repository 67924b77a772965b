"""Upcycling: a dense checkpoint becomes a mixture of experts that computes the same function at step 0.

Llama becomes Mixtral, Qwen3 becomes Qwen3-MoE (norm_topk_prob on); attention, norms and embeddings are copied.

`simple`: E experts, each the whole FFN. The router's weights of the chosen k sum to 1, so that the sum of k equal
outputs is the output. Active FFN compute grows k-fold.

`fine`: each FFN is cut into G shards of its hidden units (SwiGLU adds up over hidden units: y = Σ_g y_g), and the G
shards are replicated R times: E = G·R experts of 1/G size, k = G. The function stays when every token is routed to
one copy of each shard with equal weights. Mixtral and Qwen3-MoE can express that exactly:

1. The G experts of one replica share one router row. Their logits tie, and the replica with the largest logit takes
   all k = G places: one copy of each shard, all of the same replica.
2. Equal logits give each the weight 1/G after normalisation over the chosen k; every down projection is multiplied by
   G (exact in floating point when G is a power of two). Active FFN compute is that of the dense model.

Experts lie replica by replica, so that should two replicas tie too (in fp32 as good as never, in bf16 for about one
token in some hundred), a top-k that prefers the lower index still takes one whole replica. Training separates the
shared rows, because each expert's output differs. (The construction is the "virtual group" initialisation of
He et al., Upcycling Large Language Models into Mixture of Experts, arXiv:2410.07524.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from prstack.errors import UserError
from trainers.hf_files import Reader, Writer
from trainers.spec import ModelSpec, read_config
from trainers.weights import parameters

_TARGET = {"LlamaForCausalLM": ("MixtralForCausalLM", "mixtral"), "Qwen3ForCausalLM": ("Qwen3MoeForCausalLM", "qwen3_moe")}
_OTHER_KEYS = ("pretraining_tp", "mlp_bias", "attention_bias", "use_sliding_window", "max_window_layers", "layer_types")
"""Keys of the dense configs that the sparse ones read otherwise or not at all; all have their neutral value here."""


def upcycle(
    base: str | Path,
    folder: str | Path,
    experts: int = 4,
    topk: int = 2,
    kind: Literal["simple", "fine"] = "simple",
    router_std: float = 0.02,
    seed: int = 0,
    max_shard_bytes: int = 4 << 30,
) -> ModelSpec:
    """Writes the sparse checkpoint of a dense one, tensor by tensor, and returns its spec.

    `topk` experts are active; with `fine` it is also the number of shards of an FFN, and must divide `experts` and the
    FFN's hidden units. Routers are drawn from a normal distribution of `router_std`. Raises UserError.
    """
    spec = ModelSpec.from_hf(base)
    if spec.architecture not in _TARGET:
        raise UserError(f"{base}: {spec.architecture} cannot be upcycled (only {', '.join(_TARGET)})")
    if not 1 <= topk <= experts:
        raise UserError(f"upcycling to {experts} experts with top-{topk}: top-k must lie between 1 and the experts")
    shards = topk if kind == "fine" else 1
    if experts % shards or spec.ffn % shards:
        raise UserError(f"fine upcycling with {shards} shards: {experts} experts and {spec.ffn} FFN units must be multiples of it")
    config = _config(read_config(base), spec, experts, topk, spec.ffn // shards)
    sparse = ModelSpec.from_config(config, str(folder))
    reader, writer = Reader(base), Writer(folder, max_shard_bytes)
    reader.expect({n: s for p in parameters(spec) for n, s in zip(p.hf, p.shapes)})
    generator = torch.Generator().manual_seed(seed)
    for param in parameters(sparse):
        if param.tied:
            continue
        for name in param.hf:
            if param.expert >= 0:
                tensor = _expert(reader, name, param.layer, param.expert % shards, shards)
            elif param.name.endswith("router.weight"):
                rows = torch.randn(experts // shards, spec.hidden, generator=generator) * router_std
                tensor = rows.repeat_interleave(shards, 0).to(getattr(torch, spec.dtype))
            else:
                tensor = reader.get(name)
            writer.add(name, tensor)
    dropped = {k: None for k in read_config(base) if k not in config}
    writer.finish(base, config | dropped)
    return sparse


def _expert(reader: Reader, name: str, layer: int, index: int, shards: int) -> Tensor:
    """The expert tensor `name`: shard `index` of the dense FFN's hidden units."""
    role = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}.get(name.split(".")[-2], name.split(".")[-2])
    dense = reader.get(f"model.layers.{layer}.mlp.{role}.weight")
    if role == "down_proj":
        return dense.chunk(shards, 1)[index] * shards
    return dense.chunk(shards, 0)[index]


def _config(dense: dict[str, Any], spec: ModelSpec, experts: int, topk: int, ffn: int) -> dict[str, Any]:
    arch, model_type = _TARGET[spec.architecture]
    config = {k: v for k, v in dense.items() if k not in _OTHER_KEYS}
    config |= {
        "architectures": [arch],
        "model_type": model_type,
        "num_experts_per_tok": topk,
        "output_router_logits": False,
        "head_dim": spec.head_dim,
        "sliding_window": None,
        "dtype": spec.dtype,
    }
    config.pop("torch_dtype", None)
    if model_type == "mixtral":
        return config | {"num_local_experts": experts, "intermediate_size": ffn, "router_jitter_noise": 0.0}
    return config | {
        "num_experts": experts,
        "moe_intermediate_size": ffn,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "use_sliding_window": False,
    }
