"""`prstack pretrain`: text, tokenizer, first weights and training in one command."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from prstack.cli import main
from prstack.config import load
from prstack.pretrain import base
from trainers.init import write_random
from trainers.spec import ModelSpec

SMALL = [
    "pretrain.tokens=6000", "pretrain.vocabulary=2600", "pretrain.tokenizer_documents=60", "pretrain.layers=2", "pretrain.hidden=32", "pretrain.heads=2",
    "pretrain.kv_heads=1", "pretrain.head_dim=16", "pretrain.experts=4", "pretrain.ffn=16", "trainer.context=1024", "trainer.global_batch=2", "trainer.epochs=1",
    "trainer.lr=3e-3", "trainer.warmup=1", "trainer.checkpoint_every=2", "tracking.wandb=disabled", "ray.dashboard=false",
]  # fmt: skip


@pytest.mark.timeout(200)
def test_from_nothing_to_a_model_and_not_twice(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["pretrain", f"run_dir={run}", *SMALL]) == 0
    stage = run / "pretrain"
    manifest = json.loads((stage / "manifest.json").read_text())
    assert manifest["status"] == "complete" and manifest["counts"]["steps"] == 4 and manifest["counts"]["ranks"] == 2
    spec = ModelSpec.from_hf(stage / "model")
    assert (spec.layers, spec.experts, spec.vocab, spec.tied, spec.qk_norm) == (2, 4, 2600, True, True)
    before, after = load_file(stage / "init" / "model.safetensors"), load_file(stage / "model" / "model.safetensors")
    assert before.keys() == after.keys() and not torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (stage / "model" / file).read_bytes() == (stage / "init" / file).read_bytes()
    capsys.readouterr()
    assert main(["pretrain", f"run_dir={run}", *SMALL]) == 0 and "made already" in capsys.readouterr().out


def test_first_weights_are_drawn_as_stated(tmp_path):
    settings = load(["pretrain.vocabulary=2048", "pretrain.tokenizer_documents=100", "pretrain.hidden=128", "pretrain.layers=2"]).pretrain
    t = base.make_tokenizer(settings)
    (tmp_path / "shell").mkdir()
    (tmp_path / "shell" / "config.json").write_text(json.dumps(base.model_config(settings, t, 512)))
    spec = write_random(tmp_path / "shell", tmp_path / "a", seed=1)
    write_random(tmp_path / "shell", tmp_path / "b", seed=1)
    a, b = (load_file(tmp_path / x / "model.safetensors") for x in "ab")
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert sum(t.numel() for t in a.values()) == spec.parameters()
    assert a["model.embed_tokens.weight"].std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert a["model.layers.1.self_attn.o_proj.weight"].std().item() == pytest.approx(128**-0.5 / 2, rel=0.05)
    assert a["model.layers.0.mlp.gate.weight"].std().item() == pytest.approx(128**-0.5 / 10, rel=0.2)
    assert torch.equal(a["model.norm.weight"], torch.ones(128))
