"""The record types: their schema belongs to a version, and a record survives the way through Parquet and JSON."""

import dataclasses
import hashlib
import json
import typing

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prstack import types
from prstack.store.parts import write_table
from prstack.store.records import from_row, read_jsonl, read_parquet, to_row
from prstack.types import (
    SCHEMA_VERSION,
    Attribute,
    Constraint,
    Event,
    History,
    Page,
    Product,
    Rejected,
    Review,
    Trajectory,
    arrow_schema,
)
from tests.factories import trajectory

RECORDS = [Product, Review, Page, History, Constraint, Trajectory, Rejected]
FINGERPRINTS = {
    # schema version → fingerprint. A changed field needs a new version, its line here, and a migration in
    # prstack.store.records.MIGRATIONS that brings rows of the version before to it.
    1: "f242e1f84f327fb5",
    2: "5fb321a3755b97dd",
    3: "d84aaacf8d23b41d",
    4: "426c9cc2aa9c535b",
}


def describe(kind: pa.DataType) -> str:
    """A type in words of our own, since Arrow's own differ from release to release."""
    if pa.types.is_struct(kind):
        return "{" + ", ".join(f"{kind[i].name}: {describe(kind[i].type)}" for i in range(kind.num_fields)) + "}"
    if pa.types.is_map(kind):
        return f"map({describe(kind.key_type)}, {describe(kind.item_type)})"
    return f"[{describe(kind.value_type)}]" if pa.types.is_list(kind) else str(kind)


def fingerprint() -> str:
    text = "\n".join(
        f"{cls.__name__}: " + ", ".join(f"{f.name}: {describe(f.type)}" for f in arrow_schema(cls)) for cls in RECORDS
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_schema_belongs_to_its_version():
    assert fingerprint() == FINGERPRINTS[SCHEMA_VERSION], "a record type changed: see FINGERPRINTS"
    assert len(FINGERPRINTS) == SCHEMA_VERSION


def test_every_version_but_the_first_has_migrations():
    from prstack.store.records import MIGRATIONS

    for version in range(1, SCHEMA_VERSION):
        assert any(v == version for _, v in MIGRATIONS), f"no migration from version {version}"


@pytest.mark.parametrize("cls", RECORDS)
def test_the_schema_says_what_it_is(cls):
    schema = arrow_schema(cls)
    assert schema.metadata == {b"prstack.schema_version": str(SCHEMA_VERSION).encode(), b"prstack.record": cls.__name__.encode()}
    assert schema.names == [f.name for f in dataclasses.fields(cls)]


def test_text_is_large_and_tokens_are_compact():
    step = arrow_schema(Trajectory).field("steps").type.value_type
    assert step.field("content").type == pa.large_string() and step.field("role").type == pa.large_string()
    assert step.field("token_ids").type == pa.list_(pa.int32()) and step.field("logprobs").type == pa.list_(pa.float32())
    assert step.field("loss_mask").type == pa.list_(pa.int8())


# --- round trips -------------------------------------------------------------------------------------------------
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
number = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=64)
attribute = st.builds(Attribute, text, text, number, text)
record = st.one_of(
    st.builds(Product, id=text, title=text, category=text, price=number, attributes=st.lists(attribute, max_size=2)),
    st.builds(
        History,
        user_id=text,
        events=st.lists(
            st.builds(Event, id=text, type=st.sampled_from(typing.get_args(types.EventType)), price=number, text=text), max_size=3
        ),
    ),
    st.builds(Constraint, text, st.sampled_from(["<=", ">=", "=", "!="]), text, text),
    st.builds(Review, text, text, st.floats(0, 5), text, text),
)


@settings(max_examples=60, deadline=None)
@given(record)
def test_a_record_survives_rows_arrow_and_json(original):
    row = to_row(original)
    assert from_row(type(original), json.loads(json.dumps(row))) == original
    table = pa.Table.from_pylist([row], schema=arrow_schema(type(original)))
    assert from_row(type(original), table.to_pylist(maps_as_pydicts="strict")[0]) == original


def test_a_whole_trajectory_survives_files(tmp_path):
    t = trajectory(1, duplicate=True, bad_report=True)
    t.steps[0].token_ids, t.steps[0].loss_mask, t.steps[0].logprobs = [1, 2, 151_935], [0, 1, 1], [-0.5, -0.25, 0.0]
    t.query = "line\u2028separator \x0c form feed \U0001f9ea"
    write_table(pa.Table.from_pylist([to_row(t)], schema=arrow_schema(Trajectory)), tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text(json.dumps(to_row(t), ensure_ascii=False) + "\n", encoding="utf-8")
    assert list(read_parquet(tmp_path / "t.parquet", Trajectory, pytest.fail)) == [t]
    assert list(read_jsonl(tmp_path / "t.jsonl", Trajectory, pytest.fail)) == [t]


def test_product_attribute_by_name():
    product = Product("P1", "t", "c", attributes=[Attribute("noise level", "58 dB", 58.0, "dB")])
    assert product.attribute("noise level").number == 58.0 and product.attribute("colour") is None
