from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from prstack.distill import funnel
from prstack.report.run_report import read_run
from prstack.report.viewer import render_report
from prstack.store.rundir import Manifest

STEPS = ["format", "score", "my.module:own"]


def rejected(id, step, reason, tokens=10):
    return {"id": id, "stage": f"distill/{step}", "reason": reason, "detail": f"why {id}", "tokens": tokens}


def test_what_goes_out_of_a_step_comes_into_the_next():
    gone = [rejected("b", "format", "format:no_plan"), rejected("a", "format", "format:no_report", 7), rejected("c", "my.module:own", "glass", 5)]
    stages = funnel.build(STEPS, [{"source_tokens": 100}, {"source_tokens": 50}], gone)["stages"]
    assert [(s["name"], s["in"], s["out"], s["tokens_in"], s["tokens_out"]) for s in stages] == [
        ("format", 5, 3, 172, 155),
        ("score", 3, 3, 155, 155),
        ("my.module:own", 3, 2, 155, 150),
    ]
    assert stages[0]["rejected"] == {"format:no_plan": 1, "format:no_report": 1} and stages[1]["rejected"] == {}
    assert stages[2]["examples"] == {"glass": ["c"]} and stages[2]["details"] == {"glass": ["why c"]}


def test_examples_are_few_and_do_not_depend_on_the_order():
    gone = [rejected(f"t{i}", "score", "score") for i in range(20)]
    one, other = (funnel.build(STEPS, [], g)["stages"][1] for g in (gone, gone[::-1]))
    assert one == other and len(one["examples"]["score"]) == funnel.EXAMPLES and one["rejected"] == {"score": 20}


def test_those_that_were_spared_go_out_and_are_counted():
    kept = [{"source_tokens": 10, "spared": "score"}, {"source_tokens": 10, "spared": ""}, {"source_tokens": 10, "spared": None}]
    stages = funnel.build(STEPS, kept, [rejected("a", "score", "score")])["stages"]
    assert [(s["spared"], s["out"]) for s in stages] == [(0, 4), (1, 3), (0, 3)]


def test_the_parquet_file_holds_the_same(tmp_path):
    gone = [rejected("b", "format", "format:no_plan"), rejected("a", "format", "format:no_report", 7)]
    made = funnel.build(STEPS, [{"source_tokens": 100}], gone)
    funnel.write(tmp_path, made)
    assert json.loads((tmp_path / "funnel.json").read_text()) == made
    rows = pq.read_table(tmp_path / "funnel.parquet").to_pylist()
    assert [(r["name"], r["reason"], r["rejected"], r["in"], r["out"], r["tokens_out"]) for r in rows] == [
        ("format", "format:no_plan", 1, 3, 1, 100),
        ("format", "format:no_report", 1, 3, 1, 100),
        ("score", None, 0, 1, 1, 100),
        ("my.module:own", None, 0, 1, 1, 100),
    ]
    assert rows[0]["examples"] == ["b"] and rows[0]["details"] == ["why b"]


def test_a_reason_of_no_step_is_a_defect():
    with pytest.raises(ValueError, match="no step"):
        funnel.build(STEPS, [], [rejected("a", "grounding", "grounding")])


def test_the_report_of_a_run_shows_tokens_and_five_examples_with_their_details(tmp_path):
    gone = [rejected(f"t{i}", "score", "score") for i in range(9)] + [rejected("a<b>", "format", "format:no_plan")]
    (tmp_path / "run.json").write_text('{"name": "a run"}')
    Manifest("distill", "complete", {}, {}, counts={"kept": 1}).save(tmp_path / "distill")
    funnel.write(tmp_path / "distill", funnel.build(STEPS, [{"source_tokens": 1234}], gone))
    page = render_report(read_run(tmp_path), {})
    part = page.partition('<section id="funnel">')[2].partition("</section>")[0]
    assert "1,334" in part and "1,234" in part and "why a&lt;b&gt;" in part and "<b>" not in part.partition("<details>")[2]
    assert [f"why t{i}" in part for i in range(9)] == [True] * 5 + [False] * 4
