"""`prstack pretrain`: text, tokenizer, first weights and training in one command."""

from __future__ import annotations

import functools
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from prstack.cli import main
from prstack.config import load
from prstack.errors import UserError
from prstack.pretrain import base
from trainers.hf_files import vocabulary
from trainers.init import write_first
from trainers.spec import ModelSpec

SMALL = [
    "pretrain.tokens=6000", "pretrain.vocabulary=5600", "pretrain.tokenizer_documents=60", "pretrain.layers=2", "pretrain.hidden=32", "pretrain.heads=2",
    "pretrain.kv_heads=1", "pretrain.head_dim=16", "pretrain.copying=false", "pretrain.comparing=false", "pretrain.experts=4", "pretrain.ffn=16", "trainer.context=1024", "trainer.global_batch=2", "trainer.epochs=1",
    "trainer.lr=3e-3", "trainer.warmup=1", "trainer.checkpoint_every=2", "tracking.wandb=disabled", "ray.dashboard=false",
]  # fmt: skip


@pytest.mark.timeout(200)
def test_from_nothing_to_a_model_and_not_twice(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["pretrain", f"run_dir={run}", *SMALL]) == 0
    stage = run / "pretrain"
    manifest = json.loads((stage / "manifest.json").read_text())
    assert manifest["status"] == "complete" and manifest["counts"]["steps"] == 7 and manifest["counts"]["ranks"] == 2
    spec = ModelSpec.from_hf(stage / "model")
    assert (spec.layers, spec.experts, spec.vocab, spec.tied, spec.qk_norm) == (2, 4, 5600, True, True)
    before, after = load_file(stage / "init" / "model.safetensors"), load_file(stage / "model" / "model.safetensors")
    assert before.keys() == after.keys() and not torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (stage / "model" / file).read_bytes() == (stage / "init" / file).read_bytes()
    capsys.readouterr()
    assert main(["pretrain", f"run_dir={run}", *SMALL]) == 0 and "made already" in capsys.readouterr().out


@functools.cache
def a_tokenizer():
    return base.make_tokenizer(load(["pretrain.vocabulary=5600", "pretrain.tokenizer_documents=60"]).pretrain)


def shell(tmp_path, *overrides):
    """A folder with the config.json of a small model, and its settings."""
    settings = load(["pretrain.vocabulary=5600", "pretrain.hidden=128", "pretrain.head_dim=16", "pretrain.layers=2", *overrides]).pretrain
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "shell").mkdir()
    (tmp_path / "shell" / "config.json").write_text(json.dumps(base.model_config(settings, a_tokenizer(), 512)))
    a_tokenizer().save(str(tmp_path / "shell" / "tokenizer.json"))
    return tmp_path / "shell"


def test_first_weights_are_drawn_as_stated(tmp_path):
    made = shell(tmp_path)
    spec = write_first(made, tmp_path / "a", seed=1, copying=False)
    write_first(made, tmp_path / "b", seed=1, copying=False)
    a, b = (load_file(tmp_path / x / "model.safetensors") for x in "ab")
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert sum(t.numel() for t in a.values()) == spec.parameters()
    assert a["model.embed_tokens.weight"].std().item() == pytest.approx(1, rel=0.05)
    assert a["model.layers.1.self_attn.q_proj.weight"].std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert not a["model.layers.1.self_attn.o_proj.weight"].any() and not a["model.layers.0.mlp.experts.0.down_proj.weight"].any()
    assert a["model.layers.0.mlp.gate.weight"].std().item() == pytest.approx(128**-0.5 / 10, rel=0.2)
    assert torch.equal(a["model.norm.weight"], torch.full((128,), 128**-0.5))


def test_numbers_begin_in_their_order(tmp_path):
    """A direction of the first embeddings sorts all numbers by size, with and without the space before them."""
    write_first(shell(tmp_path), tmp_path / "a", seed=1)
    embedding, ids = load_file(tmp_path / "a" / "model.safetensors")["model.embed_tokens.weight"], vocabulary(tmp_path / "a")
    for space in ("", "\u0120"):
        numbers = embedding[[ids[f"{space}{n}"] for n in range(1000)]]
        size = numbers[:, -16:].sum(1)
        assert (size[2:] > size[1:-1]).all() and (numbers[:, -17] == numbers[0, -17]).all()
    assert not embedding[ids["ing"], -17]


def test_the_copying_circuit_finds_what_followed_before(tmp_path):
    """Random tokens twice over: in the second round, what followed the same token before ranks far above chance; without the
    circuit it does not."""
    made, generator = shell(tmp_path), torch.Generator().manual_seed(0)
    once = torch.randint(0, 5600, (8, 40), generator=generator)
    twice = torch.cat([once, once], 1)
    ranks = {}
    for copying in (True, False):
        write_first(made, tmp_path / f"copying_{copying}", seed=1, copying=copying)
        model = AutoModelForCausalLM.from_pretrained(tmp_path / f"copying_{copying}", dtype=torch.float32).eval()
        with torch.no_grad():
            logits = model(twice).logits[:, 40:-1]
        right = logits.gather(-1, twice[:, 41:, None])
        ranks[copying] = (logits > right).sum(-1).float().median().item()
    assert ranks[True] < 700 < 1600 < ranks[False], ranks  # of 5,600


@pytest.mark.parametrize("narrow", ["pretrain.hidden=96", "pretrain.layers=1"])
def test_a_model_too_small_for_the_circuit_is_an_error(tmp_path, narrow):
    with pytest.raises(UserError, match=r"pretrain\.copying: .*pretrain\.copying=false"):
        write_first(shell(tmp_path, narrow), tmp_path / "a", seed=1)
