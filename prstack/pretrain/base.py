"""From a pretraining configuration to what the trainer takes: a tokenizer, a model's config, packs of text.

1. The tokenizer is trained on documents of a seed of its own, and on the prompts, whose words conversations repeat.
2. A pack is documents one after the other, each a segment that ends with the end-of-text token, as many as fit; a document
   that is longer than a pack is cut. A token is learned where its piece is (`prstack.pretrain.pieces`).
3. Packs are made until they hold `tokens` tokens. The same configuration gives the same packs. While documents are short, so are
   packs (`prstack.pretrain.corpus.STAGES`).
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from prstack.distill.packing import Sample, packed_row
from prstack.pretrain import tokenizer as bpe
from prstack.pretrain.corpus import document, documents, stage
from prstack.prompts import HERE as PROMPTS
from prstack.settings import PretrainConfig
from prstack.store.parts import Parts

PROMPT_WEIGHT = 40
"""Times that the prompts count in the tokenizer's training."""
_MARKS = "|".join(map(re.escape, bpe.SPECIAL))


def make_tokenizer(config: PretrainConfig) -> Tokenizer:
    texts = documents(config.seed + 1)
    sample = [re.sub(_MARKS, "", "".join(text for text, _ in next(texts))) for _ in range(config.tokenizer_documents)]
    # Not those of distillation, which no base reads: a tokenizer once made is to be made the same again.
    prompts = [p.read_text(encoding="utf-8") for p in sorted(PROMPTS.glob("*.jinja")) if not p.name.startswith("distill_")]
    return bpe.train([*sample, *prompts * PROMPT_WEIGHT], config.vocabulary)


def model_config(config: PretrainConfig, tokenizer: Tokenizer, context: int) -> dict[str, Any]:
    """The Hugging Face config.json of the model: Qwen3-MoE, output layer tied to the embedding."""
    of = {name: tokenizer.token_to_id(token) for name, token in (("bos", bpe.END_OF_TEXT), ("eos", bpe.END_OF_TURN), ("pad", bpe.END_OF_TEXT))}
    return {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "vocab_size": config.vocabulary,
        "hidden_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.ffn * config.topk,
        "moe_intermediate_size": config.ffn,
        "num_experts": config.experts,
        "num_experts_per_tok": config.topk,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "tie_word_embeddings": True,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "hidden_act": "silu",
        "attention_bias": False,
        "use_sliding_window": False,
        "router_aux_loss_coef": 0.001,
        "output_router_logits": False,
        "initializer_range": config.hidden**-0.5,
        "dtype": "float32",
        **{f"{k}_token_id": v for k, v in of.items()},
    }


def packs(config: PretrainConfig, tokenizer: Tokenizer, length: int, first: int = 0, curriculum: bool = True) -> Iterator[dict]:
    """Rows of `prstack.distill.packing.PACKED_SCHEMA` with at least `config.tokens` tokens in all, in the order in which they
    are to be seen: documents from number `first` on, and without `curriculum` all of the last stage."""
    total, row, filled = 0, [], 0
    for n in itertools.count(first):
        share = total / config.tokens if curriculum else 1.0
        sample = _sample(config, tokenizer, n, share, length)
        if row and filled + len(sample.input_ids) > length // stage(share).packs:
            yield packed_row([s.id for s in row], {s.id: s for s in row})
            total += filled
            row, filled = [], 0
            if total >= config.tokens:
                return
        row.append(sample)
        filled += len(sample.input_ids)


def write_packs(config: PretrainConfig, tokenizer: Tokenizer, length: int, out: Parts, first: int = 0, curriculum: bool = True) -> None:
    """Writes `packs` with a progress bar; those that are there already are left out."""
    with out, tqdm(total=config.tokens, desc="text", unit=" tokens", unit_scale=True, mininterval=1.0) as bar:
        for row in packs(config, tokenizer, length, first, curriculum):
            if row["id"] not in out:
                out.add(row)
            bar.update(len(row["input_ids"]))


def _sample(config: PretrainConfig, tokenizer: Tokenizer, n: int, share: float, length: int) -> Sample:
    """Document `n` as tokens, cut to `length`. Pieces are encoded by themselves."""
    pieces = document(config.seed, n, share)
    ids: list[int] = []
    mask: list[int] = []
    for encoded, (_, learned) in zip(tokenizer.encode_batch([text for text, _ in pieces], add_special_tokens=False), pieces, strict=True):
        ids += encoded.ids
        mask += [int(learned)] * len(encoded.ids)
    ids, mask = [*ids[: length - 1], tokenizer.token_to_id(bpe.END_OF_TEXT)], [*mask[: length - 1], 1]
    return Sample(hashlib.sha256(f"{config.seed}/{n}".encode()).hexdigest()[:16], np.array(ids, np.int32), np.array(mask, np.int8))
