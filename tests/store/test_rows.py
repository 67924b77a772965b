"""Arrow's rows as Python's: the same as `to_pylist`, whatever the columns are."""

import pyarrow as pa
import pytest

from prstack.store.records import canonical_json
from prstack.store.rows import python_rows

POINT = pa.struct([("x", pa.int32()), ("name", pa.large_string())])
TABLE = pa.table(
    {
        "id": ["a", None, "ü", ""],
        "n": pa.array([1, 2, 3, 4], pa.int8()),
        "with_null": pa.array([1, None, 3, 4], pa.int64()),
        "yes": [True, False, None, True],
        "score": [0.5, float("inf"), None, -1.0],
        "ids": pa.array([[1, 2], [], None, [3]], pa.list_(pa.int32())),
        "nested": pa.array([[[1], [2, 3]], [], [None, []], [[4, None]]], pa.list_(pa.large_list(pa.uint32()))),
        "point": pa.array([{"x": 1, "name": "p"}, None, {"x": None, "name": "q"}, {"x": 4, "name": None}], POINT),
        "points": pa.array([[{"x": 1, "name": "p"}, None], None, [], [{"x": 2, "name": "q"}]], pa.list_(POINT)),
        "deep": pa.array([[{"of": [{"x": 1, "name": "p"}]}], [], [{"of": None}, None], [{"of": []}]], pa.list_(pa.struct([("of", pa.list_(POINT))]))),
        "map": pa.array([[("a", "b")], [], None, [("k", "1"), ("k", "2")]], pa.map_(pa.string(), pa.string())),
        "coded": pa.array(["a", "b", "a", None]).dictionary_encode(),
        "empty": pa.array([{}, None, {}, {}], pa.struct([])),
    }
)


@pytest.mark.parametrize("table", [TABLE, TABLE.slice(1, 2), TABLE.slice(0, 0), pa.concat_tables([TABLE.slice(2), TABLE, TABLE.slice(3)])], ids=["whole", "slice", "none", "chunks"])
def test_they_are_those_of_arrow(table: pa.Table) -> None:
    assert python_rows(table) == table.to_pylist(maps_as_pydicts="lossy")
    for batch in table.to_batches():
        assert python_rows(batch) == batch.to_pylist(maps_as_pydicts="lossy")
        assert python_rows(batch.slice(1)) == batch.to_pylist(maps_as_pydicts="lossy")[1:]


def test_a_table_without_columns_has_rows() -> None:
    assert python_rows(TABLE.select([])) == [{}] * 4


def test_integers_are_pythons() -> None:
    (row,) = python_rows(TABLE.select(["n", "ids"]).slice(0, 1))
    assert [type(v) for v in (row["n"], *row["ids"])] == [int] * 3


def test_bytes_that_are_no_text_are_an_error() -> None:
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0])), pa.py_buffer(b"\xff")])
    with pytest.raises(UnicodeDecodeError):
        python_rows(pa.table({"id": bad}))


@pytest.mark.parametrize("numbers", [[], [0, -5, 2**31 - 1, -(2**31)], None, [None, 1]])
def test_the_canonical_text_of_lists_of_integers_is_the_same(numbers: list | None) -> None:
    row = {"z": numbers, "id": "ü\u2028\"", "a": {"y": 1.5, "b": [True, None]}}
    assert canonical_json(row, {"z"}) == canonical_json(row)
