"""Episodes that are not internalised: corrections as user turns, or left out."""

from __future__ import annotations

import copy

import pytest

from prstack.distill.checker import violations
from prstack.distill.distiller import Distiller, Frame
from prstack.distill.supervised import as_it_was
from prstack.prompts import Prompts
from prstack.settings import DistillConfig, FilterConfig
from prstack.stages.models import SMOLLM2, resolve_tokenizer
from prstack.tools.schemas import SCHEMAS
from tests.factories import FLAGS, PLAN, VAGUE_PLAN, trajectories, trajectory

PROMPTS = Prompts()
WAYS = pytest.mark.parametrize("prompts", [PROMPTS, None], ids=["turns", "none"])


def roles(messages: list[dict]) -> list[str]:
    return [m["role"] for m in messages]


def test_corrections_stay_as_the_turns_in_which_the_agent_was_told_them():
    made = as_it_was(trajectory(1, vague_plan=True, duplicate=True, bad_report=True), "SYSTEM", PROMPTS)
    assert roles(made.messages)[2:] == ["assistant", "user", *["assistant", "tool"] * 3, "user", "assistant", "tool", "assistant", "user", "assistant"]
    assert made.messages[2]["content"] == VAGUE_PLAN and made.messages[4]["content"] == PLAN
    told = [m["content"] for m in made.messages[2:] if m["role"] == "user"]
    assert [t.splitlines()[0] for t in told] == [f"Your last step needs correcting ({state})." for state in ("plan", "toolcall", "report")]
    assert "same arguments before" in told[1] and made.reflections == 3


def test_without_them_what_was_sent_back_stays_and_nothing_speaks_of_it():
    t = trajectory(1, vague_plan=True, duplicate=True, bad_report=True)
    t.steps[2].reasoning += " The supervisor wants more needs."
    made = as_it_was(t, "SYSTEM", None)
    assert roles(made.messages)[2:] == [*["assistant", "tool"] * 4, "assistant", "assistant"]
    assert made.messages[2]["content"] == f"{VAGUE_PLAN}\n\n{PLAN}"
    assert "warranty" in made.messages[-2]["content"] and made.messages[-1]["content"] == t.reports[-1]
    assert "supervisor" not in str(made.messages) and made.reflections == 3


def test_a_call_that_no_trainer_can_hold_goes_with_its_correction():
    made = as_it_was(trajectory(1, not_json=True), "SYSTEM", PROMPTS)
    assert roles(made.messages).count("user") == 1 and made.dropped_calls == 1 and made.messages[2]["content"] == PLAN


@WAYS
def test_every_mix_of_mistakes_is_sound(prompts):
    for t in [trajectory(3, **dict.fromkeys(FLAGS, True)), *trajectories(30)]:
        assert violations(t, as_it_was(t, "SYSTEM", prompts).messages, "keep_corrected", internalised=False) == []


@WAYS
def test_a_changed_result_call_or_report_is_found(prompts):
    t = trajectory(1, duplicate=True, bad_report=True)
    sound = as_it_was(t, "SYSTEM", prompts).messages
    at = next(n for n, m in enumerate(sound) if m.get("tool_calls"))

    def faults(change) -> set[str]:
        messages = copy.deepcopy(sound)
        change(messages)
        return {v.kind for v in violations(t, messages, "keep_corrected", internalised=False)}

    assert faults(lambda ms: ms[at + 1].update(content="other")) == {"result_changed"}
    assert faults(lambda ms: ms[at]["tool_calls"][0]["function"].update(arguments="{}")) == {"call_changed"}
    assert faults(lambda ms: ms[-1].update(content="<report>\nother\n</report>")) == {"report_changed"}
    assert faults(lambda ms: ms[1].update(content="other")) == {"query"}
    assert "call_lost" in faults(lambda ms: ms.__delitem__(slice(at, at + 2)))
    assert faults(lambda ms: ms.append({"role": "system", "content": "x"})) == {"role"}


def test_corrections_are_read_and_not_trained_on():
    folder = resolve_tokenizer(SMOLLM2)
    t = trajectory(1, vague_plan=True, bad_report=True)
    learned = {}
    for how in ("rule", "turns", "none"):
        distil = Distiller(DistillConfig(internalise=how, filters=FilterConfig()), folder, Frame("You shop.", SCHEMAS))
        out = distil(t)
        learned[how] = distil.renderer.decode([i for i, m in zip(out.input_ids, out.loss_mask, strict=True) if m])
        assert out.row["reflections"] == 2 and out.row["by_model"] == 0
    assert "needs correcting" not in learned["turns"] + learned["none"] and "warranty: 5 years" in learned["turns"]
    assert "I plan" in learned["rule"] or "my plan" in learned["rule"]
    assert "my plan leaves out" not in learned["turns"] + learned["none"]
