"""What a model is: a Hugging Face config read into the few numbers that make a Megatron GPTModel.

Architectures: MixtralForCausalLM, Qwen3MoeForCausalLM, Qwen2MoeForCausalLM (with a shared expert) and their dense kin
LlamaForCausalLM, Qwen3ForCausalLM, Qwen2ForCausalLM.
A config key that changes what the model computes and that is not carried over is refused by name; a model is never
built that computes something else than its checkpoint.

How the routers correspond: Mixtral, and Qwen with norm_topk_prob, take the softmax over the chosen logits
(Megatron: softmax after top-k); Qwen without it takes the softmax over all experts and leaves the chosen
probabilities as they are (Megatron: `moe_router_pre_softmax`).

Every token passes through a shared expert, whose output is multiplied by the sigmoid of a gate's one logit (Megatron:
`moe_shared_expert_gate`) and added to that of the chosen experts.

vLLM gives every Qwen2 and Qwen2-MoE biases of queries, keys and values, and heads of hidden_size / num_attention_heads.
A config that says otherwise is refused: engines would compute another model than the trainer.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prstack.errors import UserError

_MOE = ("MixtralForCausalLM", "Qwen3MoeForCausalLM", "Qwen2MoeForCausalLM")
ARCHITECTURES = (*_MOE, "LlamaForCausalLM", "Qwen3ForCausalLM", "Qwen2ForCausalLM")

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "attention_dropout": (0.0, None),
    "router_jitter_noise": (0.0, None),
    "use_sliding_window": (False, None),
    "quantization_config": (None,),
    "decoder_sparse_step": (1, None),
    "mlp_only_layers": ([], None),
}
"""Config keys that must have one of these values, where they are given."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A decoder-only transformer with rotary positions, grouped queries, RMSNorm and SwiGLU, dense or with experts."""

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    """Intermediate size: of the FFN in a dense model, of one expert otherwise."""
    vocab: int
    max_positions: int
    norm_eps: float
    rope_theta: float
    rope_scaling: str
    """`default`, `linear` or `llama3`."""
    rope_factor: float
    tied: bool
    """Whether the output layer is the embedding."""
    qk_norm: bool
    experts: int
    """0 in a dense model."""
    topk: int
    norm_topk: bool
    dtype: str
    """Of the checkpoint: `float32`, `bfloat16` or `float16`."""
    qkv_bias: bool = False
    """Whether queries, keys and values have biases."""
    shared: int = 0
    """Intermediate size of the shared expert; 0 where there is none."""

    @staticmethod
    def from_hf(folder: str | Path) -> ModelSpec:
        """Reads `config.json`. Raises UserError that names what is missing or unsupported."""
        return ModelSpec.from_config(read_config(folder), str(folder))

    @staticmethod
    def from_config(c: dict, where: str = "config") -> ModelSpec:
        """The spec of a parsed config.json; `where` stands in errors."""
        names = c.get("architectures") or ["?"]
        arch = names[0]
        if arch not in ARCHITECTURES:
            raise UserError(f"{where}: architecture {arch} is not supported (supported: {', '.join(ARCHITECTURES)})")
        for key, allowed in _NEUTRAL.items():
            if key in c and c[key] not in allowed:
                raise UserError(f"{where}: {key}={c[key]!r} is not supported (only {allowed[0]!r})")
        if arch == "MixtralForCausalLM" and c.get("sliding_window"):
            raise UserError(f"{where}: sliding_window={c['sliding_window']} is not supported (only null)")
        moe, qwen2, qwen_moe = arch in _MOE, arch.startswith("Qwen2"), arch.endswith("MoeForCausalLM")
        try:
            experts = (c.get("num_experts") or c["num_local_experts"]) if moe else 0
            heads = c["num_attention_heads"]
            theta, scaling, factor = _rope(c, where)
            spec = ModelSpec(
                architecture=arch,
                layers=c["num_hidden_layers"],
                hidden=c["hidden_size"],
                heads=heads,
                kv_heads=c.get("num_key_value_heads") or heads,
                head_dim=c.get("head_dim") or c["hidden_size"] // heads,
                ffn=c["moe_intermediate_size"] if qwen_moe else c["intermediate_size"],
                vocab=c["vocab_size"],
                max_positions=c["max_position_embeddings"],
                norm_eps=c["rms_norm_eps"],
                rope_theta=theta,
                rope_scaling=scaling,
                rope_factor=factor,
                tied=bool(c.get("tie_word_embeddings", False)),
                qk_norm=arch.startswith("Qwen3"),
                experts=experts,
                topk=c["num_experts_per_tok"] if moe else 0,
                norm_topk=bool(c.get("norm_topk_prob", False)) if qwen_moe else moe,
                dtype=str(c.get("dtype") or c.get("torch_dtype") or "float32").removeprefix("torch."),
                qkv_bias=qwen2,
                shared=c["shared_expert_intermediate_size"] if moe and qwen2 else 0,
            )
        except KeyError as e:
            raise UserError(f"{where}: {e.args[0]} is missing") from e
        if moe and not 1 <= spec.topk <= spec.experts:
            raise UserError(f"{where}: num_experts_per_tok={spec.topk} of {spec.experts} experts")
        if moe and spec.topk == 1 and spec.norm_topk:
            raise UserError(f"{where}: num_experts_per_tok=1 with normalised weights is not supported (the router learns nothing)")
        if qwen2 and not c.get("qkv_bias", True):
            raise UserError(f"{where}: qkv_bias={c['qkv_bias']} is not supported (only true: vLLM has the biases always)")
        if qwen2 and spec.head_dim * heads != spec.hidden:
            raise UserError(f"{where}: head_dim={spec.head_dim} is not supported (only hidden_size / num_attention_heads: vLLM reads no other)")
        if moe and qwen2 and spec.shared < 1:
            raise UserError(f"{where}: shared_expert_intermediate_size={spec.shared} is not supported (only 1 and more)")
        return spec

    def transformer_kwargs(self) -> dict[str, Any]:
        """The model's part of Megatron's TransformerConfig (nothing about layout, precision or device)."""
        kwargs: dict[str, Any] = {
            "num_layers": self.layers,
            "hidden_size": self.hidden,
            "num_attention_heads": self.heads,
            "num_query_groups": self.kv_heads,
            "kv_channels": self.head_dim,
            "ffn_hidden_size": self.ffn,
            "layernorm_epsilon": self.norm_eps,
            "normalization": "RMSNorm",
            "qk_layernorm": self.qk_norm,
            "gated_linear_unit": True,
            "add_bias_linear": False,
            "add_qkv_bias": self.qkv_bias,
            "hidden_dropout": 0.0,
            "attention_dropout": 0.0,
        }
        if self.experts:
            kwargs |= {
                "num_moe_experts": self.experts,
                "moe_router_topk": self.topk,
                "moe_ffn_hidden_size": self.ffn,
                "moe_router_pre_softmax": not self.norm_topk,
            }
        if self.shared:
            kwargs |= {"moe_shared_expert_intermediate_size": self.shared, "moe_shared_expert_gate": True}
        return kwargs

    def difference(self, other: ModelSpec) -> str:
        """The first field in which two models differ in shape or function, or an empty string."""
        for f in dataclasses.fields(self):
            a, b = getattr(self, f.name), getattr(other, f.name)
            if a != b and f.name != "dtype":
                return f"{f.name} is {a}, there it is {b}"
        return ""

    def parameters(self) -> int:
        """Number of parameters, all experts and a tied embedding once included."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        attention += self.head_dim * (self.heads + 2 * self.kv_heads) if self.qkv_bias else 0
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        ffn = 3 * self.hidden * self.ffn * max(self.experts, 1) + self.hidden * self.experts
        ffn += self.hidden * (3 * self.shared + 1) if self.shared else 0
        return self.layers * (attention + norms + ffn) + self.hidden + self.vocab * self.hidden * (1 if self.tied else 2)


def read_config(folder: str | Path) -> dict:
    """The parsed config.json of a checkpoint folder. Raises UserError when it is not there or not JSON."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise UserError(f"{folder}: no config.json; a Hugging Face checkpoint folder is needed")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise UserError(f"{path}: not JSON ({e})") from e


def _rope(c: dict, where: str) -> tuple[float, str, float]:
    """(theta, kind of scaling, factor), from `rope_parameters` (transformers 5) or `rope_scaling` and `rope_theta`."""
    p = c.get("rope_parameters") or c.get("rope_scaling") or {}
    theta = p.get("rope_theta") or c.get("rope_theta") or 10000.0
    kind = p.get("rope_type") or p.get("type") or "default"
    if p.get("partial_rotary_factor") not in (None, 1, 1.0) or c.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise UserError(f"{where}: partial_rotary_factor is not supported")
    if kind == "default":
        return float(theta), "default", 1.0
    if kind == "linear":
        return float(theta), "linear", float(p["factor"])
    if kind == "llama3":
        fixed = {"low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}
        for key, value in fixed.items():
            if p.get(key) != value:
                raise UserError(f"{where}: rope scaling llama3 with {key}={p.get(key)} is not supported (only {value})")
        return float(theta), "llama3", float(p["factor"])
    raise UserError(f"{where}: rope scaling {kind!r} is not supported (only default, linear, llama3)")
