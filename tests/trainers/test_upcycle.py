"""An upcycled model computes what the dense one does, in transformers and in Megatron, and then learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from prstack.errors import UserError
from tests.trainers.models import VOCAB, make, make_packs
from trainers.batches import labels_of
from trainers.losses import IGNORE
from trainers.spec import ModelSpec
from trainers.upcycle import upcycle
from trainers.worker import Setup

pytestmark = pytest.mark.slow

WAYS = [("simple", 4, 2), ("fine", 8, 4), ("fine", 4, 4), ("fine", 6, 3)]


@pytest.mark.parametrize(("way", "experts", "topk"), WAYS)
@pytest.mark.parametrize(("dense", "sparse"), [("llama", "MixtralForCausalLM"), ("qwen3", "Qwen3MoeForCausalLM")])
def test_same_function(local, tmp_path: Path, dense: str, sparse: str, way: str, experts: int, topk: int) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    hf = make(dense, base, tie_word_embeddings=True)
    spec = upcycle(base, out, experts, topk, way)
    assert spec == ModelSpec.from_hf(out) and spec.architecture == sparse
    ids = torch.randint(0, VOCAB, (3, 64), generator=torch.Generator().manual_seed(0))
    moe = AutoModelForCausalLM.from_pretrained(out).eval()
    with torch.no_grad():
        want = hf(ids).logits
        assert (moe(ids).logits - want).abs().max() <= 1e-5
    packs = make_packs(3)
    local.setup(Setup(str(out)))
    got = local.forward([[[p] for p in packs]])[0]
    for p, ours in zip(packs, got):
        labels = torch.from_numpy(labels_of(p))
        with torch.no_grad():
            ends = np.cumsum(p.segment_lengths)
            flat = torch.from_numpy(p.input_ids.astype(np.int64))
            logits = torch.cat([hf(flat[None, e - n : e]).logits[0] for e, n in zip(ends, p.segment_lengths)])
        lp = logits.log_softmax(-1).gather(1, labels.clamp(min=0)[:, None])[:, 0] * (labels != IGNORE)
        assert (torch.tensor(ours[0]) - lp).abs().max() <= 1e-5


def test_fine_keeps_compute_and_uses_every_replica(local, tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    make("llama", base)
    spec = upcycle(base, out, 8, 2, "fine")
    assert spec.topk * spec.ffn == ModelSpec.from_hf(base).ffn
    local.setup(Setup(str(out)))
    load = local.step([[make_packs(8)]], lr=0.0)["expert_load"]
    for row in load.values():
        assert min(row) > 0.01
        assert [row[i] == row[i + 1] for i in range(0, 8, 2)] == [True] * 4  # a replica's shards go together


def test_training_separates_the_experts(local, tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    make("llama", base)
    upcycle(base, out, 8, 2, "fine")
    local.setup(Setup(str(out)))
    packs = make_packs(8)
    seen = [local.step([[packs]], lr=3e-3)["loss"] for _ in range(12)]
    assert seen[-1] < 0.8 * seen[0]
    router = local._worker.model.decoder.layers[0].mlp.router.weight
    assert (router[0] - router[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("experts", "topk", "way", "message"),
    [
        (4, 5, "simple", "top-k must lie between 1 and the experts"),
        (6, 4, "fine", "6 experts and 96 FFN units must be multiples"),
        (10, 5, "fine", "10 experts and 96 FFN units must be multiples"),
        (4, 1, "simple", "num_experts_per_tok=1 with normalised weights"),
    ],
)
def test_impossible_shapes_are_refused(tmp_path: Path, experts: int, topk: int, way: str, message: str) -> None:
    make("llama", tmp_path / "base")
    with pytest.raises(UserError, match=message):
        upcycle(tmp_path / "base", tmp_path / "out", experts, topk, way)
    assert not (tmp_path / "out").exists()


def test_a_sparse_base_is_refused(tmp_path: Path) -> None:
    make("mixtral", tmp_path / "base")
    with pytest.raises(UserError, match="MixtralForCausalLM cannot be upcycled"):
        upcycle(tmp_path / "base", tmp_path / "out")
