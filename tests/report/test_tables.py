"""Tables from manifests and funnels."""

import io
import json

import pytest
from rich.console import Console

from prstack.errors import UserError
from prstack.report.tables import (
    bytes_text,
    clean,
    count_text,
    folder_bytes,
    funnel_rows,
    funnel_table,
    print_summary,
    read_funnel,
    summary_table,
)
from prstack.store.rundir import Manifest

FUNNEL = {
    "stages": [
        {
            "name": "format",
            "in": 10,
            "out": 9,
            "rejected": {"no_report": 1},
            "tokens_in": 900,
            "tokens_out": 800,
            "examples": {"no_report": ["t7"]},
        },
        {
            "name": "score",
            "in": 9,
            "out": 6,
            "rejected": {"low": 1, "none": 2},
            "tokens_in": 800,
            "tokens_out": 500,
            "examples": {"none": ["t1", "t2"]},
        },
        {"name": "empty", "in": 0, "out": 0, "rejected": {}, "examples": {}},
    ]
}


def text(table) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(table)
    return out.getvalue()


def save(run, stage, **fields):
    Manifest(stage, fields.pop("status", "complete"), {}, {}, **fields).save(run / stage)


def test_summary_has_a_row_a_stage_in_the_order_of_the_run(tmp_path):
    save(
        tmp_path,
        "synthesis",
        started="2026-01-01T10:00:05",
        counts={"trajectories": 200},
        summary={"terminations": {"approved": 190, "time": 10}},
        seconds=61.25,
    )
    save(tmp_path, "world", started="2026-01-01T10:00:00", counts={"products": 1200, "users": 400}, seconds=2)
    save(tmp_path, "distill", started="2026-01-01T10:02:00", status="partial")
    (tmp_path / "world" / "big.bin").write_bytes(b"x" * 5000)
    shown = text(summary_table(tmp_path))
    assert shown.index("world") < shown.index("synthesis") < shown.index("distill")
    assert "1,200 products, 400 users" in shown and "approved 190, time 10" in shown
    assert "not finished" in shown and "63.2" in shown
    assert bytes_text(folder_bytes(tmp_path / "world")) in shown


def test_funnel_shares_reasons_and_examples():
    rows = funnel_rows(FUNNEL)
    assert [r["kept"] for r in rows] == [0.9, 6 / 9, 0.0]
    assert [r["reason"] for r in rows[1]["reasons"]] == ["none", "low"]
    shown = text(funnel_table(FUNNEL))
    assert "67%" in shown and "none 2 (t1, t2)" in shown and "800" in shown


def test_print_summary_reads_what_lies_in_the_run(tmp_path, capsys):
    save(tmp_path, "distill", counts={"kept": 6})
    (tmp_path / "distill" / "funnel.json").write_text(json.dumps(FUNNEL))
    print_summary(tmp_path)
    out = capsys.readouterr().out
    assert "6 kept" in out and "no_report 1 (t7)" in out and f"prstack view {tmp_path}" in out


@pytest.mark.parametrize("content", ["{", "[]", '{"stages": [{"name": "x"}]}'])
def test_a_broken_funnel_is_named(tmp_path, content):
    (tmp_path / "funnel.json").write_text(content)
    with pytest.raises(UserError, match=r"funnel.json"):
        read_funnel(tmp_path / "funnel.json")


def test_text_of_records_cannot_steer_a_terminal():
    shown = clean("[red]x[/red]\x1b[2Jy\u202ez\ud800\tq")
    assert shown.plain == "[red]x[/red]\ufffd[2Jy\ufffdz\ufffd\tq" and not shown.spans
    assert clean("1\u00a0299,00\u3000円 é\u2028\x9b").plain == "1\u00a0299,00\u3000円 é\ufffd\ufffd"


def test_counts_and_sizes_in_words():
    assert count_text({"kept_share": 0.98333, "packs": 3}) == "kept share 0.983, 3 packs"
    assert count_text({"ok": True, "by": {"a": 1}}) == "ok: True; by: a 1"
    assert [bytes_text(n) for n in (0, 1023, 1024, 5 << 30, 3 << 40)] == ["0 B", "1023 B", "1.0 KiB", "5.0 GiB", "3.0 TiB"]
