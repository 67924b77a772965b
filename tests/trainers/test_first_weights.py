"""The circuits of first weights do what they say before any training: shown in transformers on the shipped tokenizer."""

import json

import pytest
import torch

from prstack.errors import UserError
from prstack.pretrain import base
from prstack.pretrain import tokenizer as bpe
from prstack.settings import PretrainConfig
from prstack.stages.models import resolve_model
from trainers.comparing import SCRATCH
from trainers.init import write_first
from trainers.numbers import MARKS

LINES = ("{a} dB (at most {b} dB) is lower, yes\n", "price ${a}.50 (at most ${b}) is lower, yes\n", " {a}.5 kg (at most {b}.5 kg) is lower, yes\n")


@pytest.fixture(scope="module")
def tokenizer():
    return bpe.load(resolve_model("world-9m"))


def first(tmp_path, tokenizer, copying=True, comparing=True, **settings):
    config = PretrainConfig(copying=copying, comparing=comparing, **settings)
    bpe.save(tokenizer, tmp_path / "shell", 1024)
    (tmp_path / "shell" / "config.json").write_text(json.dumps(base.model_config(config, tokenizer, 1024)))
    return write_first(tmp_path / "shell", tmp_path / "init", 0, copying, comparing)


@pytest.mark.parametrize("form", LINES)
def test_a_number_is_held_against_the_one_before_it(tmp_path, tokenizer, form):
    from transformers import AutoModelForCausalLM

    spec = first(tmp_path, tokenizer)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "init", dtype=torch.float32)
    top = 50 if ".5 kg" in form else 1000
    pairs = [(a, b) for a in (7, 31, 43, 57, 240, 900) for b in (5, 9, 28, 35, 47, 60, 200, 260, 850, 950) if a != b and max(a, b) < top]
    ids, at = [], []
    for a, b in pairs:
        line = tokenizer.encode(form.format(a=a, b=b), add_special_tokens=False)
        ids += line.ids
        at.append(len(ids) - len(line.ids) + line.tokens.index("Ġis"))
    layer = model.model.layers[3]
    seen = {}
    layer.self_attn.v_proj.register_forward_hook(lambda module, args, out: seen.update(v=out[0, :, 0]))
    with torch.no_grad():
        steps = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[1][0, :, spec.hidden - (MARKS + 1) - SCRATCH]
    limits = [max(i for i in range(p) if tokenizer.id_to_token(ids[i]).strip("Ġ").replace(".", "").isdigit()) for p in at]
    larger, smaller = [[steps[i].item() for i, (a, b) in zip(limits, pairs) if (a > b) == wanted] for wanted in (True, False)]
    assert min(larger) > max(smaller) + 1, "the step tells every pair"
    assert torch.equal(seen["v"].sign()[limits], steps[limits].sign())


@pytest.mark.parametrize("comparing", [False, True])
def test_copying_works_with_and_without_comparing(tmp_path, tokenizer, comparing):
    """Before any training, what followed a token before is nearer to the top of the predictions than with random weights."""
    from transformers import AutoModelForCausalLM

    ids = tokenizer.encode("P412 has jar material glass, weight heavy. P873 has control type dial. P412 has jar material glass, weight heavy.", add_special_tokens=False).ids
    repeated = len(tokenizer.encode(" P412 has jar material glass, weight heavy.", add_special_tokens=False).ids)
    places = {}
    for copying in (True, False):
        first(tmp_path / str(copying), tokenizer, copying, comparing)
        model = AutoModelForCausalLM.from_pretrained(tmp_path / str(copying) / "init", dtype=torch.float32)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -repeated:-1]
        right = logits.gather(1, torch.tensor(ids[1 - repeated :])[:, None])
        places[copying] = (logits > right).sum(-1).float().median().item()
    assert places[True] < 256 < 1024 < places[False], places  # of 7,168; by chance the middle


def test_small_models_are_refused(tmp_path, tokenizer):
    with pytest.raises(UserError, match=r"pretrain\.comparing"):
        first(tmp_path, tokenizer, layers=3)
