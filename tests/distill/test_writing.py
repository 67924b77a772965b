"""Reflections by a model: what is taken, refused and asked for again, and what stays the rule's. The models are scripts."""

from __future__ import annotations

import asyncio
import json

import pyarrow as pa
import pytest

from prstack.distill import pipeline
from prstack.distill.checker import violations
from prstack.distill.distiller import Distiller, Frame
from prstack.distill.internalise import internalise
from prstack.distill.reflections import first_person
from prstack.distill.writing import AT_ONCE, LONGEST, Unanswered, Writer, tally
from prstack.prompts import Prompts, json_lines, sections
from prstack.settings import DistillConfig, FilterConfig
from prstack.stages.models import SMOLLM2, resolve_tokenizer
from prstack.store.records import to_row
from prstack.tools.schemas import SCHEMAS
from tests.factories import FLAGS, trajectories, trajectory

ALL = dict.fromkeys(FLAGS, True)


def reply(texts: list[object]) -> str:
    return json.dumps({"reflections": [{"n": n, "reflection": text} for n, text in enumerate(texts, 1)]})


def good(mistake: dict) -> str:
    return f"Looking back, I notice this: {first_person(mistake['wrong'][0], 'my step was wrong')}. I do better now."


class Script:
    """A model that answers the n-th request with the n-th function of the prompt's mistakes, the last again and again."""

    def __init__(self, *replies):
        self.replies, self.asked = replies, []

    async def __call__(self, prompt: str, schema: dict, seed: int, episode: str, max_tokens: int) -> str:
        parts = sections(prompt)
        self.asked.append({"mistakes": json_lines(parts["Mistakes"]), "refused": json_lines(parts.get("Refused", "")), "schema": schema, "seed": seed})
        return self.replies[min(len(self.asked), len(self.replies)) - 1](self.asked[-1]["mistakes"])


def write(t, script, attempts: int = 3, policy: str = "keep_corrected"):
    return asyncio.run(Writer(script, Prompts(), attempts).write(t, "SYSTEM", policy))


def well(mistakes: list[dict]) -> str:
    return reply([good(m) for m in mistakes])


