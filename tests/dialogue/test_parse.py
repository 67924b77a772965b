import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prstack.dialogue.parse import TAGS, format_assistant, parse_assistant
from prstack.types import ToolCall

CALL = ToolCall("c1", "product_search", '{"query": "quiet blender", "max_price": 90}')


def test_the_three_kinds_of_turn():
    plan = parse_assistant("<think>\nTwo needs.\n</think>\n\nPlan: search, read, compare.")
    assert (plan.reasoning, plan.content, plan.tool_call, plan.report, plan.error) == (
        "Two needs.",
        "Plan: search, read, compare.",
        None,
        None,
        "",
    )
    text = '<think>\nlook\n</think>\n\nFirst I search.\n<tool_call>\n{"name": "product_search", "arguments": {"query": "a"}}\n</tool_call>'
    call = parse_assistant(text, "c7")
    assert call.tool_call == ToolCall("c7", "product_search", '{"query": "a"}')
    assert (call.reasoning, call.content, call.error) == ("look", "First I search.", "")
    report = parse_assistant("<think>\ndone\n</think>\n\n<report>\nBuy P1 [1].\n</report>")
    assert (report.report, report.content, report.error) == ("Buy P1 [1].", "<report>\nBuy P1 [1].\n</report>", "")


@pytest.mark.parametrize(
    "text, error",
    [
        ("<think>\nso long", "not closed with </think>"),
        ("<report>\nBuy", "not closed with </report>"),
        ("<report>a</report> and more", "after </report>"),
        ('<tool_call>\n{"name": "a", "arguments": {}}', "not closed with </tool_call>"),
        ('<tool_call>{"name": "a", "arguments": {}}</tool_call> then', "after </tool_call>"),
        ('<tool_call>{"name": "a", "arguments": {}}</tool_call><tool_call>{"name": "b", "arguments": {}}</tool_call>', "more than one"),
        ('<tool_call>{"name": "a"}</tool_call>', "missing"),
        ('<tool_call>{"arguments": {}}</tool_call>', 'no "name"'),
        ('<tool_call>{"name": "a", "arguments": [1]}</tool_call>', "not a JSON object"),
        ('<tool_call>{"name": "a", "arguments": {"q": }}</tool_call>', "not JSON"),
        ("<tool_call>search please</tool_call>", "not a JSON object"),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", "not a JSON object"),
        ("My report: <report>a</report>", "does not belong"),
        ("a </think> b </think> c", "does not belong"),
    ],
)
def test_what_is_wrong_is_said(text, error):
    assert error in parse_assistant(text).error


def test_malformed_arguments_are_kept_as_written():
    for arguments in ('{"query": "a"', '{"query": "quiet" blender}', "query=a", ""):
        turn = parse_assistant(format_assistant("r", "", ToolCall("", "product_search", arguments)))
        assert turn.tool_call.arguments == arguments
        assert turn.error == "the arguments of the tool call are not JSON"


def test_a_model_whose_prompt_opened_the_thinking():
    turn = parse_assistant("hm\n</think>\n\nok")
    assert (turn.reasoning, turn.content, turn.error) == ("hm", "ok", "")


plain = st.text(max_size=60).filter(lambda s: not any(t in s for t in TAGS))
values = st.recursive(st.none() | st.booleans() | st.integers() | plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3))
calls = st.builds(
    lambda name, arguments, indent: ToolCall("", name, json.dumps(arguments, ensure_ascii=False, indent=indent)),
    plain.filter(bool),
    st.dictionaries(plain, values, max_size=3),
    st.sampled_from([None, 1]),
)


@given(reasoning=plain, content=plain, call=st.none() | calls)
def test_parse_is_the_inverse_of_format(reasoning, content, call):
    turn = parse_assistant(format_assistant(reasoning, content, call))
    assert (turn.reasoning, turn.content, turn.tool_call, turn.error) == (reasoning.strip(), content.strip(), call, "")


@given(st.text(max_size=200) | st.lists(st.sampled_from([*TAGS, "\n", "{", "}", '"name": "a"', '"arguments":', ",", "x"]), max_size=14).map("".join))
def test_parse_takes_any_text(text):
    turn = parse_assistant(text)
    assert turn.tool_call is None or turn.tool_call.name
