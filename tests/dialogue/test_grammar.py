import json

import numpy as np
import pytest

from prstack.dialogue.grammar import bounded, clean_json, reply_format, turn_format
from prstack.dialogue.parse import format_assistant, format_call, parse_assistant
from prstack.dialogue.render import END_OF_TURN, Renderer
from prstack.prompts.replies import verdict_schema
from prstack.stages.models import SMOLLM2, resolve_tokenizer
from prstack.tools.schemas import PARAMETERS, SCHEMAS, check
from prstack.types import ToolCall

MAX_TOKENS = 384


class RandomModel:
    """Writes random tokens, with a strong random liking for a few of them, wherever the grammar lets it."""

    def __init__(self):
        self.xgrammar = pytest.importorskip("xgrammar")
        self.renderer = Renderer(resolve_tokenizer(SMOLLM2))
        tokenizer = self.renderer.tokenizer
        self.size = tokenizer.get_vocab_size()
        info = self.xgrammar.TokenizerInfo(
            [tokenizer.id_to_token(i) for i in range(self.size)],
            self.xgrammar.VocabType.BYTE_LEVEL,
            vocab_size=self.size,
            stop_token_ids=[tokenizer.token_to_id(END_OF_TURN)],
        )
        self.compiler = self.xgrammar.GrammarCompiler(info, max_threads=1)

    def write(self, form: str, seed: int, limit: int) -> tuple[str, int]:
        """The text and how many tokens it took, end of turn included. Fails when it does not end within `limit`."""
        matcher = self.xgrammar.GrammarMatcher(self.compiler.compile_structural_tag(form))
        mask = self.xgrammar.allocate_token_bitmask(1, self.size)
        allowed = mask.numpy()[0].view(np.uint8)
        random = np.random.default_rng(seed)
        liking = random.standard_normal(self.size, np.float32) * 3 * (seed % 2)
        ids = []
        while not matcher.is_terminated():
            assert len(ids) < limit, f"no end within {limit} tokens: {self.renderer.decode(ids)!r}"
            matcher.fill_next_token_bitmask(mask)
            logits = random.standard_normal(self.size, np.float32) + liking
            logits[np.unpackbits(allowed, bitorder="little")[: self.size] == 0] = -np.inf
            ids.append(int(logits.argmax()))
            assert matcher.accept_token(ids[-1])
        return self.renderer.decode(ids), len(ids)


    def accepts(self, form: str, text: str) -> bool:
        matcher = self.xgrammar.GrammarMatcher(self.compiler.compile_structural_tag(form))
        return matcher.accept_string(text) and matcher.accept_token(self.renderer.end_of_turn_id)


@pytest.fixture(scope="module")
def model():
    return RandomModel()


@pytest.mark.parametrize(
    "tool_choice, report, kinds",
    [
        ("required", "auto", {"call"}),
        ("auto", "auto", {"call", "report"}),
        ("auto", "required", {"report"}),
        ("auto", "none", {"call", "text"}),
        ("none", "auto", {"report", "text"}),
        ("none", "required", {"report"}),
        ("none", "none", {"text"}),
    ],
)
def test_any_model_writes_turns_that_parse_and_end(model, tool_choice, report, kinds):
    form = turn_format(SCHEMAS, tool_choice, report, MAX_TOKENS)
    for seed in range(4):
        text, _ = model.write(form, seed, MAX_TOKENS)
        before, tag, call = text.partition("<tool_call>")
        turn = parse_assistant(before + tag + clean_json(call))
        kind = "call" if turn.tool_call else "report" if turn.report is not None else "text"
        assert turn.error == "" and kind in kinds, text
        assert "<think>" in text
        if turn.tool_call:
            assert json.loads(turn.tool_call.arguments)
            if '" "' not in turn.tool_call.arguments:  # the schema cannot forbid a blank string
                check(PARAMETERS[turn.tool_call.name], turn.tool_call.arguments)


def test_several_calls_where_they_are_let_through_and_have_room(model):
    form = turn_format(SCHEMAS, "required", "auto", 640, 8)
    for seed in range(6):
        text, _ = model.write(form, seed, 640)
        before, tag, calls = text.partition("<tool_call>")
        turn = parse_assistant(before + tag + clean_json(calls))
        assert turn.error == "" and turn.tool_calls, text
    one = format_call(ToolCall("", "visit_product", '{"product_id": "P1"}'))
    several = [format_assistant("r", "", *parse_assistant("\n".join([one] * n)).tool_calls) for n in (1, 2, 3)]
    assert [model.accepts(form, text) for text in several] == [True, True, False]  # a third would leave too little to each
    assert [model.accepts(turn_format(SCHEMAS, "required", "auto", 640), text) for text in several] == [True, False, False]
    assert turn_format(SCHEMAS, "auto", "auto", 200, 8) == turn_format(SCHEMAS, "auto", "auto", 200)


@pytest.mark.parametrize("state", ["plan", "toolcall", "report"])
def test_any_model_writes_replies_that_follow_the_schema(model, state):
    jsonschema = pytest.importorskip("jsonschema")
    schema = verdict_schema(state)
    for seed in range(4):
        text, _ = model.write(reply_format(schema), seed, 600)
        jsonschema.validate(json.loads(clean_json(text)), schema)


def test_nothing_without_a_bound_is_left():
    schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "long": {"type": "string", "maxLength": 9000, "minLength": 2},
            "kind": {"type": "string", "enum": ["a", "b"]},
            "date": {"type": "string", "format": "date"},
            "score": {"type": "number", "minimum": 0},
            "depth": {"type": ["integer", "null"], "maximum": -5},
            "maximum": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
        },
        "required": ["text"],
    }
    before = json.dumps(schema)
    out = bounded(schema, 50)
    assert json.dumps(schema) == before
    properties = out["properties"]
    assert properties["text"] == {"type": "string", "maxLength": 50}
    assert properties["long"]["maxLength"] == 50 and properties["long"]["minLength"] == 2
    assert properties["kind"] == schema["properties"]["kind"] and properties["date"] == schema["properties"]["date"]
    assert properties["score"]["maximum"] > 1e6 and properties["depth"]["minimum"] < -5
    assert properties["maximum"]["maxItems"] == 8
    assert properties["maximum"]["items"]["properties"]["x"]["maxLength"] == 50
    assert out["additionalProperties"] is False and out["required"] == ["text"]


def test_raw_control_characters_in_strings_become_blanks():
    assert json.loads(clean_json('{"a":\n"x\x0e\ty\\n",\t"b": "\\"\x1f"}')) == {"a": "x  y\n", "b": '" '}
    assert clean_json('{"a":\n1}') == '{"a":\n1}'


def test_what_leaves_nothing_to_write_is_refused():
    for tools, choice, report in [([], "required", "auto"), (SCHEMAS, "required", "required"), (SCHEMAS, "always", "auto")]:
        with pytest.raises(ValueError, match="nothing to write"):
            turn_format(tools, choice, report, 100)