@pytest.mark.parametrize("policy", ["keep_corrected", "drop"])
def test_what_a_model_writes_well_stands_before_the_better_action(policy):
    for t in [trajectory(1, **ALL), *trajectories(12)]:
        script = Script(well)
        written = write(t, script, policy=policy)
        made = internalise(t, "SYSTEM", policy, written.reflections)
        assert written.fallbacks == {} and set(written.reflections) == {c.key for c in made.corrections}
        assert violations(t, made.messages, policy) == []
        text = "\n".join(m.get("reasoning_content", "") for m in made.messages)
        assert all(text.count(r) == 1 for r in written.reflections.values())
        assert written.requests == len(script.asked) == -(-made.reflections // AT_ONCE)


def test_the_model_sees_the_mistake_what_was_wrong_and_the_better_step():
    script = Script(well)
    write(trajectory(1, duplicate=True, bad_report=True), script)
    call, report = script.asked[0]["mistakes"]
    assert call["kind"] == "toolcall" and call["did"].startswith("visit_product") and call["wrong"] == ["visit_product was called with the same arguments before"]
    assert "visit_product" in call["next"] and call["next"] != call["did"]
    assert report["kind"] == "report" and "warranty" in report["did"] and "warranty" not in report["next"]
    assert len(script.asked[0]["schema"]["properties"]["reflections"]["prefixItems"]) == 2


def test_only_what_was_refused_is_asked_for_again_with_the_reason():
    t = trajectory(1, vague_plan=True, duplicate=True)
    half = lambda ms: reply([good(ms[0]), "My supervisor says that visit_product was called with the same arguments before."])  # noqa: E731
    script = Script(half, well)
    written = write(t, script)
    assert len(written.reflections) == 2 and written.fallbacks == {} and written.requests == 2
    first, second = script.asked
    assert [m["n"] for m in second["mistakes"]] == [1] and second["mistakes"][0]["kind"] == "toolcall"
    (told,) = second["refused"]
    assert told["n"] == 1 and "supervisor" in told["reflection"] and "noticed by itself" in told["because"]
    assert first["refused"] == [] and first["seed"] != second["seed"]


@pytest.mark.parametrize(
    ("reason", "answer"),
    [
        ("voice", lambda ms: reply(["You should know: visit_product was called with the same arguments before, I see."] * len(ms))),
        ("marker", lambda ms: reply(["I called visit_product with the same arguments before. <tool_call>"] * len(ms))),
        ("reflection_missing", lambda ms: reply(["I think about the weather."] * len(ms))),
        ("reflection_missing", lambda ms: reply(["The call visit_product had the same arguments before."] * len(ms))),
        ("empty", lambda ms: reply(["  \n "] * len(ms))),
        ("too_long", lambda ms: reply(["I repeat my call. " * LONGEST] * len(ms))),
        ("malformed", lambda ms: '{"reflections": [{"n": 1, "refl'),
        ("malformed", lambda ms: "I am sorry, but I cannot."),
        ("malformed", lambda ms: reply([good(m) for m in ms] + ["One more."])),
        ("malformed", lambda ms: reply([7] * len(ms))),
        ("malformed", lambda ms: '{"reflections": "none"}'),
    ],
)
def test_what_never_comes_well_stays_the_rules_and_is_counted(reason, answer):
    t = trajectory(1, duplicate=True)
    script = Script(answer)
    written = write(t, script, attempts=2)
    assert written.reflections == {} and written.fallbacks == {"toolcall-2": reason}
    assert written.requests == len(script.asked) == 2 and script.asked[1]["refused"][0]["because"]
    assert internalise(t, "S", "keep_corrected", written.reflections) == internalise(t, "S", "keep_corrected")


def test_an_engine_that_does_not_answer_is_not_asked_again():
    async def lost(*_):
        raise Unanswered("engine:context")

    written = write(trajectory(1, duplicate=True, vague_plan=True), lost)
    assert written.fallbacks == {"plan-0": "engine:context", "toolcall-2": "engine:context"} and written.requests == 1


def test_where_nothing_is_to_be_written_nothing_is_asked():
    twice = trajectory(1)
    twice.steps += twice.steps[2:4]  # a call made twice and never corrected: the check refuses the conversation
    script = Script(well)
    assert write(trajectory(1), script) == write(twice, script)
    assert script.asked == []


def test_rows_account_for_every_reflection():
    distil = Distiller(DistillConfig(internalise="llm", filters=FilterConfig(max_tool_error_rate=1.0)), resolve_tokenizer(SMOLLM2), Frame("You shop.", SCHEMAS))
    mixed = lambda ms: reply([good(m) if m["kind"] == "plan" else "You did wrong." for m in ms])  # noqa: E731
    writer = Writer(Script(mixed), Prompts(), 2)
    ts = [trajectory(n, id=f"t{n}", vague_plan=n % 2 == 0, bad_report=n > 2) for n in range(5)] + [trajectory(9, id="late", termination="time", vague_plan=True)]
    out = [asyncio.run(distil.write(t, writer)) for t in ts]
    assert out[-1].rejected and not out[-1].row and all(o.row for o in out[:-1])
    rows = [o.row for o in out[:-1]]
    for row in rows:
        assert row["reflections"] == row["by_model"] + len(json.loads(row["fallbacks"]))
    assert tally(rows) == {"reflections": 5, "by_model": 3, "fallbacks": {"voice": 2}}
    assert json.loads(rows[4]["fallbacks"]) == {"report-0": "voice"}
    (pair,) = out[4].pairs  # its prompt holds the model's reflection on the plan as well
    text = next(m["reasoning_content"] for m in rows[4]["messages"] if m["role"] == "assistant")
    assert "Looking back, I notice this" in text and pair["prompt"][2]["reasoning_content"] == text


def test_records_of_a_chunk_are_written_together_and_come_out_in_order():
    waiting: list[int] = []

    async def slow(prompt: str, *_) -> str:
        waiting.append(1)
        most.append(len(waiting))
        await asyncio.sleep(0.02 if len(most) % 2 else 0.001)
        waiting.pop()
        return well(json_lines(sections(prompt)["Mistakes"]))

    most: list[int] = []
    worker = pipeline._WritingWorker(
        DistillConfig(internalise="llm"), str(resolve_tokenizer(SMOLLM2)), Frame("You shop.", SCHEMAS), lambda: Writer(slow, Prompts())
    )
    rows = [{"kind": "record", "id": f"t{n}", "file": "f", "line": n, "record": json.dumps(to_row(trajectory(n, id=f"t{n}", vague_plan=True)))} for n in range(6)]
    rows[2]["record"], rows[4] = "{", rows[4] | {"kind": "done", "record": None}
    out = asyncio.run(worker(pa.Table.from_pylist(rows, schema=pipeline._INPUT))).to_pylist()
    assert [r["kind"] for r in out] == ["kept", "kept", "bad", "kept", "done", "kept"]
    assert [json.loads(out[n]["record"])["by_model"] for n in (0, 1, 3, 5)] == [1, 1, 1, 1] and max(most) == 4
    assert [out[n]["id"] for n in (0, 1, 3, 5)] == ["t0", "t1", "t3", "t5"] and json.loads(out[2]["record"])["line"] == 2
