"""Small Hugging Face checkpoints with random weights, and packs of random conversations: what parity is checked on.

Norms, biases, routers and gates are moved away from what initialisation gives them, where a mistake in the mapping would not show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from trainers.batches import Pack

VOCAB = 384
KINDS = {
    "mixtral": (MixtralConfig, MixtralForCausalLM),
    "qwen3_moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM),
    "qwen2_moe": (Qwen2MoeConfig, Qwen2MoeForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
}
_BASE = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
_OWN = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "norm_topk_prob": True},
    "qwen2_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
        "shared_expert_intermediate_size": 40,
        "norm_topk_prob": False,
        "head_dim": 16,
    },
    "qwen2": {"head_dim": 16},
}
"""What a kind has of its own; Qwen2's heads are hidden_size / num_attention_heads wide."""


def make(kind: str, folder: Path, seed: int = 0, dtype: torch.dtype = torch.float32, **over: Any) -> PreTrainedModel:
    """Writes a random checkpoint of a kind in `KINDS` and returns the model in eval mode. `over`: values of its config."""
    config_class, model_class = KINDS[kind]
    torch.manual_seed(seed)
    model = model_class(config_class(**(_BASE | _OWN.get(kind, {}) | over)))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.add_(0.1 * torch.randn_like(p))
            elif name.endswith(".bias"):
                p.copy_(0.1 * torch.randn_like(p))
            elif name.endswith("gate.weight"):
                p.mul_(10)
    model = model.to(dtype).eval()
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return model


def make_packs(n: int, seed: int = 0, length: int = 48, vocab: int = VOCAB) -> list[Pack]:
    """Packs of 1 to 4 segments whose tokens follow a rule that can be learned (each token from the one before)."""
    rng = np.random.default_rng(seed)
    packs = []
    for i in range(n):
        lengths = rng.integers(5, length // 2, size=rng.integers(1, 5)).astype(np.int32)
        ids = np.concatenate([(rng.integers(vocab) + 7 * np.arange(k)) % vocab for k in lengths]).astype(np.int32)
        mask = (rng.random(len(ids)) < 0.7).astype(np.int8)
        packs.append(Pack(ids, mask, lengths, f"pack {i}"))
    return packs
