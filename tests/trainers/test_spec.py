"""What a config is read into, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prstack.errors import UserError
from tests.trainers.models import make
from trainers.layout import Layout
from trainers.spec import ModelSpec

MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "vocab_size": 384,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["DeepseekV3ForCausalLM"]}, "architecture DeepseekV3ForCausalLM is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu' is not supported"),
        ({"attention_bias": True}, "attention_bias=True is not supported"),
        ({"sliding_window": 4096}, "sliding_window=4096 is not supported"),
        ({"attention_dropout": 0.1}, "attention_dropout=0.1 is not supported"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope scaling 'yarn' is not supported"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 2}}, "low_freq_factor=2"),
        ({"num_experts_per_tok": 1}, "num_experts_per_tok=1 with normalised weights"),
        ({"num_experts_per_tok": 9}, "num_experts_per_tok=9 of 4 experts"),
    ],
)
def test_unsupported_is_named(change: dict, message: str) -> None:
    with pytest.raises(UserError) as e:
        ModelSpec.from_config(MIXTRAL | change, "base")
    assert message in str(e.value) and str(e.value).startswith("base: ")


QWEN2_MOE = {k: v for k, v in MIXTRAL.items() if k != "num_local_experts"} | {
    "architectures": ["Qwen2MoeForCausalLM"],
    "num_experts": 4,
    "moe_intermediate_size": 48,
    "shared_expert_intermediate_size": 80,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder_sparse_step": 2}, "decoder_sparse_step=2 is not supported"),
        ({"mlp_only_layers": [0]}, "mlp_only_layers=[0] is not supported"),
        ({"use_sliding_window": True}, "use_sliding_window=True is not supported"),
        ({"qkv_bias": False}, "qkv_bias=False is not supported"),
        ({"head_dim": 24}, "head_dim=24 is not supported"),
        ({"shared_expert_intermediate_size": 0}, "shared_expert_intermediate_size=0 is not supported"),
        ({"num_experts_per_tok": 5}, "num_experts_per_tok=5 of 4 experts"),
        ({"num_experts_per_tok": 1, "norm_topk_prob": True}, "num_experts_per_tok=1 with normalised weights"),
    ],
)
def test_what_a_qwen2_moe_cannot_be_is_named(change: dict, message: str) -> None:
    with pytest.raises(UserError) as e:
        ModelSpec.from_config(QWEN2_MOE | change, "base")
    assert message in str(e.value)
    with pytest.raises(UserError, match="base: shared_expert_intermediate_size is missing"):
        ModelSpec.from_config({k: v for k, v in QWEN2_MOE.items() if k != "shared_expert_intermediate_size"}, "base")


@pytest.mark.parametrize("norm", [None, False, True])
def test_a_shared_expert_reaches_megatron(norm: bool | None) -> None:
    """norm_topk_prob is off where a Qwen2-MoE does not name it."""
    given = {} if norm is None else {"norm_topk_prob": norm}
    kwargs = ModelSpec.from_config(QWEN2_MOE | given | {"num_experts_per_tok": 2}).transformer_kwargs()
    assert (kwargs["moe_shared_expert_intermediate_size"], kwargs["moe_shared_expert_gate"], kwargs["add_qkv_bias"]) == (80, True, True)
    assert (kwargs["moe_router_pre_softmax"], kwargs["moe_ffn_hidden_size"], kwargs["qk_layernorm"]) == (not norm, 48, False)
    mixtral = ModelSpec.from_config(MIXTRAL).transformer_kwargs()
    assert not mixtral["add_qkv_bias"] and "moe_shared_expert_intermediate_size" not in mixtral


def test_missing_key_is_named() -> None:
    with pytest.raises(UserError, match="base: rms_norm_eps is missing"):
        ModelSpec.from_config({k: v for k, v in MIXTRAL.items() if k != "rms_norm_eps"}, "base")


def test_broken_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        ModelSpec.from_hf(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        ModelSpec.from_hf(tmp_path)


def test_a_published_config() -> None:
    """Qwen3-30B-A3B's numbers: head_dim apart from hidden size, 30.5 billion parameters."""
    spec = ModelSpec.from_config(
        {
            "architectures": ["Qwen3MoeForCausalLM"],
            "attention_bias": False,
            "decoder_sparse_step": 1,
            "head_dim": 128,
            "hidden_act": "silu",
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "max_position_embeddings": 40960,
            "max_window_layers": 48,
            "mlp_only_layers": [],
            "moe_intermediate_size": 768,
            "norm_topk_prob": True,
            "num_attention_heads": 32,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 48,
            "num_key_value_heads": 4,
            "rms_norm_eps": 1e-06,
            "rope_scaling": None,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "use_sliding_window": False,
            "vocab_size": 151936,
        }
    )
    assert (spec.head_dim, spec.ffn, spec.rope_theta, spec.dtype) == (128, 768, 1e6, "bfloat16")
    assert spec.parameters() == 30_532_122_624
    assert spec.transformer_kwargs()["moe_router_pre_softmax"] is False


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "qwen2_moe", "llama", "qwen3", "qwen2"])
@pytest.mark.parametrize("tied", [False, True])
def test_parameter_count_is_the_model_s(tmp_path: Path, kind: str, tied: bool) -> None:
    model = make(kind, tmp_path, tie_word_embeddings=tied)
    assert ModelSpec.from_hf(tmp_path).parameters() == sum(p.numel() for p in model.parameters())


def test_difference_names_the_field() -> None:
    a = ModelSpec.from_config(MIXTRAL)
    assert a.difference(a) == ""
    assert a.difference(ModelSpec.from_config(MIXTRAL | {"num_local_experts": 8})) == "experts is 4, there it is 8"
    assert a.difference(ModelSpec.from_config(json.loads(json.dumps(MIXTRAL | {"dtype": "bfloat16"})))) == ""


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Layout(2, ep=4), "must be a multiple of ep"),
        (Layout(3, tp=2), "ranks must be a multiple of"),
        (Layout(3, ep=3), "4 experts cannot be split evenly over ep=3"),
        (Layout(3, pp=3), "4 layers cannot be split evenly over pp=3"),
        (Layout(4, tp=4), "2 key/value heads cannot be split evenly over tp=4"),
    ],
)
def test_layouts_that_cannot_be(layout: Layout, message: str) -> None:
    with pytest.raises(UserError, match=message):
        layout.check(ModelSpec.from_config(MIXTRAL))


def test_a_shared_expert_is_split_over_tensor_ranks() -> None:
    spec = ModelSpec.from_config(QWEN2_MOE | {"shared_expert_intermediate_size": 81})
    with pytest.raises(UserError, match="81 units of the shared expert cannot be split evenly over tp=2"):
        Layout(2, tp=2).check(spec)
    Layout(2, ep=2).check(spec)


def test_dense_model_has_no_experts_to_spread() -> None:
    dense = ModelSpec.from_config(MIXTRAL | {"architectures": ["LlamaForCausalLM"]})
    with pytest.raises(UserError, match="LlamaForCausalLM is dense"):
        Layout(2, ep=2).check(dense)


def test_ranks_follow_from_the_layout() -> None:
    assert Layout.of(None, tp=2, pp=2, ep=4) == Layout(8, 2, 2, 4)
    assert Layout.of(8, tp=1, pp=2, ep=2).dp == 4
