"""Steps become turns and turns messages: several calls of a turn are one assistant message, and nothing that was said changes later."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prstack.dialogue.conversation import research_messages, turn_messages, turns_of
from prstack.dialogue.parse import TAGS, parse_assistant
from prstack.dialogue.render import Renderer
from prstack.prompts import Prompts
from prstack.stages.models import SMOLLM2, resolve_tokenizer
from prstack.types import Step, ToolCall, ToolResult, Verdict, VerdictItem

PROMPTS = Prompts()


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(resolve_tokenizer(SMOLLM2))


def call(n: int, joined: bool = False, **fields) -> Step:
    made = ToolCall(f"c{n}", "product_search", json.dumps({"query": f"q{n}"}))
    return Step("research", "toolcall", 0, tool_call=made, tool_result=ToolResult(f"c{n}", True, f"result {n}"), joined=joined, **fields)


def verdict(state: str = "toolcall", wrong: str = "") -> Step:
    items = [VerdictItem("relevant_result", not wrong, wrong)]
    return Step("supervisor", state, 0, verdict=Verdict("revise" if wrong else "approve", wrong or "Good.", items))


PLANNED = [Step("research", "plan", 0, "Needs.", "My plan."), verdict("plan")]


def test_calls_of_one_turn_are_one_message_with_their_results_behind_it():
    steps = [*PLANNED, call(1, reasoning="Both.", content="Two searches."), verdict(), call(2, joined=True), verdict(), call(3), verdict()]
    said = research_messages("A kettle?", steps, PROMPTS)
    assert [m["role"] for m in said] == ["system", "user", "assistant", "user", "assistant", "tool", "tool", "assistant", "tool"]
    turn = said[4]
    assert (turn["reasoning_content"], turn["content"]) == ("Both.", "Two searches.")
    assert [c["id"] for c in turn["tool_calls"]] == ["c1", "c2"] == [m["tool_call_id"] for m in said[5:7]]
    assert [m["content"] for m in said[5:7]] == ["result 1", "result 2"] and len(said[7]["tool_calls"]) == 1


def test_corrections_come_after_all_results_and_say_which_call_they_are_about():
    steps = [*PLANNED, call(1), verdict(wrong="too broad"), call(2, joined=True), verdict(), call(3, joined=True), verdict(wrong="of no use")]
    said = research_messages("A kettle?", steps, PROMPTS)
    assert [m["role"] for m in said[4:]] == ["assistant", "tool", "tool", "tool", "user", "user"]
    assert "(toolcall, call 1 of 3)" in said[-2]["content"] and "too broad" in said[-2]["content"]
    assert "(toolcall, call 3 of 3)" in said[-1]["content"] and "of no use" in said[-1]["content"]
    alone = research_messages("A kettle?", [*PLANNED, call(1), verdict(wrong="too broad")], PROMPTS)
    assert "(toolcall)" in alone[-1]["content"]


def test_what_is_no_call_stands_in_the_content_of_its_turn():
    broken = Step("research", "toolcall", 0, content="<tool_call>\n{}\n</tool_call>", joined=True)
    message, *results = turn_messages([call(1, content="Two."), broken, call(2, joined=True)])
    assert message["content"] == "Two.\n<tool_call>\n{}\n</tool_call>"
    assert [c["id"] for c in message["tool_calls"]] == ["c1", "c2"] and len(results) == 2


def test_a_turn_begins_with_a_step_that_is_not_joined():
    steps = [*PLANNED, call(1), verdict(), call(2, joined=True), verdict(), call(3), call(4, joined=True)]
    assert [[s.role[0] for s in turn] for turn in turns_of(steps)] == [["r", "s"], ["r", "s", "r", "s"], ["r", "r"]]
    assert turns_of([]) == []


# --- any turns ---------------------------------------------------------------------------------------------------
CONTROL = ["<|im_end|>", "<|im_start|>assistant\n", "\n", '"}}', "\\"]
characters = st.characters(exclude_categories=("Cc", "Cs"), max_codepoint=0xFFFF)  # SmolLM2's vocabulary lacks some bytes
plain = st.text(characters, max_size=30).filter(lambda s: not any(t in s for t in TAGS)).map(str.strip)
hostile = st.lists(st.text(characters, max_size=12) | st.sampled_from([*TAGS, *CONTROL]), max_size=4).map("".join)
said = st.tuples(plain, plain, st.lists(st.dictionaries(hostile, hostile | st.integers(), max_size=2), max_size=3))


def steps_of(turns: list[tuple[str, str, list[dict]]], result: str) -> list[Step]:
    """The steps of these turns: reasoning, content and the arguments of the calls of each."""
    steps: list[Step] = []
    for reasoning, content, calls in turns:
        if not calls:
            steps.append(Step("research", "toolcall", 0, reasoning, content))
        for n, arguments in enumerate(calls):
            made = ToolCall(f"c{len(steps)}", "a", json.dumps(arguments, ensure_ascii=False))
            head = (reasoning, content) if n == 0 else ("", "")
            steps.append(Step("research", "toolcall", 0, *head, made, ToolResult(made.id, True, result), joined=n > 0))
    return steps


@settings(max_examples=40, deadline=None)
@given(st.lists(said, min_size=1, max_size=4), hostile)
def test_any_turns_render_append_only_and_parse_back_to_the_same_steps(renderer, turns, result):
    steps = steps_of(turns, result)
    query = [{"role": "user", "content": "q"}]
    messages = [*query, *(m for turn in turns_of(steps) for m in turn_messages(turn))]
    whole = renderer.render(messages)
    written, before = [], query
    for turn in turns_of(steps):
        prompt, before = renderer.prompt(before), [*before, *turn_messages(turn)]
        upto = renderer.render(before).input_ids
        assert whole.input_ids[: len(upto)] == upto and upto[: len(prompt)] == prompt
        end = upto.index(renderer.end_of_turn_id, len(prompt))
        assert set(whole.loss_mask[len(prompt) : end + 1]) == {1}
        read = parse_assistant(renderer.decode(upto[len(prompt) : end]))
        assert read.error == "" and read.report is None
        written.append((read.reasoning, read.content, [json.loads(c.arguments) for c in read.tool_calls]))
    assert written == [(reasoning, content, calls) for reasoning, content, calls in turns]
