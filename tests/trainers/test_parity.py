"""Megatron computes what transformers computes: logits, loss and gradients, packed and not, on one rank and two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainers.models import make, make_packs
from trainers import reference, selftest
from trainers.batches import Pack
from trainers.layout import Layout
from trainers.worker import Setup

pytestmark = pytest.mark.slow

KINDS = [
    ("mixtral", {}),
    ("qwen3_moe", {}),
    ("qwen3_moe", {"norm_topk_prob": False, "tie_word_embeddings": True, "num_experts_per_tok": 3}),
    ("mixtral", {"num_key_value_heads": 1, "num_local_experts": 5, "num_experts_per_tok": 3}),
    ("qwen2_moe", {}),
    (
        "qwen2_moe",
        {
            "norm_topk_prob": True,
            "tie_word_embeddings": True,
            "num_key_value_heads": 1,
            "num_experts": 5,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 28,
            "shared_expert_intermediate_size": 37,
        },
    ),
    ("llama", {"tie_word_embeddings": True}),
    ("qwen3", {}),
    ("qwen2", {}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0}}),
    (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 50000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            }
        },
    ),
]


def check_step(group, hf: torch.nn.Module, packs: list[Pack], setup: Setup) -> None:
    """One step at learning rate 0: loss and every gradient equal transformers'."""
    group.setup(setup)
    dp = group.dp
    metrics = group.step([[[p] for p in packs[d::dp]] for d in range(dp)], lr=0.0)
    loss, grads = reference.step(hf, packs)
    assert abs(metrics["loss"] - loss) <= 1e-6
    ours = group.gradients()
    assert ours.keys() == grads.keys()
    for name, g in grads.items():
        assert np.abs(ours[name] - g).max() <= 1e-5 * max(np.abs(g).max(), 1e-3), name
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in grads.values()))
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize(("kind", "over"), KINDS)
def test_one_rank_equals_transformers(local, tmp_path: Path, kind: str, over: dict) -> None:
    hf = make(kind, tmp_path, **over)
    packs = make_packs(4, seed=1)
    check_step(local, hf, packs, Setup(str(tmp_path), clip=0.0))
    with torch.no_grad():
        want = torch.cat([reference.logits(hf, p) for p in packs])
        micro = local._worker._collate(packs)
        got = local._worker.model.eval()(micro.input_ids, micro.position_ids, None, packed_seq_params=micro.packed)[0]
    assert (got - want).abs().max() <= 1e-5


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "qwen2_moe"])
@pytest.mark.parametrize("layout", [Layout(2, ep=2), Layout(2, tp=2), Layout(2, pp=2), Layout(2)], ids=["ep2", "tp2", "pp2", "dp2"])
def test_two_ranks_equal_transformers(pair, tmp_path: Path, kind: str, layout: Layout) -> None:
    hf = make(kind, tmp_path, tie_word_embeddings=kind == "mixtral")
    packs = make_packs(4, seed=2)
    check_step(pair, hf, packs, Setup(str(tmp_path), layout, clip=0.0))
    with torch.no_grad():
        want = [reference.label_logprobs(hf, p) for p in packs]
    dp = pair.dp
    out = pair.forward([[[p] for p in packs[d::dp]] for d in range(dp)])
    for i, w in enumerate(want):
        got = torch.tensor(out[i % dp][i // dp][0])
        assert (got - w).abs().max() <= 1e-5


def test_a_shared_expert_trains_as_in_pytorch(local, tmp_path: Path) -> None:
    """The parity report's checks that take more than one step or the routers' own loss."""
    c = selftest.case("qwen2_moe", tmp_path / "base")
    found = [selftest.twenty_steps(local, c, "EP1", Layout()), selftest.packed(local, c), *selftest.auxiliary(local, c, "EP1", Layout())]
    assert all(f.ok for f in found), found


def test_packed_equals_unpacked(local, tmp_path: Path) -> None:
    make("qwen3_moe", tmp_path)
    packs = make_packs(3, seed=3)
    local.setup(Setup(str(tmp_path), clip=0.0))
    apart = [
        Pack(p.input_ids[e - n : e], p.loss_mask[e - n : e], np.array([n], np.int32))
        for p in packs
        for e, n in zip(np.cumsum(p.segment_lengths), p.segment_lengths)
    ]
    runs = {}
    for name, micros in {"packed": [packs], "apart": [[p] for p in apart]}.items():
        metrics = local.step([micros], lr=0.0)
        runs[name] = metrics["loss"], local.gradients(), local.forward([micros])
    assert runs["packed"][0] == pytest.approx(runs["apart"][0], abs=1e-6)
    for name, g in runs["packed"][1].items():
        assert np.abs(g - runs["apart"][1][name]).max() <= 1e-6, name
    flat = [np.concatenate([np.array(x) for micro in runs[k][2][0] for x in micro]) for k in ("packed", "apart")]
    assert np.abs(flat[0] - flat[1]).max() <= 1e-5


def test_recomputation_changes_nothing(local, tmp_path: Path) -> None:
    make("mixtral", tmp_path)
    packs = make_packs(2, seed=4)
    seen = []
    for recompute in (False, True):
        local.setup(Setup(str(tmp_path), recompute=recompute, aux_loss=0.01))
        seen.append(local.step([[packs]], lr=1e-3))
    for key in ("loss", "grad_norm", "aux_loss", "expert_load"):
        assert seen[0][key] == seen[1][key], key


def test_bfloat16_is_close_to_float32(local, tmp_path: Path) -> None:
    make("qwen3_moe", tmp_path)
    packs = make_packs(4, seed=5)
    losses = []
    for dtype in ("float32", "bfloat16"):
        local.setup(Setup(str(tmp_path), dtype=dtype))
        losses.append([local.step([[packs]], lr=1e-3)["loss"] for _ in range(3)])
    assert np.abs(np.subtract(*losses)).max() < 0.05
    assert losses[1][2] < losses[1][0]
