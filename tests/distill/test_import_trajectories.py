"""Others' trajectories: every form in which the same conversation comes, what is malformed and where, and that the counts add up."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prstack import cli
from prstack.config import load
from prstack.dialogue.render import Renderer
from prstack.distill.committed import Store
from prstack.distill.export import plain_message
from prstack.distill.imports.formats import Malformed, conversation, conversations
from prstack.distill.imports.importer import Importer, as_episode
from prstack.distill.packing import PACKED_SCHEMA
from prstack.errors import UserError
from prstack.report.tracking import Tracker
from prstack.stages import import_trajectories
from prstack.stages.models import SMOLLM2, resolve_tokenizer
from prstack.store.parts import Parts
from prstack.store.rundir import Manifest, RunDir

SYSTEM, QUESTION = "You answer with the help of tools.", "Which race did Santa Claus win in 1964?"
ARGUMENTS = [{"query": ["Santa Claus 1964"]}, {"url": "https://example.org/a", "goal": "the race"}]
RESULTS = ["1. Santa Claus (horse)", "He won the Epsom Derby.\nIn June."]
THOUGHTS = ["I search for it.", "Two pages agree."]
ANSWER = "<answer>\nThe Epsom Derby.\n</answer>"
TOOLS = [{"type": "function", "function": {"name": n, "description": n, "parameters": {"type": "object", "properties": {}}}} for n in ("search", "visit")]


def call(n: int, id: str) -> dict:
    return {"type": "function", "id": id, "function": {"name": ("search", "visit")[n], "arguments": json.dumps(ARGUMENTS[n])}}


def block(n: int) -> str:
    return f'<tool_call>\n{{"name": "{("search", "visit")[n]}", "arguments": {json.dumps(ARGUMENTS[n])}}}\n</tool_call>'


def think(n: int, rest: str) -> str:
    return f"<think>\n{THOUGHTS[n]}\n</think>\n{rest}"


def calls_json(n: int) -> str:
    return json.dumps({"name": ("search", "visit")[n], "arguments": ARGUMENTS[n]})


EXPECTED = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": QUESTION},
    {"role": "assistant", "content": "", "reasoning_content": THOUGHTS[0], "tool_calls": [call(0, "c1"), call(1, "c2")]},
    {"role": "tool", "tool_call_id": "c1", "content": RESULTS[0], "name": "search"},
    {"role": "tool", "tool_call_id": "c2", "content": RESULTS[1], "name": "visit"},
    {"role": "assistant", "content": ANSWER, "reasoning_content": THOUGHTS[1]},
]
START = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
IN_TEXT = {"role": "assistant", "content": think(0, f"{block(0)}\n{block(1)}")}
END = {"role": "assistant", "content": think(1, ANSWER)}
RESPONSES = [f"<tool_response>\n{r}\n</tool_response>" for r in RESULTS]
OPENAI = {"role": "assistant", "content": None, "reasoning_content": THOUGHTS[0], "tool_calls": [call(0, "x7"), call(1, "x8")]}
FORMS = {
    "calls and results in text": {"messages": [*START, IN_TEXT, {"role": "user", "content": "\n".join(RESPONSES)}, END]},
    "tool role": {"messages": [*START, IN_TEXT, *({"role": "tool", "content": r} for r in RESULTS), END]},
    "openai, results in another order": {
        "messages": [*START, OPENAI, *({"role": "tool", "tool_call_id": i, "content": r} for i, r in zip(("x7", "x8"), RESULTS, strict=True)), END]
    },
    "arguments as an object": {
        "messages": [*START, OPENAI | {"tool_calls": [{"function": {"name": n, "arguments": a}} for n, a in zip(("search", "visit"), ARGUMENTS, strict=True)]}, *({"role": "tool", "content": r} for r in RESULTS), END]
    },
    "sharegpt": {
        "system": SYSTEM,
        "conversations": [
            {"from": "human", "value": QUESTION},
            {"from": "gpt", "value": think(0, "")},
            {"from": "function_call", "value": f"[{calls_json(0)}, {calls_json(1)}]"},
            *({"from": "observation", "value": r} for r in RESULTS),
            {"from": "gpt", "value": think(1, ANSWER)},
        ],
    },
    "ms-swift": {
        "messages": [*START, {"role": "assistant", "content": think(0, "")}, *({"role": "tool_call", "content": calls_json(n)} for n in (0, 1)), *({"role": "tool_response", "content": r} for r in RESULTS), END]
    },
    "chatml text": {
        "text": "".join(
            f"<|im_start|>{role}\n{text}<|im_end|>\n"
            for role, text in [("system", SYSTEM), ("user", QUESTION), ("assistant", IN_TEXT["content"]), ("user", "\n".join(RESPONSES)), ("assistant", END["content"])]
        )
    },
    "text in parts": {"messages": [START[0], {"role": "user", "content": [{"type": "text", "text": QUESTION}]}, IN_TEXT, *({"role": "tool", "content": r} for r in RESULTS), END]},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_conversation(form):
    read = conversation(copy.deepcopy(FORMS[form]) | {"tools": json.dumps(TOOLS)})
    assert read.messages == EXPECTED
    assert read.tools == TOOLS
    assert conversation(FORMS[form] | {"tools": TOOLS}).id == read.id == conversation(FORMS["tool role"] | {"tools": TOOLS}).id


def test_results_find_their_calls_by_id():
    results = [{"role": "tool", "tool_call_id": i, "content": r} for i, r in zip(("x8", "x7"), reversed(RESULTS), strict=True)]
    read = conversation({"messages": [*START, OPENAI, *results, END]})
    assert [(m["tool_call_id"], m["content"]) for m in read.messages if m["role"] == "tool"] == [("c2", RESULTS[1]), ("c1", RESULTS[0])]


def test_tools_that_a_message_describes_are_not_added_again():
    asked = {"role": "user", "content": f"Use <tools>\n{json.dumps(TOOLS)}\n</tools>\n{QUESTION}"}
    odd = [{"name_for_model": "search", "parameters": "{'type': 'object'}"}]
    read = conversation({"type": "chatml", "messages": [START[0], asked, *FORMS["tool role"]["messages"][2:]], "functions": odd, "tool_calls": [], "tag": "e2hqa"})
    assert read.tools == [] and read.messages[1] == asked


def without(i: int, form: str = "tool role") -> dict:
    messages = FORMS[form]["messages"]
    return {"messages": [*messages[:i], *messages[i + 1 :]]}


def changed(i: int, form: str = "tool role", **change: object) -> dict:
    messages = copy.deepcopy(FORMS[form]["messages"])
    messages[i] |= change
    return {"messages": messages}


MALFORMED = [
    ({"prompt": "x"}, "", "there are no messages"),
    ({"messages": "hello"}, "messages", "expected a list"),
    ({"messages": []}, "messages", "begins with a user message"),
    ({"conversations": ["hello"]}, "conversations.0", "expected a message, found str"),
    (changed(1, role="critic"), "messages.1.role", "unknown role 'critic'"),
    (changed(1, role=None), "messages.1.role", "has no role"),
    (changed(1, role=["user"]), "messages.1.role", "unknown role"),
    (changed(1, content=7), "messages.1.content", "expected text, found int"),
    (changed(1, content=[{"type": "image"}]), "messages.1.content", "expected text, found list"),
    (changed(2, content="<think>\nnever closed"), "messages.2.content", "not closed with </think>"),
    (changed(2, content="<tool_call>\n{\"name\": "), "messages.2.content", "not closed with </tool_call>"),
    (changed(2, content='<tool_call>\n{"name": }\n</tool_call>'), "messages.2.content", "the tool call is not a JSON object"),
    (changed(2, content='<tool_call>\n{"arguments": {}}\n</tool_call>'), "messages.2.content", "the tool call has no"),
    (changed(2, content='<tool_call>\n{"name": "a", "arguments": [1]}\n</tool_call>'), "messages.2.content", "not a JSON object"),
    (changed(2, "ms-swift", role="tool_call", content="{"), "messages.2.content", "a tool call is not JSON"),
    (changed(2, "openai, results in another order", tool_calls=[{"function": {"name": "a", "arguments": "[1]"}}]), "messages.2.tool_calls.0.arguments", "not a JSON object"),
    (changed(2, "openai, results in another order", tool_calls=[{"function": {"arguments": "{}"}}]), "messages.2.tool_calls.0", "a tool call has no name"),
    (changed(2, "openai, results in another order", tool_calls={"a": 1}), "messages.2.tool_calls", "expected a list"),
    (changed(2, "openai, results in another order", reasoning_content=3), "messages.2.reasoning_content", "expected text"),
    (changed(3, "openai, results in another order", tool_call_id="nobody"), "messages", "message 4 (tool) is a result without a call"),
    (without(2), "messages", "message 3 (tool) is a result without a call"),
    (without(3), "messages", "comes before the result of a call of visit"),
    (without(5), "messages", "does not end with an answer"),
    (changed(5, content="  "), "messages", "does not end with an answer"),
    ({"messages": [*START, START[1], END]}, "messages", "message 3 (user) comes after a message of the role user"),
    ({"messages": [*START, START[0], END]}, "messages", "message 3 (system) comes after"),
    (FORMS["tool role"] | {"tools": "{"}, "tools", "the tools are not JSON"),
    (FORMS["tool role"] | {"tools": [{"description": "no name"}]}, "tools.0", "a tool has no name"),
]


@pytest.mark.parametrize(("record", "field", "reason"), MALFORMED, ids=[f"{n}" for n in range(len(MALFORMED))])
def test_what_is_no_conversation_is_named(record, field, reason):
    with pytest.raises(Malformed) as found:
        conversation(record)
    assert found.value.field == field and reason in found.value.reason


def settings(source: Path, *more: str):
    own = [f"distill.tokenizer={SMOLLM2}", "distill.context=2048", "distill.filters.min_report_words=1", "distill.part_records=2", "tracking.wandb=disabled"]
    return load([f"distill.input={source}", *own, *more])


def run_import(folder: Path, source: Path, *more: str) -> Manifest:
    config = settings(source, *more)
    run = RunDir(folder, {})
    try:
        with Tracker(run.path, config.tracking, "test", {}) as tracker:
            return import_trajectories.run(config, run, tracker)
    finally:
        run.close()


def write(path: Path, records: list) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


WORDS = "the race of a horse that won in June and was shown to all who came with their friends on a fine day by train for it is said how much"


def numbered(n: int) -> dict:
    """The conversation with a question, an answer and an id of its own, and enough words of its own to be no near-duplicate."""
    record = copy.deepcopy(FORMS["tool role"]) | {"id": f"a{n}", "tools": TOOLS}
    for i in (1, -1):
        record["messages"][i]["content"] += f" ({n}) " + " ".join(random.Random(f"{n}, {i}").choices(WORDS.split(), k=60))
    return record


@pytest.fixture
def source(tmp_path) -> Path:
    """Six good conversations in three files; four lines and a row that are none, an id that comes twice, four to reject."""
    folder = tmp_path / "in"
    folder.mkdir()
    once = {"id": "r0", "messages": [*START, {"role": "assistant", "content": block(0)}, {"role": "tool", "content": "x"}, END]}
    long = numbered(21) | {"id": "r1"}
    long["messages"][3]["content"] = "long " * 4000
    write(folder / "a.jsonl", [numbered(0), "{", numbered(1), [1], "", numbered(2) | {"messages": 3}, numbered(3), numbered(0), once, long])
    write(folder / "b.jsonl", ["x" * (33 << 20), numbered(4), numbered(30) | {"id": "r2", "tools": TOOLS[:1]}, numbered(3) | {"id": "r3"}])
    rows = [numbered(5), numbered(6), numbered(7) | {"messages": [{"role": "critic", "content": "bad"}]}]
    pq.write_table(pa.Table.from_pylist([r | {"tools": json.dumps(r["tools"])} for r in rows]), folder / "c.parquet")
    return folder


def test_counts_add_up_and_what_is_bad_is_named_by_file_line_and_field(source, tmp_path):
    manifest = run_import(tmp_path / "run", source)
    counts = manifest.counts
    assert {k: counts[k] for k in ("read", "kept", "rejected", "quarantined")} == {"read": 16, "kept": 6, "rejected": 4, "quarantined": 6}
    folder = tmp_path / "run" / "distill"
    bad = [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]
    assert [(Path(b["file"]).name, b["line"], b["field"]) for b in bad] == [
        ("a.jsonl", 2, ""), ("a.jsonl", 4, ""), ("a.jsonl", 6, "messages"), ("a.jsonl", 8, "id"), ("b.jsonl", 1, ""), ("c.parquet", 3, "messages.0.role"),
    ]  # fmt: skip
    store = Store.open(folder)
    assert {(r["id"], r["stage"], r["reason"]) for r in store.rejected.rows()} == {
        ("r0", "distill/tool_calls", "too_few_tool_calls"),
        ("r1", "distill/context", "too_long"),
        ("r2", "distill/tools", "unknown_tool"),
        ("r3", "distill/near_duplicates", "near_duplicate"),
    }
    assert store.dataset.ids == {f"a{n}" for n in (0, 1, 3, 4, 5, 6)}


def test_an_imported_set_is_rendered_packed_and_described_like_our_own(source, tmp_path):
    run_import(tmp_path / "run", source, "distill.layouts=[jsonl,llama_factory]")
    folder = tmp_path / "run" / "distill"
    renderer = Renderer(resolve_tokenizer(SMOLLM2))
    rows = {r["id"]: r for r in Store.open(folder).dataset.rows()}
    for pack in Parts(folder / "packed", schema=PACKED_SCHEMA).rows():
        at = 0
        for id, n in zip(pack["sample_ids"], pack["segment_lengths"], strict=True):
            again = renderer.render([plain_message(m) for m in rows[id]["messages"]], json.loads(rows[id]["tools"]))
            assert (pack["input_ids"][at : at + n], pack["loss_mask"][at : at + n]) == (again.input_ids, again.loss_mask)
            at += n
    assert rows["a1"]["score"] is None and rows["a1"]["tool_calls"] == 2
    card = (folder / "README.md").read_text()
    assert "imported" in card and "the terms of their source apply" in card and "too_few_tool_calls 1" in card and "supervisor" not in card
    lines = [json.loads(line) for line in (folder / "jsonl" / "messages.jsonl").read_text().splitlines()]
    assert {line["id"] for line in lines} == set(rows)
    assert next(line["messages"] for line in lines if line["id"] == "a1")[2:-1] == EXPECTED[2:-1]


def test_an_import_that_was_cut_off_is_taken_up_again(source, tmp_path, monkeypatch):
    whole = run_import(tmp_path / "whole", source)
    taken = Importer.__call__
    made: list[str] = []

    def stops(self: Importer, c: object):
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(c.id)
        return taken(self, c)

    monkeypatch.setattr(Importer, "__call__", stops)
    with pytest.raises(KeyboardInterrupt):
        run_import(tmp_path / "run", source)
    monkeypatch.setattr(Importer, "__call__", lambda self, c: made.append(c.id) or taken(self, c))
    again = run_import(tmp_path / "run", source)
    assert (again.counts, again.content_hash) == (whole.counts, whole.content_hash)
    assert len(made) == 5 + 10 - 4  # two parts of two were committed
    assert run_import(tmp_path / "run", source).content_hash == whole.content_hash and len(made) == 11


def test_a_conversation_is_judged_as_an_episode():
    t = as_episode(conversation(FORMS["tool role"]))
    assert [(s.state, s.reasoning, s.tool_call.name if s.tool_call else "") for s in t.steps] == [
        ("toolcall", THOUGHTS[0], "search"), ("toolcall", "", "visit"), ("report", THOUGHTS[1], ""),
    ]  # fmt: skip
    assert (t.query, t.reports) == (QUESTION, [ANSWER])


def test_the_users_own_filter_sees_imported_conversations(source, tmp_path):
    manifest = run_import(tmp_path / "run", source, "distill.filters.extra=['tests.distill.test_import_trajectories:no_threes']")
    assert (manifest.counts["kept"], manifest.counts["rejected"]) == (5, 5)


def no_threes(t):
    return ("three", t.query) if "(3)" in t.query else None


def test_errors_are_one_line(tmp_path, capsys):
    assert cli.main(["distill", "import", f"runs={tmp_path}", f"run_dir={tmp_path / 'r'}", "tracking.wandb=disabled"]) == 2
    assert "distill.input=" in capsys.readouterr().err
    assert cli.main(["distill", "export"]) == 2
    broken = tmp_path / "x.parquet"
    broken.write_text("not parquet")
    with pytest.raises(UserError, match=r"x\.parquet: not a readable Parquet file"):
        list(conversations(broken, lambda _: None))
