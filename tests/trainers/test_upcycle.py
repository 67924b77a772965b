"""An upcycled model computes what the dense one does, in transformers and in Megatron, and then learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from prstack.errors import UserError
from prstack.store.published import Published
from tests.trainers.models import VOCAB, make, make_packs
from trainers.batches import labels_of
from trainers.losses import IGNORE
from trainers.spec import ModelSpec
from trainers.upcycle import upcycle
from trainers.worker import Setup

pytestmark = pytest.mark.slow

SQUARE = {"head_dim": 16}
"""Heads as Qwen2-MoE has them: hidden_size / num_attention_heads wide."""
WAYS = [("simple", 4, 2, 0), ("fine", 8, 4, 0), ("fine", 4, 4, 0), ("fine", 6, 3, 0)]
SHARED_WAYS = [("simple", 4, 2, 1), ("fine", 8, 4, 4), ("fine", 6, 3, 1)]
CASES = [(*kinds, *way) for kinds in (("llama", "MixtralForCausalLM"), ("qwen3", "Qwen3MoeForCausalLM")) for way in WAYS]
CASES += [(dense, "Qwen2MoeForCausalLM", *way) for dense in ("llama", "qwen2") for way in SHARED_WAYS]


@pytest.mark.parametrize(("dense", "sparse", "way", "experts", "topk", "shared"), CASES)
def test_same_function(local, tmp_path: Path, dense: str, sparse: str, way: str, experts: int, topk: int, shared: int) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    hf = make(dense, base, tie_word_embeddings=True, **(SQUARE if shared else {}))
    spec = upcycle(base, out, experts, topk, way, shared)
    assert spec == ModelSpec.from_hf(out) and spec.architecture == sparse
    assert spec.shared == (shared * (96 if way == "simple" else spec.ffn))
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


def test_a_shared_expert_trains_beside_the_others(local, tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    make("llama", base, **SQUARE)
    upcycle(base, out, 4, 2, "fine", shared=1)
    local.setup(Setup(str(out)))
    shared = local._worker.model.decoder.layers[0].mlp.shared_experts
    before = [p.detach().clone() for p in shared.parameters()]
    packs = make_packs(8)
    seen = [local.step([[packs]], lr=3e-3)["loss"] for _ in range(12)]
    assert seen[-1] < 0.8 * seen[0]
    for (name, p), old in zip(shared.named_parameters(), before):
        assert (p - old).abs().max() > 1e-3, name  # the gate leaves zero


@pytest.mark.timeout(600)
def test_vllm_computes_the_dense_model_and_then_the_trained_one(local, ray_local, tmp_path: Path) -> None:
    """With a shared expert: log-probabilities of the whole vocabulary, of the upcycled model and after a live update to the trained one."""
    pytest.importorskip("vllm")
    from tests.actors.test_weight_update import PROMPT, in_a_process_of_its_own, small_model

    base, out = tmp_path / "base", tmp_path / "out"
    small_model("llama", base, 0, num_attention_heads=2, num_key_value_heads=1, intermediate_size=192)
    upcycle(base, out, 4, 2, "fine", shared=1)
    local.setup(Setup(str(out)))
    for _ in range(3):
        local.step([[make_packs(8)]], lr=1e-2)
    trained = local.publish(tmp_path / "trained", "1")

    async def both(folder: str, new: Published) -> list[np.ndarray]:
        from tests.actors.test_weight_update import distributions, engine

        one = engine(folder)
        try:
            before = await distributions(one)
            await one.update_weights(new.folder, new.version, new.checksum)
            return [before, await distributions(one)]
        finally:
            await one.shutdown()

    said = in_a_process_of_its_own(both, str(out), trained)
    ids = torch.tensor([PROMPT])
    for folder, got in zip((base, trained.folder), said):
        hf = AutoModelForCausalLM.from_pretrained(folder).eval()
        with torch.no_grad():
            want = torch.stack([hf(ids[:, :n]).logits[0, -1].log_softmax(-1) for n in (100, 70, 40)])
        assert np.abs(got - want.numpy()).max() <= 1e-4
    assert np.abs(said[0] - said[1]).max() > 0.1


def test_noise_and_new_units_are_those_of_their_papers(tmp_path: Path) -> None:
    """Against the dense tensors: which units changed, in which projections, and how their weights are distributed."""
    wide = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 1}
    dense = dict(make("llama", tmp_path / "base", **wide, head_dim=32).named_parameters())
    gate, up, down = (dense[f"model.layers.0.mlp.{x}_proj.weight"].detach() for x in ("gate", "up", "down"))
    made = {}
    for name, how in {"noise": {"noise": 0.1}, "reinit": {"reinit": 0.25}, "again": {"reinit": 0.25}, "seed": {"reinit": 0.25, "seed": 1}}.items():
        upcycle(tmp_path / "base", tmp_path / name, 4, 2, "fine", shared=2, **how)
        read = load_file(tmp_path / name / "model.safetensors")
        layer = "model.layers.0.mlp."
        made[name] = [[read[f"{layer}experts.{e}.{x}_proj.weight"] for x in ("gate", "up", "down")] for e in range(4)]
        assert torch.equal(read[layer + "shared_expert.up_proj.weight"], up[:256])
        assert torch.equal(read[layer + "shared_expert.down_proj.weight"], 2 * down[:, :256])
    units = []
    for e in range(4):
        rows = slice(256 + 128 * (e % 2), 384 + 128 * (e % 2))
        before = [gate[rows], up[rows], 2 * down[:, rows]]
        for old, new in zip(before, made["noise"][e]):
            assert float((new - old).std() / old.std()) == pytest.approx(0.1, rel=0.03) and (new - old).mean().abs() < 0.01 * old.std()
        changed = [(new != old).all(i) for old, new, i in zip(before, made["reinit"][e], (1, 1, 0))]
        kept = [(new == old).all(i) for old, new, i in zip(before, made["reinit"][e], (1, 1, 0))]
        assert all(torch.equal(c, changed[0]) and torch.equal(k, ~c) for c, k in zip(changed, kept))
        assert changed[0].sum() == 32
        for old, new, i in zip(before, made["reinit"][e], (0, 0, 1)):
            drawn, left = new.transpose(0, i)[changed[0]], old.transpose(0, i)[changed[0]]
            assert float(drawn.std() / left.std()) == pytest.approx(1, rel=0.06) and (drawn.mean() - left.mean()).abs() < 0.06 * left.std()
            assert np.abs(np.corrcoef(drawn.flatten(), left.flatten())[0, 1]) < 0.06
        units.append(changed[0])
    assert not torch.equal(units[0], units[2])  # copies of one shard
    same = [all(torch.equal(a, b) for a, b in zip(x, y)) for x, y in zip(made["reinit"], made["again"])]
    other = [any(torch.equal(a, b) for a, b in zip(x, y)) for x, y in zip(made["reinit"], made["seed"])]
    assert all(same) and not any(other)


def test_what_sets_experts_apart_moves_the_function_by_as_much(tmp_path: Path) -> None:
    base = tmp_path / "base"
    hf = make("qwen3", base, tie_word_embeddings=True)
    ids = torch.randint(0, VOCAB, (3, 64), generator=torch.Generator().manual_seed(0))
    far = []
    for how in ({}, {"noise": 0.01}, {"noise": 0.1}, {"reinit": 0.1}, {"reinit": 1.0}):
        out = tmp_path / "-".join(["out", *map(str, how.values())])
        upcycle(base, out, 4, 2, "fine", **how)
        with torch.no_grad():
            far.append(float((AutoModelForCausalLM.from_pretrained(out)(ids).logits - hf(ids).logits).norm() / hf(ids).logits.norm()))
    assert far[0] < 1e-5 < far[1] < 0.2 * far[2] and 1e-3 < far[3] < far[4]


@pytest.mark.parametrize(
    ("dense", "how", "message"),
    [
        ("llama", {"experts": 4, "topk": 5}, "upcycle.topk=5: must lie between 2 and upcycle.experts=4"),
        ("llama", {"experts": 4, "topk": 1}, "upcycle.topk=1: must lie between 2"),
        ("llama", {"experts": 6, "topk": 4, "kind": "fine"}, "upcycle.experts=6: .* a multiple of upcycle.topk=4"),
        ("llama", {"experts": 10, "topk": 5, "kind": "fine"}, "upcycle.topk=5, upcycle.shared=0: the 96 FFN units of .* 5 equal shards"),
        ("llama", {"experts": 8, "topk": 4, "kind": "fine", "shared": 1} | SQUARE, "upcycle.topk=4, upcycle.shared=1: the 96 FFN units"),
        ("llama", {"shared": 2} | SQUARE, "upcycle.shared=2: with upcycle.kind=simple"),
        ("llama", {"shared": 1}, "upcycle.shared=1: Qwen2-MoE has heads of hidden_size / num_attention_heads = 16, those of .* have 24"),
        ("qwen3", {"shared": 1}, "upcycle.shared=1: .* has norms of queries and keys"),
        ("qwen2", {}, "upcycle.shared=0: Qwen2ForCausalLM becomes Qwen2-MoE"),
        ("mixtral", {}, "MixtralForCausalLM cannot be upcycled"),
        ("llama", {"reinit": 1.5}, "upcycle.reinit=1.5"),
        ("llama", {"noise": -1.0}, "upcycle.noise=-1.0"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(tmp_path: Path, dense: str, how: dict, message: str) -> None:
    shape = {k: v for k, v in how.items() if k in SQUARE}
    make(dense, tmp_path / "base", **shape)
    with pytest.raises(UserError, match=message):
        upcycle(tmp_path / "base", tmp_path / "out", **{k: v for k, v in how.items() if k not in SQUARE})
    assert not (tmp_path / "out").exists()
