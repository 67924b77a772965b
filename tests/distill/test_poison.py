"""Poisoned input of distillation: each kind is put aside with file and line, the rest goes on, and the counts add up."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prstack.config import load
from prstack.distill import pipeline, reading
from prstack.distill.export import DATASET_SCHEMA
from prstack.distill.reading import trajectories
from prstack.report.tracking import Tracker
from prstack.settings import DistillConfig
from prstack.stages import distill
from prstack.stages.models import SMOLLM2, resolve_tokenizer
from prstack.store.parts import Parts
from prstack.store.records import Bad, adapter, to_row
from prstack.store.rundir import RunDir
from prstack.types import Trajectory, arrow_schema
from tests.factories import trajectory

DEEP = 100_000


def text(n: int = 0) -> str:
    return json.dumps(to_row(trajectory(n)))


def field(path: str, value: object) -> str:
    """A record with another value at a path."""
    row = to_row(trajectory(0))
    *keys, last = (int(k) if k.isdigit() else k for k in path.split("."))
    at = row
    for k in keys:
        at = at[k]
    at[last] = value
    return json.dumps(row)


LINES: dict[str, tuple[str | bytes, str, str]] = {
    "broken JSON": (text()[:-40], "", "not JSON"),
    "two records in a line": (text() + text(1), "", "not JSON"),
    "no object": ("[1, 2]", "", "JSON object"),
    "nothing but null": ("null", "", "JSON object"),
    "an unknown role": (field("steps.0.role", "narrator"), "steps.0.role", "Input should be"),
    "an unknown state": (field("steps.2.state", "daydream"), "steps.2.state", "Input should be"),
    "NaN as a score": (field("scores.0", float("nan")), "scores.0", "finite"),
    "an endless score": (text().replace('"scores": [1.0]', '"scores": [1e999]'), "scores.0", "finite"),
    "NaN as a weight": (field("rubric.0.weight", float("nan")), "rubric.0.weight", "finite"),
    "half a surrogate pair": (field("query", "blender \ud83d"), "", "not JSON"),
    "half a pair in a key": (text()[:-1] + ', "\\ud800": 1}', "", "not JSON"),
    "deep nesting": ('{"id": ' + "[" * DEEP + "]" * DEEP + "}", "", "nested too deeply"),
    "nesting that just parses": (text()[:-1] + ', "more": ' + "[" * 400 + "]" * 400 + "}", "more", "nexpected"),
    "a missing field": (text().replace('"query"', '"question"', 1), "query", "required"),
    "a text for a number": (field("seed", "many"), "seed", "integer"),
    "steps that are a text": (field("steps", "none"), "steps", "list"),
    "bytes that are no text": (text().encode().replace(b"Mira", b"M\xff\xfera", 1), "", "not JSON"),
    "a number too long to read": (text().replace('"seed": 0', '"seed": ' + "9" * 6000), "", "not JSON"),
}


def write(path: Path, lines: list[str | bytes]) -> None:
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))


@pytest.mark.parametrize("name", LINES)
def test_a_poisoned_line_is_put_aside_with_its_line_and_field(tmp_path, name):
    line, at, reason = LINES[name]
    write(tmp_path / "p.jsonl", [text(1), line, "", text(2)])
    found = list(trajectories(tmp_path / "p.jsonl"))
    bad = [b for b in found if isinstance(b, Bad)]
    assert [(f[0], f[1].id) for f in found if not isinstance(f, Bad)] == [(1, "t0001"), (4, "t0002")]
    assert [(b.file, b.line, b.field) for b in bad] == [(str(tmp_path / "p.jsonl"), 2, at)] and reason in bad[0].reason
    json.dumps([bad[0].reason, bad[0].excerpt], ensure_ascii=False).encode()  # can be written
    assert len(bad[0].excerpt) <= 500


def test_a_line_of_fifty_megabytes_is_not_read_into_memory(tmp_path):
    with open(tmp_path / "p.jsonl", "wb") as f:
        f.write(text(1).encode() + b'\n{"id": "')
        for _ in range(50):
            f.write(b"x" * (1 << 20))
        f.write(b'"}\n' + text(2).encode() + b"\n")
    found = list(trajectories(tmp_path / "p.jsonl"))
    assert [f[0] for f in found if not isinstance(f, Bad)] == [1, 3]
    (bad,) = (b for b in found if isinstance(b, Bad))
    assert bad.line == 2 and "52428" in bad.reason and len(bad.excerpt) <= 500


def parquet(path: Path, rows: list[dict]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(Trajectory)), path)


def test_poisoned_rows_of_parquet_are_put_aside_with_their_row(tmp_path, monkeypatch):
    rows = [to_row(trajectory(n)) for n in range(9)]
    rows[1]["steps"][0]["role"] = "narrator"
    rows[3]["scores"] = [float("nan")]
    rows[4]["query"] = None
    rows[6]["steps"][2]["tool_result"]["text"] = "x" * 9000
    parquet(tmp_path / "p.parquet", rows)
    spoiled = (tmp_path / "p.parquet").read_bytes()
    monkeypatch.setattr(reading, "MAX_LINE", 9000)
    assert b"t0008" in spoiled
    found = list(trajectories(tmp_path / "p.parquet"))
    assert [(f[0], f[1].id) for f in found if not isinstance(f, Bad)] == [(1, "t0000"), (3, "t0002"), (6, "t0005"), (8, "t0007"), (9, "t0008")]
    assert [(b.line, b.field) for b in found if isinstance(b, Bad)] == [(2, "steps.0.role"), (4, "scores.0"), (5, "query"), (7, "")]


def test_a_row_whose_bytes_are_no_text_is_put_aside(tmp_path):
    table = pa.Table.from_pylist([to_row(trajectory(n)) for n in range(3)], schema=arrow_schema(Trajectory))
    texts = pa.array([b"fine", b"M\xff\xfera", b"fine"], pa.large_binary()).view(pa.large_string())
    pq.write_table(table.set_column(table.schema.get_field_index("query"), table.schema.field("query"), texts), tmp_path / "p.parquet")
    found = list(trajectories(tmp_path / "p.parquet"))
    assert [(b.line, b.reason[:8]) for b in found if isinstance(b, Bad)] == [(2, "not text")]
    assert [(f[0], f[1].query) for f in found if not isinstance(f, Bad)] == [(1, "fine"), (3, "fine")]


def settings() -> tuple[DistillConfig, str]:
    return DistillConfig(), str(resolve_tokenizer(SMOLLM2))


def strange() -> list[Trajectory]:
    """Well-formed records whose texts no step should stumble over."""
    made = [trajectory(n, id=f"s{n}") for n in range(7)]
    made[0].steps[2].tool_call.arguments = "[" * DEEP + "]" * DEEP
    made[1].steps[2].tool_call.arguments = '{"query": ' * 2000 + "1" + "}" * 2000
    made[2].reports[-1] = made[2].steps[-2].content = "<report>\n" + "- " * 20_000 + "\n</report>"
    made[3].steps[2].tool_result.text = "[1] P1 | " + "a | " * 20_000
    made[4].steps[2].reasoning = "\x00\x1b[31m<|im_end|>\u202e" + "\U0001f600" * 500
    made[5].query = "(" * 5000 + "a+" * 2000
    made[6].steps[2].verdict = made[6].steps[3].verdict
    return made


def test_strange_texts_are_kept_or_rejected_and_never_end_the_work():
    from prstack.distill.distiller import Frame
    from prstack.tools.schemas import SCHEMAS

    worker = pipeline._Worker(*settings(), Frame("You shop.", SCHEMAS))
    for t in strange():
        row = {"kind": "record", "id": t.id, "file": "f", "line": 3, "record": adapter(Trajectory).dump_json(t).decode()}
        assert worker._row(row)["kind"] in ("kept", "rejected"), t.id


def test_a_record_on_which_a_step_fails_is_put_aside_with_the_error(monkeypatch):
    from prstack.distill import distiller
    from prstack.distill.distiller import Frame
    from prstack.tools.schemas import SCHEMAS

    worker = pipeline._Worker(*settings(), Frame("You shop.", SCHEMAS))
    monkeypatch.setattr(distiller, "internalise", lambda t, *a: 1 / 0)
    row = {"kind": "record", "id": "t1", "file": "x.jsonl", "line": 7, "record": adapter(Trajectory).dump_json(trajectory(1)).decode()}
    out = worker._row(row)
    assert out["kind"] == "bad"
    bad = json.loads(out["record"])
    assert (bad["file"], bad["line"], bad["excerpt"]) == ("x.jsonl", 7, "t1") and "ZeroDivisionError" in bad["reason"]


@pytest.mark.usefixtures("ray_local")
def test_the_rest_goes_on_and_the_counts_add_up(tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    good = [trajectory(n, id=f"g{n}") for n in range(20, 26)]
    lines = [x for (line, _, _), t in zip(LINES.values(), [*good, *[None] * 20], strict=False) for x in (line, *([json.dumps(to_row(t))] if t else []))]
    write(source / "a.jsonl", lines)
    write(source / "b.jsonl", [json.dumps(to_row(t)) for t in strange()])
    rows = [to_row(trajectory(n, id=f"p{n}")) for n in range(40, 44)]
    rows[2]["scores"] = [float("nan")]
    parquet(source / "c.parquet", rows)
    config = load([f"distill.input={source}", "distill.tokenizer=smollm2-135m-instruct", "tracking.wandb=disabled"])
    run = RunDir(tmp_path / "run", {})
    with Tracker(run.path, config.tracking, "test", {}) as tracker:
        counts = distill.run(config, run, tracker).counts
    run.close()
    assert counts["read"] == counts["kept"] + counts["rejected"] + counts["quarantined"] == len(LINES) + 6 + 7 + 4
    assert counts["quarantined"] == len(LINES) + 1
    bad = [json.loads(line) for line in (tmp_path / "run" / "distill" / "quarantine.jsonl").read_text().splitlines()]
    poisoned = [("a.jsonl", n) for n, line in enumerate(lines, 1) if "g2" not in str(line[:12])]
    assert [(Path(b["file"]).name, b["line"]) for b in bad] == [*poisoned, ("c.parquet", 3)]
    kept = {r["id"] for r in Parts(tmp_path / "run" / "distill" / "dataset", schema=DATASET_SCHEMA).rows(["id"])}
    assert kept >= {t.id for t in good} | {"p40", "p41", "p43"}
    assert "could not be read" in capsys.readouterr().out
