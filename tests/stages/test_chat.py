"""`prstack chat` as a user runs it: one question, a pipe of questions, Ctrl-C, and what is missing."""

from __future__ import annotations

import asyncio
import io
import json
import signal

import pytest

from actors.engine import Completion
from actors.expert import ExpertEngine
from prstack.errors import UserError
from prstack.settings import ChatConfig, Config, WorldConfig
from prstack.stages import chat as stage
from prstack.stages.chat import chat
from prstack.world.world import World, build

CALL = '<tool_call>\n{"name": "product_search", "arguments": {"query": "[bold]kettle"}}\n</tool_call>'
REPORT = "<think>\nEnough.\n</think>\n\n<report>\n1. [P1] A \x1b[31mkettle\n</report>"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    build(WorldConfig(products=300, users=4), folder / "world")
    return folder


@pytest.fixture(scope="module")
def query(run):
    return f"I need help with a purchase. I am looking for {World.open(run / 'world').categories()[0]}."


class Engine(ExpertEngine):
    """Answers with `texts`, one after the other; keeps what it was asked. `"^C"` stands for a user who presses it."""

    texts: tuple[str, ...] = ()

    def __init__(self, *_):
        super().__init__()
        self.asked, self.down = [], False
        type(self).last = self

    async def complete(self, request):
        self.asked.append(request)
        text = self.texts[min(len(self.asked), len(self.texts)) - 1]
        if text == "^C":
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        return Completion(text, "stop", 1, 1, "fake", 0.0)

    async def shutdown(self):
        self.down = True


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """`fake(texts…)`: a checkpoint "served" with these answers; returns its folder."""

    def make(*texts):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "config.json").write_text('{"max_position_embeddings": 1024}')
        monkeypatch.setattr(Engine, "texts", texts)
        monkeypatch.setattr(stage, "VLLMEngine", Engine)
        return str(tmp_path / "model")

    return make


def typed(monkeypatch, *lines):
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def config(**fields):
    return Config(chat=ChatConfig(**fields))


def test_one_question_to_the_expert(run, query, capsys):
    assert chat(config(model="expert", query=query), [str(run)]) == 0
    out = capsys.readouterr().out
    assert "→ product_search query=" in out and "→ visit_product" in out and "1. [P" in out and "<report>" not in out
    assert "more lines" in out and "tool calls, " in out


def test_a_pipe_of_questions(run, query, capsys, monkeypatch):
    typed(monkeypatch, query, "", "/new", f"  {query}  ", "quit", "never read")
    assert chat(config(model="expert"), [str(run)]) == 0
    out = capsys.readouterr().out
    assert out.count(f"you> {query[:40]}") == 2 and out.count("tokens written") == 2 and "never read" not in out


def test_the_input_may_end_without_a_word(run, capsys, monkeypatch):
    typed(monkeypatch)
    assert chat(config(model="expert"), [str(run)]) == 0


def test_a_chat_goes_on_until_a_new_one(run, capsys, monkeypatch, fake):
    model = fake(CALL, REPORT)
    typed(monkeypatch, "First?", "Second?", "/new", "Third?")
    assert chat(config(model=model, constrained=True, temperature=0.25), [str(run)]) == 0
    first, _, second, third = (r.messages for r in Engine.last.asked)
    users = lambda messages: [m["content"] for m in messages if m["role"] == "user"]  # noqa: E731
    assert users(first) == ["First?"] and users(second) == ["First?", "Second?"] and users(third) == ["Third?"]
    assert [m["role"] for m in second] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert Engine.last.asked[0].constrained and Engine.last.asked[0].temperature == 0.25 and Engine.last.down
    out = capsys.readouterr().out
    assert "[bold]kettle" in out and "\x1b" not in out and "A �[31mkettle" in out


def test_what_is_no_answer_is_said_and_forgotten(run, capsys, monkeypatch, fake):
    model = fake("Hm.", "Hm.", "Hm.", REPORT)
    typed(monkeypatch, "First?", "Second?")
    assert chat(config(model=model), [str(run)]) == 0
    out = capsys.readouterr().out
    assert out.count("neither a tool call nor a report") == 3 and "no report: error (no tool call and no report)" in out
    assert [m["role"] for m in Engine.last.asked[-1].messages] == ["system", "user"]


def test_one_question_without_an_answer_is_a_failure(run, fake):
    assert chat(config(model=fake("Hm."), query="What?"), [str(run)]) == 1


@pytest.fixture
def heard():
    """Ctrl-C reaches Python here even where the suite runs as a background job of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_stops_the_answer_not_the_chat(run, capsys, monkeypatch, fake, heard):
    model = fake(CALL, "^C", REPORT)
    typed(monkeypatch, "First?", "Second?")
    assert chat(config(model=model), [str(run)]) == 0
    out = capsys.readouterr().out
    assert "stopped" in out and "1. [P1]" in out and Engine.last.down
    assert [m["content"] for m in Engine.last.asked[-1].messages if m["role"] == "user"] == ["Second?"]


def test_what_the_run_trained_is_served_within_its_context(run, capsys, monkeypatch, fake):
    fake(REPORT)
    trained = run / "sft" / "model"
    trained.mkdir(parents=True)
    (trained / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))
    served = []
    monkeypatch.setattr(stage, "VLLMEngine", lambda settings, folder: served.append((settings, folder)) or Engine())
    try:
        assert chat(Config(run_dir=str(run), chat=ChatConfig(query="What?")), []) == 0
    finally:
        (trained / "config.json").unlink()
        trained.rmdir()
    settings, folder = served[0]
    assert folder == trained.resolve() and settings.max_model_len == 2048 and settings.model == str(trained)


def test_what_is_missing_is_said(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="prstack world"):
        chat(config(model="expert"), [])
    with pytest.raises(UserError, match=r"no world here.*prstack world"):
        chat(config(model="expert"), ["nowhere"])
    with pytest.raises(UserError, match=r"prstack sft.*chat\.model="):
        chat(config(), [str(run)])
    with pytest.raises(UserError, match="no such folder"):
        chat(config(model="./nothing", query="What?"), [str(run)])


def test_a_run_is_named_as_a_path_or_under_runs(run, query, capsys, monkeypatch):
    c = Config(runs=str(run.parent), chat=ChatConfig(model="expert", query=query))
    assert chat(c, ["one"]) == 0
