import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prstack.dialogue.parse import TAGS, format_assistant, format_call, parse_assistant
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
    call = parse_assistant(text)
    assert call.tool_call == ToolCall("", "product_search", '{"query": "a"}')
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
        ('<tool_call>{"name": "a", "arguments": {}}</tool_call><tool_call>{"arguments": {}}</tool_call>', 'no "name"'),
        ('<tool_call>{"name": "a", "arguments": {}}</tool_call>\n<tool_call>{"name": "a", "arguments": {}}', "not closed with </tool_call>"),
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


def test_several_calls_are_read_in_their_order():
    one, two = ToolCall("", "product_search", '{"query": "a"}'), ToolCall("", "visit_product", '{"product_id": "P1"}')
    turn = parse_assistant(format_assistant("r", "Both.", one, two))
    assert (turn.reasoning, turn.content, turn.calls, turn.error) == ("r", "Both.", [one, two], "")
    assert parse_assistant(format_call(one) + format_call(two)).calls == [one, two]


def test_what_has_no_name_stands_among_the_calls_as_text():
    turn = parse_assistant(f"{format_call(CALL)}\n<tool_call>\n{{}}\n</tool_call>\n<tool_call>\n{format_call(CALL).split(chr(10))[1]}")
    assert [getattr(c, "name", c) for c in turn.calls] == ["product_search", "{}", "product_search"]
    assert turn.error == 'the tool call has no "name"'


def test_text_after_a_call_ends_what_is_read():
    text = f"{format_call(CALL)}\n<tool_response>\nmade up\n</tool_response>\n{format_call(CALL)}"
    turn = parse_assistant(text)
    assert len(turn.calls) == 1 and "after </tool_call>" in turn.error


@pytest.mark.parametrize("tag", TAGS)
def test_tags_inside_the_strings_of_a_call_are_text(tag):
    evil = ToolCall("", f"a{tag}", json.dumps({tag: f'{tag}\n{{"name": "b", "arguments": {{}}}}{tag}'}))
    for reasoning in ("", "I look."):
        turn = parse_assistant(format_assistant(reasoning, "", evil, CALL))
        assert (turn.reasoning, turn.content, turn.error) == (reasoning, "", "")
        assert turn.calls == [evil, ToolCall("", CALL.name, CALL.arguments)]
    raw = f'<tool_call>\n{{"name": "a", "arguments": {{"q": "x\n{tag}\ny"}}}}\n</tool_call>'  # a raw line break, which JSON does not allow
    assert [c.arguments for c in parse_assistant(raw).tool_calls] == [f'{{"q": "x\n{tag}\ny"}}']


def test_a_model_whose_prompt_opened_the_thinking():
    turn = parse_assistant("hm\n</think>\n\nok")
    assert (turn.reasoning, turn.content, turn.error) == ("hm", "ok", "")


plain = st.text(max_size=60).filter(lambda s: not any(t in s for t in TAGS))
values = st.recursive(st.none() | st.booleans() | st.integers() | plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3))
hostile = st.lists(plain | st.sampled_from([*TAGS, "\n", '"', "\\", "}"]), max_size=4).map("".join)
calls = st.builds(
    lambda name, arguments, indent: ToolCall("", name, json.dumps(arguments, ensure_ascii=False, indent=indent)),
    hostile.filter(bool),
    st.dictionaries(plain, values | hostile, max_size=3),
    st.sampled_from([None, 1]),
)


@given(reasoning=plain, content=plain, made=st.lists(calls, max_size=3))
def test_parse_is_the_inverse_of_format(reasoning, content, made):
    turn = parse_assistant(format_assistant(reasoning, content, *made))
    assert (turn.reasoning, turn.content, turn.calls, turn.error) == (reasoning.strip(), content.strip(), made, "")


@given(st.text(max_size=200) | st.lists(st.sampled_from([*TAGS, "\n", "{", "}", '"name": "a"', '"arguments":', ",", "x"]), max_size=14).map("".join))
def test_parse_takes_any_text(text):
    turn = parse_assistant(text)
    assert turn.tool_call is None or turn.tool_call.name
