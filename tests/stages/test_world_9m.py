"""The base that comes with the package: whole, small, made for today's frame of a conversation, and able to copy."""

from __future__ import annotations

import random

import torch
from transformers import AutoModelForCausalLM

from prstack.dialogue.render import TEMPLATE, Renderer
from prstack.pretrain import exercises
from prstack.prompts import Prompts
from prstack.stages.models import WORLD_9M, resolve_model, resolve_tokenizer
from prstack.tools.schemas import SCHEMAS
from trainers.spec import ModelSpec

FOLDER = resolve_model(WORLD_9M)


def test_it_is_whole_and_small():
    spec = ModelSpec.from_hf(FOLDER)
    assert (spec.layers, spec.hidden, spec.experts, spec.vocab) == (6, 256, 8, 7168) and spec.parameters() < 9.7e6
    assert sum(f.stat().st_size for f in FOLDER.iterdir()) < 20e6
    assert resolve_tokenizer(WORLD_9M) == FOLDER and (FOLDER / "README.md").is_file()


def test_its_tokenizer_knows_today_s_frame():
    """After a change of the prompt, the tools or the template it has to be made again: `prstack pretrain preset=world_9m`."""
    assert (FOLDER / "chat_template.jinja").read_text() == TEMPLATE.read_text()
    system = [{"role": "system", "content": Prompts().render("research_system")}]
    assert len(Renderer(FOLDER).render(system, SCHEMAS).input_ids) < 60


def test_it_copies():
    """Numbers in notes on products, which stand in the context, in documents that it has not seen."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    tokenizer = Renderer(FOLDER).tokenizer
    right: list[bool] = []
    for n in range(30):
        ids, learned = [], []
        for text, known in exercises.check(random.Random(f"test/{n}")):
            new = tokenizer.encode(text, add_special_tokens=False).ids
            ids += new
            learned += [known] * len(new)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        for i in range(1, len(ids)):
            if learned[i] and tokenizer.decode([ids[i]]).strip().isdigit():
                right.append(int(logits[i - 1].argmax()) == ids[i])
    assert len(right) > 300 and sum(right) / len(right) > 0.8
