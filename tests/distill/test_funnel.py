from __future__ import annotations

import pytest

from prstack.distill import funnel

STEPS = ["format", "score", "my.module:own"]


def rejected(id, step, reason, tokens=10):
    return {"id": id, "stage": f"distill/{step}", "reason": reason, "tokens": tokens}


def test_what_goes_out_of_a_step_comes_into_the_next():
    gone = [rejected("b", "format", "format:no_plan"), rejected("a", "format", "format:no_report", 7), rejected("c", "my.module:own", "glass", 5)]
    stages = funnel.build(STEPS, [{"source_tokens": 100}, {"source_tokens": 50}], gone)["stages"]
    assert [(s["name"], s["in"], s["out"], s["tokens_in"], s["tokens_out"]) for s in stages] == [
        ("format", 5, 3, 172, 155),
        ("score", 3, 3, 155, 155),
        ("my.module:own", 3, 2, 155, 150),
    ]
    assert stages[0]["rejected"] == {"format:no_plan": 1, "format:no_report": 1} and stages[1]["rejected"] == {}
    assert stages[2]["examples"] == {"glass": ["c"]}


def test_examples_are_few_and_do_not_depend_on_the_order():
    gone = [rejected(f"t{i}", "score", "score") for i in range(20)]
    one, other = (funnel.build(STEPS, [], g)["stages"][1] for g in (gone, gone[::-1]))
    assert one == other and len(one["examples"]["score"]) == funnel.EXAMPLES and one["rejected"] == {"score": 20}


def test_a_reason_of_no_step_is_a_defect():
    with pytest.raises(ValueError, match="no step"):
        funnel.build(STEPS, [], [rejected("a", "grounding", "grounding")])
