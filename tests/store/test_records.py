"""Readers: good records come out, every bad one is put aside with file, line and field, and the numbers add up."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prstack.errors import UserError
from prstack.store import records
from prstack.store.parts import write_table
from prstack.store.records import (
    Bad,
    canonical_json,
    data_files,
    from_row,
    read_json_lines,
    read_jsonl,
    read_parquet,
    read_records,
    to_row,
)
from prstack.types import SCHEMA_VERSION, Event, History, Product, Review, Trajectory, arrow_schema
from tests.factories import trajectory

GOOD = {"id": "r1", "product_id": "p1", "rating": 4.0, "text": "fine", "user_id": "u1"}


def line(**changes) -> bytes:
    return json.dumps(GOOD | changes).encode()


def read(path, cls=Review) -> tuple[list, list[Bad]]:
    bad: list[Bad] = []
    return list(read_jsonl(path, cls, bad.append)), bad


@pytest.mark.parametrize(
    ("broken", "field", "reason"),
    [
        (b'{"id": "r2", ', "", "not JSON"),
        (b'{"id": "r2"', "", "not JSON"),
        (b"\xff\xfe\x00", "", "not JSON"),
        (b"[1, 2]", "", "expected a JSON object, found list"),
        (b"null", "", "expected a JSON object, found NoneType"),
        (b'"text"', "", "expected a JSON object, found str"),
        (b"12", "", "expected a JSON object, found int"),
        (line(colour="red"), "colour", "Unexpected keyword argument"),
        (b'{"id": "r2", "product_id": "p", "rating": NaN, "text": "t"}', "rating", "finite"),
        (b'{"id": "r2", "product_id": "p", "rating": Infinity, "text": "t"}', "rating", "finite"),
        (b'{"id": "r2", "product_id": "p", "rating": 1e999, "text": "t"}', "rating", "finite"),
        (line(rating="many"), "rating", "valid number"),
        (line(rating=None), "rating", "valid number"),
        (line(text=5), "text", "valid string"),
        (line(text=["a"]), "text", "valid string"),
        (b'{"id": "r2", "rating": 1, "text": "t"}', "product_id", "required"),
        (b'{"id": "r2", "product_id": "\\ud800", "rating": 1, "text": "t"}', "", "surrogates not allowed"),
        (b"[" * 200_000 + b"]" * 200_000, "", "nested too deeply"),
        (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "", "nested too deeply"),
        (b'{"id": ' + b"9" * 5000 + b"}", "", "not JSON"),
    ],
    ids=lambda v: v.decode(errors="replace")[:40] if isinstance(v, bytes) else None,
)
def test_a_bad_line_is_put_aside_and_its_neighbours_are_read(tmp_path, broken, field, reason):
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(line() + b"\n" + broken + b"\n" + line(id="r3") + b"\n")
    good, bad = read(path)
    assert [r.id for r in good] == ["r1", "r3"]
    (b,) = bad
    assert (b.file, b.line, b.field) == (str(path), 2, field)
    assert reason in b.reason, b.reason
    assert str(b).startswith(f"{path}:2:") and len(b.excerpt) <= 500


def test_a_line_over_the_limit_is_put_aside_unparsed(tmp_path):
    path = tmp_path / "big.jsonl"
    path.write_bytes(line() + b"\n" + line(text="x" * (33 << 20)) + b"\n" + line(id="r3"))
    good, bad = read(path)
    assert [r.id for r in good] == ["r1", "r3"] and bad[0].line == 2 and "limit" in bad[0].reason


def test_only_newlines_end_a_line_and_empty_lines_count(tmp_path):
    path = tmp_path / "reviews.jsonl"
    text = "a\u2028b\u2029c\x0cd\x85e\x1cf"
    path.write_text(json.dumps(GOOD | {"text": text}, ensure_ascii=False) + "\r\n\n  \n{\n", encoding="utf-8", newline="")
    good, bad = read(path)
    assert [r.text for r in good] == [text] and [b.line for b in bad] == [4]


def test_the_field_of_a_nested_mistake_is_named(tmp_path):
    row = to_row(trajectory(1))
    row["steps"][2]["tool_call"]["arguments"] = {"not": "text"}
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(row))
    _, (bad,) = read(path, Trajectory)
    assert bad.field == "steps.2.tool_call.arguments" and f"{path}:1: field steps.2.tool_call.arguments:" in str(bad)


def test_a_value_outside_a_closed_list_is_named(tmp_path):
    path = tmp_path / "h.jsonl"
    path.write_text(json.dumps({"user_id": "u", "events": [{"id": "e", "type": "stare"}]}))
    _, (bad,) = read(path, History)
    assert bad.field == "events.0.type" and "'purchase'" in bad.reason


def test_lines_of_other_objects_come_with_their_numbers(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('\n{"a": 1}\n7\n{"b": 2}')
    bad: list[Bad] = []
    assert list(read_json_lines(path, bad.append)) == [(2, {"a": 1}), (4, {"b": 2})]
    assert [b.line for b in bad] == [3]


# --- Parquet -----------------------------------------------------------------------------------------------------
def test_parquet_gives_what_was_written(tmp_path):
    made = [trajectory(n, bad_report=n % 2 == 0) for n in range(3)]
    write_table(pa.Table.from_pylist([to_row(t) for t in made], schema=arrow_schema(Trajectory)), tmp_path / "t.parquet")
    assert list(read_parquet(tmp_path / "t.parquet", Trajectory, pytest.fail)) == made


def test_a_bad_row_is_put_aside_with_its_number(tmp_path):
    rows = [GOOD, GOOD | {"id": "r2", "rating": float("nan")}, GOOD | {"id": "r3"}, GOOD | {"id": None}]
    write_table(pa.Table.from_pylist(rows, schema=arrow_schema(Review)), tmp_path / "r.parquet")
    bad: list[Bad] = []
    good = list(read_parquet(tmp_path / "r.parquet", Review, bad.append))
    assert [r.id for r in good] == ["r1", "r3"]
    assert [(b.line, b.field) for b in bad] == [(2, "rating"), (4, "id")]


def test_a_parquet_file_of_something_else_is_all_bad(tmp_path):
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "x.parquet")
    bad: list[Bad] = []
    assert list(read_parquet(tmp_path / "x.parquet", Review, bad.append)) == [] and len(bad) == 2


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_file_that_is_no_parquet_is_one_error(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"x.parquet: not a readable Parquet file"):
        list(read_parquet(tmp_path / "x.parquet", Review, pytest.fail))


def test_a_cut_off_parquet_file_is_one_error(tmp_path):
    write_table(pa.Table.from_pylist([GOOD] * 50, schema=arrow_schema(Review)), tmp_path / "whole.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-200])
    with pytest.raises(UserError, match=r"cut.parquet"):
        list(read_parquet(tmp_path / "cut.parquet", Review, pytest.fail))


def test_a_damaged_page_is_one_error(tmp_path):
    path = tmp_path / "r.parquet"
    write_table(
        pa.Table.from_pylist(
            [GOOD | {"id": f"r{n}", "text": f"text {n * 7919 % 1000}"} for n in range(500)], schema=arrow_schema(Review)
        ),
        path,
    )
    content = bytearray(path.read_bytes())
    content[40:400] = bytes(360)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"r.parquet"):
        list(read_parquet(path, Review, lambda bad: None))


def test_a_newer_schema_is_refused_and_an_older_one_migrated(tmp_path, monkeypatch):
    path = tmp_path / "r.parquet"
    schema = arrow_schema(Review)
    newer = schema.with_metadata({"prstack.schema_version": str(SCHEMA_VERSION + 1)})
    write_table(pa.Table.from_pylist([GOOD], schema=newer), path)
    with pytest.raises(UserError, match=r"newer than this prstack"):
        list(read_parquet(path, Review, pytest.fail))
    write_table(pa.Table.from_pylist([GOOD], schema=schema), path)
    monkeypatch.setattr(records, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setitem(records.MIGRATIONS, ("Review", SCHEMA_VERSION), lambda row: row | {"text": row["text"].upper()})
    assert next(iter(read_parquet(path, Review, pytest.fail))).text == "FINE"


def test_products_of_version_1_say_nothing_of_shipping(tmp_path):
    rows = [{k: v for k, v in to_row(Product("P1", "Kettle", "Kettles", available=False)).items() if k != "shipping"}]
    schema = pa.schema([f for f in arrow_schema(Product) if f.name != "shipping"], metadata={"prstack.schema_version": "1"})
    write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "p.parquet")
    assert list(read_parquet(tmp_path / "p.parquet", Product, pytest.fail)) == [Product("P1", "Kettle", "Kettles", available=False, shipping="")]
    write_table(pa.Table.from_pylist([GOOD], schema=arrow_schema(Review).with_metadata({"prstack.schema_version": "1"})), tmp_path / "r.parquet")
    assert [to_row(r) for r in read_parquet(tmp_path / "r.parquet", Review, pytest.fail)] == [GOOD]  # which did not change


# --- places ------------------------------------------------------------------------------------------------------
def test_files_of_a_place(tmp_path):
    for name in ("b.jsonl", "a.parquet", ".hidden.jsonl", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in data_files(tmp_path, "x")] == ["a.parquet", "b.jsonl"]
    assert data_files(tmp_path / "notes.txt", "x") == [tmp_path / "notes.txt"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"world.histories: .*empty holds no"):
        data_files(tmp_path / "empty", "world.histories")
    with pytest.raises(UserError, match=r"distill.input: no such file or folder"):
        data_files(tmp_path / "nowhere", "distill.input")


def test_a_folder_of_both_kinds_is_read_in_order(tmp_path):
    write_table(pa.Table.from_pylist([GOOD], schema=arrow_schema(Review)), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_bytes(line(id="r2") + b"\n{\n")
    bad: list[Bad] = []
    assert [r.id for r in read_records(tmp_path, Review, bad.append, "reviews")] == ["r1", "r2"]
    assert len(bad) == 1


def test_rows_are_plain_and_canonical():
    row = to_row(History("u", [Event("e", "view", price=3.5)]))
    assert type(row) is dict and type(row["events"][0]) is dict and row["events"][0]["price"] == 3.5
    assert canonical_json({"b": "é", "a": [1]}) == canonical_json({"a": [1], "b": "é"}) == '{"a":[1],"b":"é"}'
    assert from_row(History, row) == History("u", [Event("e", "view", price=3.5)])
