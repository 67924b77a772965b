"""The mapping: everything once, both ways, bit for bit, on any layout."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prstack.errors import UserError
from prstack.store import published
from tests.trainers.models import make, make_packs
from trainers.layout import Layout
from trainers.spec import ModelSpec
from trainers.weights import Place, join, local_name, parameters, part, shard, unshard
from trainers.worker import Setup

KINDS = ["mixtral", "qwen3_moe", "qwen2_moe", "llama", "qwen3", "qwen2"]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for f in sorted(folder.glob("*.safetensors")) for k, v in load_file(f).items()}


def assert_same(a: Path, b: Path) -> None:
    left, right = tensors(a), tensors(b)
    assert left.keys() == right.keys()
    for name, t in left.items():
        assert t.dtype == right[name].dtype and torch.equal(t, right[name]), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_name_exactly_the_tensors_of_transformers(tmp_path: Path, kind: str, tied: bool) -> None:
    make(kind, tmp_path, tie_word_embeddings=tied)
    listed = [(n, s) for p in parameters(ModelSpec.from_hf(tmp_path)) if not p.tied for n, s in zip(p.hf, p.shapes)]
    assert len(listed) == len({n for n, _ in listed})
    assert dict(listed) == {n: tuple(t.shape) for n, t in tensors(tmp_path).items()}


@pytest.mark.parametrize("te", [False, True])
@pytest.mark.parametrize("kind", ["mixtral", "qwen3", "qwen2_moe"])
def test_every_parameter_has_a_rank_and_no_rank_has_one_twice(tmp_path: Path, kind: str, te: bool) -> None:
    make(kind, tmp_path, num_hidden_layers=4)
    spec = ModelSpec.from_hf(tmp_path)
    pp, ep = 2, 2 if spec.experts else 1
    seen: dict[str, list] = {p.name: [] for p in parameters(spec)}
    for pp_rank, ep_rank in product(range(pp), range(ep)):
        place = Place(0, 1, pp_rank, pp, ep_rank, ep)
        names = {p.name: local_name(p, spec, place, te) for p in parameters(spec)}
        here = [n for n in names.values() if n]
        assert len(here) == len(set(here))
        for name, local in names.items():
            if local:
                seen[name].append((pp_rank, ep_rank))
    for p in parameters(spec):
        assert len(seen[p.name]) == (1 if p.expert >= 0 else ep), p.name


def test_names_of_transformer_engine_for_biases_and_a_shared_expert(tmp_path: Path) -> None:
    """As `get_gpt_layer_with_transformer_engine_spec` names them: only norms that lie in a linear layer and grouped experts differ."""
    make("qwen2_moe", tmp_path)
    spec = ModelSpec.from_hf(tmp_path)
    names = {local_name(p, spec, Place(), te=True) for p in parameters(spec) if p.layer == 1}
    assert {n.removeprefix("decoder.layers.1.") for n in names} == {
        "self_attention.linear_qkv.layer_norm_weight",
        "self_attention.linear_qkv.weight",
        "self_attention.linear_qkv.bias",
        "self_attention.linear_proj.weight",
        "pre_mlp_layernorm.weight",
        "mlp.router.weight",
        "mlp.shared_experts.gate_weight",
        "mlp.shared_experts.linear_fc1.weight",
        "mlp.shared_experts.linear_fc2.weight",
        *(f"mlp.experts.linear_{x}.weight{e}" for x in ("fc1", "fc2") for e in range(4)),
    }


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("kind", ["mixtral", "qwen3", "qwen2_moe"])
def test_join_and_shard_have_inverses(tmp_path: Path, kind: str, ranks: int) -> None:
    make(kind, tmp_path)
    spec, stored = ModelSpec.from_hf(tmp_path), tensors(tmp_path)
    for p in parameters(spec):
        whole = join(p, [stored[n] for n in p.hf], spec)
        assert tuple(whole.shape) == p.shape
        again = unshard(p, [shard(p, whole, r, ranks) for r in range(ranks)] if p.dim is not None else [whole])
        for name, t in zip(p.hf, part(p, again, spec)):
            assert torch.equal(t, stored[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kind", "tied"), [("mixtral", True), ("qwen3_moe", False), ("qwen2_moe", True), ("llama", False), ("qwen3", True)])
def test_load_and_export_give_the_same_bytes(local, tmp_path: Path, kind: str, tied: bool, dtype: torch.dtype) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    make(kind, base, tie_word_embeddings=tied, dtype=dtype)
    name = str(dtype).removeprefix("torch.")
    local.setup(Setup(str(base), dtype=name))
    local.export(out)
    assert_same(base, out)
    config = json.loads((out / "config.json").read_text())
    assert config["dtype"] == name and ModelSpec.from_hf(out) == ModelSpec.from_hf(base)
    for file in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (out / file).read_bytes() == (base / file).read_bytes()


@pytest.mark.parametrize("kind", ["qwen3_moe", "qwen2_moe"])
@pytest.mark.parametrize(
    "layout", [Layout(2, ep=2), Layout(2, tp=2), Layout(2, pp=2)], ids=["ep2", "tp2", "pp2"]
)
def test_round_trip_over_two_ranks(pair, tmp_path: Path, kind: str, layout: Layout) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    make(kind, base, tie_word_embeddings=True)
    pair.setup(Setup(str(base), layout))
    pair.export(out)
    assert_same(base, out)
    given = pair.publish(tmp_path / "given", "3", bucket_mb=0.1)
    assert_same(base, tmp_path / "given")
    stored = tensors(base)
    assert published.read(tmp_path / "given", "3", given.checksum) == {n: published.checksum(t.numpy().tobytes()) for n, t in stored.items()}
    assert given.bytes == sum(t.nbytes for t in stored.values())
    sizes = [f.stat().st_size for f in (tmp_path / "given").glob("*.safetensors")]
    assert len(sizes) > 3 and max(sizes) < 0.1 * 2**20 + 4096  # a head with names and shapes


def test_export_computes_the_same_in_transformers(local, tmp_path: Path) -> None:
    """After training, not only before: what the export says is what was trained."""
    from transformers import AutoModelForCausalLM

    base, out = tmp_path / "base", tmp_path / "out"
    make("mixtral", base)
    local.setup(Setup(str(base)))
    packs = make_packs(4)
    for _ in range(3):
        local.step([[packs]], lr=1e-2)
    local.export(out)
    pack = packs[0]
    n = int(pack.segment_lengths[0])
    micro = local._worker._collate([pack])
    with torch.no_grad():
        model = local._worker.model.eval()
        ours = model(micro.input_ids, micro.position_ids, None, packed_seq_params=micro.packed)[0, :n]
        ids = torch.from_numpy(pack.input_ids[:n].astype("int64"))[None]
        theirs = AutoModelForCausalLM.from_pretrained(out)(ids).logits[0]
        before = AutoModelForCausalLM.from_pretrained(base)(ids).logits[0]
    assert (ours - theirs).abs().max() <= 1e-5
    assert (ours - before).abs().max() > 1e-2


def test_large_exports_are_split_with_an_index(local, tmp_path: Path) -> None:
    from trainers import weights

    base, out = tmp_path / "base", tmp_path / "out"
    make("llama", base)
    local.setup(Setup(str(base)))
    w = local._worker
    weights.export_hf(dict(w.model.named_parameters()), base, out, w.spec, w.place, max_shard_bytes=60_000)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    files = set(index["weight_map"].values())
    assert len(files) > 3 and files == {f.name for f in out.glob("*.safetensors")}
    assert_same(base, out)
    local.setup(Setup(str(out)))
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("fault", ["missing", "extra", "shape", "file", "config"])
def test_a_wrong_checkpoint_is_one_clear_error(local, tmp_path: Path, fault: str) -> None:
    make("mixtral", tmp_path)
    stored = tensors(tmp_path)
    victim = "model.layers.1.block_sparse_moe.experts.2.w1.weight"
    if fault == "missing":
        stored.pop(victim)
    elif fault == "extra":
        stored["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(96)
    elif fault == "shape":
        stored[victim] = torch.zeros(96, 32)
    save_file(stored, tmp_path / "model.safetensors")
    if fault == "file":
        (tmp_path / "model.safetensors").write_bytes(b"\x00" * 64)
    if fault == "config":
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["GPT2LMHeadModel"]}))
    message = {
        "missing": f"tensor {victim} is missing",
        "extra": "tensor model.layers.0.self_attn.q_proj.bias has no place",
        "shape": rf"tensor {victim} has shape \[96, 32\], config.json says \[96, 64\]",
        "file": "not a readable safetensors file",
        "config": "architecture GPT2LMHeadModel is not supported",
    }[fault]
    with pytest.raises(UserError, match=message):
        local.setup(Setup(str(tmp_path)))


def test_another_tokenizer_is_one_clear_error(tmp_path: Path) -> None:
    from trainers.hf_files import check_tokenizer

    for name, vocab in {"a": {"x": 0, "y": 1}, "b": {"x": 0, "y": 1}, "c": {"x": 1, "y": 0}}.items():
        (tmp_path / name).mkdir()
        added = [{"content": "<|im_end|>", "id": 2 if name != "c" else 3}]
        (tmp_path / name / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": added}))
    check_tokenizer(tmp_path / "a", tmp_path / "b")
    with pytest.raises(UserError, match=r"rendered with another tokenizer .*: token 'x' is 1 there and 0 in"):
        check_tokenizer(tmp_path / "a", tmp_path / "c")
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        check_tokenizer(tmp_path / "a", tmp_path)
