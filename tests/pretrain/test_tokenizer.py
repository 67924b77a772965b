"""The tokenizer: text comes back, most numbers are one token, the fixed frame costs little, transformers reads it as we do."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from transformers import AutoTokenizer

from prstack.dialogue.render import Renderer
from prstack.errors import UserError
from prstack.pretrain import base, tokenizer
from prstack.pretrain.corpus import documents
from prstack.pretrain.journeys import talk
from prstack.pretrain.phrases import phrases
from prstack.prompts import Prompts
from prstack.settings import PretrainConfig
from prstack.tools.schemas import SCHEMAS

CONFIG = PretrainConfig(vocabulary=5700, tokenizer_documents=120, tokens=20_000)
MESSAGES = [
    {"role": "system", "content": Prompts().render("research_system")},
    {"role": "user", "content": "I am looking for a Zymurgy kit — 12.5 µm, at most $1,299.00."},
    {"role": "assistant", "content": "", "reasoning_content": "10 hits.", "tool_calls": [{"function": {"name": "visit_product", "arguments": '{"product_id": "P1303"}'}}]},
    {"role": "tool", "content": "P1303 | Aurel Delta 2 Kit\ncategory: Kits\nrating: 4.0 stars, 3 reviews <think> <|im_end|>"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(base.make_tokenizer(CONFIG), out, 4096)
    return out


def test_text_comes_back_and_most_numbers_are_one_token(folder):
    t = tokenizer.load(folder)
    for pieces in itertools.islice(documents(3), 30):
        text = "".join(p for p, _ in pieces)
        assert t.decode(t.encode(text).ids, skip_special_tokens=False) == text
    for number, groups in (("7", "7"), ("057", "057"), ("1220", "1 220"), ("P725110", "P 725 110"), ("1004.99", "1 004 .99"), ("69.50", "69 .50"), ("4.9", "4.9"), ("57.5", "57 .5"), ("1,220.5", "1 , 220 .5")):
        assert [t.decode([i]) for i in t.encode(number).ids] == groups.split()
    for text, cut in ((" 57 dB", [" 57", " dB"]), (" 1220 m", [" 1220", " m"]), (" 1225 m", [" 1", "225", " m"]), (" 12200 m", [" 12", "200", " m"]), (" $415.", [" $", "415", "."]), ("1, 0.5 l", ["1", ",", " 0.5", " l"]), (" 4.95 kg", [" 4", ".95", " kg"])):
        assert [t.decode([i]) for i in t.encode(text).ids] == cut
    assert t.get_vocab_size() == 5700 == max(t.get_vocab().values()) + 1


def test_the_frame_of_a_conversation_is_a_handful_of_tokens(folder):
    assert len(Renderer(folder).prompt(MESSAGES[:1], SCHEMAS)) < 60


def test_the_marks_of_a_conversation_in_world_text_are_tokens(folder):
    t = tokenizer.load(folder)
    end = t.token_to_id("<|im_end|>")
    written = [i for text, learned in talk(random.Random(1)) if learned for i in t.encode(text).ids]
    assert written.count(end) > 4 and "im_end" not in t.decode(written)


def test_transformers_reads_conversations_as_we_do(folder):
    ours = Renderer(folder).render(MESSAGES[:3], SCHEMAS)
    theirs = AutoTokenizer.from_pretrained(folder).apply_chat_template(MESSAGES[:3], tools=SCHEMAS, return_dict=True, return_assistant_tokens_mask=True)
    assert ours.input_ids == theirs["input_ids"] and ours.loss_mask == theirs["assistant_masks"]


def test_phrases_carry_no_meaning():
    for phrase in phrases():
        assert not any(c.isdigit() for c in phrase) or phrase.startswith(('{"type"', "1. ", "2. ", "3. ", "4. ")), phrase
    assert len(phrases()) < 200


def test_packs_are_whole_and_the_same_again(folder):
    t = tokenizer.load(folder)
    rows = list(base.packs(CONFIG, t, 1024))
    assert sum(len(r["input_ids"]) for r in rows) >= CONFIG.tokens
    for r in rows:
        assert len(r["input_ids"]) == len(r["loss_mask"]) == sum(r["segment_lengths"]) <= 1024
        ends = list(itertools.accumulate(r["segment_lengths"]))
        assert all(r["input_ids"][e - 1] == t.token_to_id("<|endoftext|>") and r["loss_mask"][e - 1] for e in ends)
    assert 0.2 < sum(sum(r["loss_mask"]) for r in rows) / sum(len(r["loss_mask"]) for r in rows) < 0.9
    assert json.dumps(rows[:3]) == json.dumps(list(itertools.islice(base.packs(CONFIG, t, 1024), 3)))


@pytest.mark.parametrize(
    ("vocabulary", "says"),
    [(1200, "is too small: .* numbers"), (60_000, "is too large: .* raise pretrain.tokenizer_documents")],
)
def test_a_vocabulary_that_the_text_cannot_fill_is_an_error(vocabulary, says):
    with pytest.raises(UserError, match=f"pretrain.vocabulary={vocabulary} {says}"):
        tokenizer.train(["a few words"], vocabulary)
