"""Conversations as tokens, with the loss mask of what the assistant writes.

How a conversation becomes tokens:
1. The chat template writes text. Whatever comes out of an expression (message texts, tool schemas) is data: any
   special token spelled out in it, for example an `<|im_end|>` in a web page, is marked as plain characters.
2. The text is cut at special tokens of the template and where an assistant turn begins and ends.
3. Each special token is its id; each piece of text between is encoded alone, with the parsing of special tokens off.

Invariants (asserted by the tests):
- Append-only: the tokens of the first n >= 1 messages are a prefix of the tokens of all, because every message begins
  with a special token and no piece depends on another. Under the template `qwen3`, tool messages in a row form one turn,
  as that model knows them; there it holds for every n at which a turn ends.
- What is sampled is what is trained: `prompt(messages)` + the tokens of an assistant turn are a prefix of
  `render(messages + [turn])`, because a cut lies exactly between them.
- The mask is 1 on an assistant turn, its end-of-turn token included, and 0 everywhere else.
- Same ids and mask as `transformers`' `apply_chat_template(…, return_assistant_tokens_mask=True)` with the same
  template, as long as no message holds a special token spelled out (there `transformers` would turn text into
  control, and this module does not). Tokens that a tokenizer adds without calling them special, such as Qwen3's
  `<tool_call>`, are read from text like everywhere else.
"""

from __future__ import annotations

import functools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from prstack.errors import UserError

TEMPLATE = Path(__file__).parent / "templates" / "prstack.jinja"
TEMPLATES = {"prstack": TEMPLATE, "qwen3": TEMPLATE.with_name("qwen3.jinja")}
"""Chat templates by name: prstack's own, and Qwen3's with what training needs (`distill.chat_template`)."""
START_OF_TURN, END_OF_TURN = "<|im_start|>", "<|im_end|>"

# Lone surrogates cannot occur in text that can be encoded, so they can mark places in it.
_PLAIN, _TURN_BEGINS, _TURN_ENDS = "\ud800", "\ud801", "\ud802"
_SURROGATE = re.compile("[\ud800-\udfff]")

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one text at a time; and a process that forks afterwards is not warned of threads

PIECES, LONG = 256, 16_384
"""Pieces whose tokens are remembered, and the longest of them in characters: the system prompt and tools stand in every conversation, and
most of a conversation stands in the next one that is made of the same episode."""


@dataclass(slots=True)
class Rendered:
    """A conversation for training: `input_ids` and `loss_mask` (0 or 1) have the same length."""

    input_ids: list[int]
    loss_mask: list[int]
    text: str


class Renderer:
    """Renders conversations with the tokenizer of a Hugging Face directory (`tokenizer.json`) and one template."""

    def __init__(self, tokenizer_dir: Path | str, template: Path | str = TEMPLATE, pieces: int = PIECES):
        """`pieces`: how many are remembered with their tokens. Raises UserError when the tokenizer cannot be read or has no ChatML markers."""
        path = Path(tokenizer_dir) / "tokenizer.json"
        try:
            self.tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except OSError as e:
            raise UserError(f"{path}: no tokenizer there; give a Hugging Face directory that holds tokenizer.json") from e
        except Exception as e:  # `tokenizers` raises plain Exceptions
            raise UserError(f"{path}: not a tokenizer ({e})") from e
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True  # text stays text
        added = self.tokenizer.get_added_tokens_decoder()
        self.special_ids = {token.content: i for i, token in added.items() if token.special}
        if missing := [m for m in (START_OF_TURN, END_OF_TURN) if m not in self.special_ids]:
            raise UserError(f"{path}: has no special token {' and '.join(missing)}; prstack's chat format is ChatML")
        self.end_of_turn_id = self.special_ids[END_OF_TURN]
        # Longest first, so that a token that begins with another one wins.
        specials = sorted(self.special_ids, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, specials)))
        self._cuts = re.compile(f"({self._special.pattern}|{_TURN_BEGINS}|{_TURN_ENDS})")
        self._remembered = functools.lru_cache(pieces)(self._tokens)
        self._template = _compile(Path(template).read_text(encoding="utf-8"), self._special)

    def prompt(self, messages: list[dict], tools: list[dict] | None = None) -> list[int]:
        """Token ids of the conversation and the opening of the next assistant turn. Raises ValueError."""
        return self.opened(messages, tools)[0]

    def opened(self, messages: list[dict], tools: list[dict] | None = None) -> tuple[list[int], list[int]]:
        """The ids of `prompt`, and a mask that is 1 on the assistant turns in it. Raises ValueError."""
        return self._encode(self._text(messages, tools, add_generation_prompt=True))

    def render(self, messages: list[dict], tools: list[dict] | None = None) -> Rendered:
        """A whole conversation for training. Raises ValueError for an unknown role or an empty conversation."""
        marked = self._text(messages, tools, add_generation_prompt=False)
        ids, mask = self._encode(marked)
        return Rendered(ids, mask, _SURROGATE.sub("", marked))

    def encode_text(self, text: str) -> list[int]:
        """Token ids of bare text; special tokens spelled out in it stay text."""
        return self._ids(_SURROGATE.sub("\ufffd", text))

    def decode(self, ids: list[int]) -> str:
        """Text of token ids, special tokens left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _text(self, messages: list[dict], tools: list[dict] | None, add_generation_prompt: bool) -> str:
        if not messages:
            raise ValueError("a conversation has at least one message")
        try:
            return self._template.render(
                messages=_scrub(messages), tools=_scrub(tools) or None, add_generation_prompt=add_generation_prompt
            )
        except TemplateError as e:
            raise ValueError(f"the conversation cannot be rendered: {e}") from e

    def _encode(self, marked: str) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        mask: list[int] = []
        learned = 0
        for piece in self._cuts.split(marked):
            if piece == _TURN_BEGINS:
                learned = 1
            elif piece == _TURN_ENDS:
                learned = 0
            elif piece:
                special = self.special_ids.get(piece)
                new = [special] if special is not None else self._encode_piece(piece.replace(_PLAIN, ""))
                ids += new
                mask += [learned] * len(new)
        return ids, mask

    def _encode_piece(self, text: str) -> tuple[int, ...]:
        return self._remembered(text) if len(text) <= LONG else self._tokens(text)

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._ids(text))

    def _ids(self, text: str) -> list[int]:
        """As `Tokenizer.encode`, without where each token stands in the text, which takes a quarter of the time."""
        return self.tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`: encloses its body in the marks of an assistant turn."""

    tags = {"generation"}  # noqa: RUF012 (jinja2's interface)

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> str:
        return f"{_TURN_BEGINS}{caller()}{_TURN_ENDS}"


def _compile(source: str, special: re.Pattern) -> Any:
    """The template as `transformers` would compile it, save that expressions cannot write special tokens."""

    def as_data(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return special.sub(lambda m: m[0][0] + _PLAIN + m[0][1:], value)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, finalize=as_data, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    env.filters["tojson"] = lambda x, **kw: json.dumps(x, ensure_ascii=False, **kw)
    env.globals["raise_exception"] = refuse
    return env.from_string(source)


def _scrub(value: Any) -> Any:
    """The same value with lone surrogates (not encodable, and our marks) replaced in every string."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value) if not value.isascii() else value
    if isinstance(value, dict):
        return {k: _scrub(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_scrub(v) for v in value]
    return value
