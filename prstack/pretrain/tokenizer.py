"""A tokenizer made from world text: byte-level BPE in which most numbers are one token.

1. A group of up to three digits, counted from the right, is one token, with the space before it if there is one: 57, " 57", 980 and
   1|225. A number is copied like a word then, and what stands before it is a word, not a space (docs/experiments/base-model.md).
2. So are decimals below 50 with one digit behind the point ("4.9"), and behind a space round numbers of four digits (" 1050"), so that
   one token says how large the thing is (`trainers.numbers`). A fraction behind other numbers (69|.50) is one that says nothing of size.

All of them are in the vocabulary, whatever numbers the text held. The tags of the assistant format and the fixed text around it
(`prstack.pretrain.phrases`) are tokens of their own, and read from text like everywhere else (`prstack.dialogue.render`); the three
ChatML marks are special.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from prstack.dialogue.parse import TAGS
from prstack.dialogue.render import END_OF_TURN, START_OF_TURN, TEMPLATE
from prstack.errors import UserError
from prstack.pretrain.phrases import phrases

END_OF_TEXT = "<|endoftext|>"
SPECIAL = (END_OF_TEXT, START_OF_TURN, END_OF_TURN)
PLAIN = (*TAGS, "<tool_response>", "</tool_response>", "<tools>", "</tools>", *phrases())


_DIGITS = [*(str(n) for n in range(1000)), *(f"{n:02d}" for n in range(10)), *(f"{n:03d}" for n in range(100))]
_DECIMALS = [f"{n / 10:.1f}" for n in range(500)]
_WHOLE = [*_DIGITS, *(f" {n}" for n in range(1000)), *_DECIMALS, *(f" {d}" for d in _DECIMALS), *(f" {n}" for n in range(1000, 10_000, 10))]
_FRACTIONS = [*(f".{n}" for n in range(10)), *(f".{n:02d}" for n in range(100))]
GROUPS = [*_WHOLE, *(f"7{f}" if len(f) > 2 else f"70{f}" for f in _FRACTIONS)]
"""Texts whose last token has to be in the vocabulary: numbers as they are, fractions behind a number."""
GROUP_WEIGHT = 500
"""Times that each number counts in training, so that all of them become tokens."""
_CUT = Regex(
    r" [1-9]\d\d0(?![\d,]|\.\d)"  # round numbers of four digits
    r"|(?: |(?<![\d.,]))[0-4]?\d\.\d(?![\d.])"  # decimals below 50
    r"|(?<=\d)\.\d{1,2}(?!\d)"  # fractions
    r"| ?\d{1,3}(?=(?:\d{3})*(?!\d))"  # groups of digits
    r"|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?[^\s\p{L}\d]+|\s+(?!\S)|\s+"  # the rest as GPT-2 cuts it
)


def train(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A tokenizer with exactly `vocabulary` tokens. Raises UserError when the texts give fewer, or not all groups of digits fit."""
    tokenizer = Tokenizer(models.BPE())
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(_CUT, "isolated"), bytes_alone])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(PLAIN),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    groups = (f";{group};" for group in GROUPS * GROUP_WEIGHT)
    tokenizer.train_from_iterator(itertools.chain(texts, groups), trainer)
    if missing := [group for group in GROUPS if len(tokenizer.encode(group).ids) > 1 + (group not in _WHOLE)]:
        raise UserError(f"pretrain.vocabulary={vocabulary} is too small: {len(missing)} numbers did not become tokens, such as {missing[0]!r}")
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in PLAIN])
    if tokenizer.get_vocab_size() != vocabulary:
        raise UserError(
            f"pretrain.vocabulary={vocabulary} is too large: the text gives {tokenizer.get_vocab_size()} tokens; raise pretrain.tokenizer_documents"
        )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Writes tokenizer.json, its configuration and the chat template, as transformers and vLLM read them."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(TEMPLATE, folder / "chat_template.jinja")


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a folder that `save` wrote. A special token spelled out in text is that token, as world text means it; texts of
    others go through `prstack.dialogue.render`, where it stays text."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
