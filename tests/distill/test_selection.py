"""The floor on corrected mistakes and near-duplicates, over a stream of records."""

from __future__ import annotations

import json

import pytest

from prstack.distill.committed import Store, remembered, take
from prstack.distill.distiller import Distiller, Frame
from prstack.distill.pipeline import OUTPUT, _Worker
from prstack.settings import DistillConfig, FilterConfig
from prstack.stages.models import SMOLLM2, resolve_tokenizer
from prstack.store.records import adapter
from prstack.tools.schemas import SCHEMAS
from prstack.types import Trajectory
from tests.factories import trajectory

FRAME = Frame("You are a shopping research agent.", SCHEMAS)


@pytest.fixture(scope="module")
def tokenizer():
    return resolve_tokenizer(SMOLLM2)


def run(folder, tokenizer, records, filters, commit_at=()):
    """The stream without Ray, committed after the records at `commit_at` and at the end."""
    store = Store.open(folder)
    worker = _Worker(DistillConfig(filters=filters), str(tokenizer), FRAME)
    selection = remembered(store, filters)
    for n, t in enumerate(records):
        if t.id in store.dataset or t.id in store.rejected:
            continue
        row = worker._row({"kind": "record", "id": t.id, "file": "f", "line": n + 1, "record": adapter(Trajectory).dump_json(t).decode()})
        take(store, selection, dict.fromkeys(OUTPUT.names) | row)
        if n in commit_at:
            store.commit()
    return store


def fate(store):
    store.commit()
    rejected = {r["id"]: (r["stage"], r["reason"]) for r in store.rejected.rows()}
    return {r["id"]: r["spared"] for r in store.dataset.rows()}, rejected


def failing(n, **flags):
    """Two of five calls failed, both corrected."""
    return trajectory(n, malformed=True, not_json=True, **flags)


def test_while_few_hold_a_corrected_mistake_those_stay_that_a_lenient_filter_rejects(tmp_path, tokenizer):
    plain = [trajectory(n) for n in range(8)]
    records = [failing(20), *plain[:2], failing(21), *plain[2:], failing(22), failing(23)]
    kept, rejected = fate(run(tmp_path / "floor", tokenizer, records, FilterConfig(min_corrected=0.2)))
    assert [id for id, spared in kept.items() if spared == "tool_errors"] == ["t0020", "t0022"], "the first, and one after eight without"
    assert rejected == {"t0021": ("distill/tool_errors", "tool_errors"), "t0023": ("distill/tool_errors", "tool_errors")}
    kept, rejected = fate(run(tmp_path / "none", tokenizer, records, FilterConfig(min_corrected=0)))
    assert len(kept) == 8 and set(rejected) == {"t0020", "t0021", "t0022", "t0023"}


def test_a_mistake_that_nobody_corrected_is_not_spared(tmp_path, tokenizer):
    t = failing(3)
    for step in t.steps:
        if step.verdict:
            step.verdict.decision = "approve"
    assert set(fate(run(tmp_path, tokenizer, [t], FilterConfig()))[1]) == {t.id}


def test_what_another_filter_rejects_as_well_is_not_spared(tmp_path, tokenizer):
    t = failing(3)
    t.steps[-2].content = t.reports[-1] = t.reports[-1].replace("dB", "kW")
    kept, rejected = fate(run(tmp_path, tokenizer, [t], FilterConfig()))
    assert not kept and rejected[t.id] == ("distill/tool_errors", "tool_errors"), "the first that rejects is named"


def test_the_later_of_near_duplicates_goes_and_keeps_its_record(tmp_path, tokenizer):
    records = [trajectory(1), trajectory(2), trajectory(1, id="again", query=trajectory(1).query + " Thanks!"), trajectory(1, id="thrice")]
    store = run(tmp_path, tokenizer, records, FilterConfig())
    kept, rejected = fate(store)
    assert set(kept) == {"t0001", "t0002"} and set(rejected.values()) == {("distill/near_duplicates", "near_duplicate")}
    row = next(r for r in store.rejected.rows() if r["id"] == "again")
    assert "t0001" in row["detail"] and json.loads(row["record"])["query"].endswith("Thanks!") and row["tokens"] > 100
    assert set(fate(run(tmp_path / "off", tokenizer, records, FilterConfig(max_similarity=1.0)))[0]) == {"t0001", "t0002", "again", "thrice"}


@pytest.mark.parametrize("cut", range(0, 12, 3))
def test_what_was_cut_off_is_decided_as_if_it_had_not_been(tmp_path, tokenizer, cut):
    records = [trajectory(1), failing(20), trajectory(2), trajectory(1, id="again"), *(trajectory(n) for n in range(3, 9)), failing(21), failing(22)]
    whole = fate(run(tmp_path / "whole", tokenizer, records, FilterConfig()))
    folder = tmp_path / "cut"
    first = run(folder, tokenizer, records[: cut + 1], FilterConfig(), commit_at=range(0, cut + 1, 2))
    for parts in (first.tokens, first.signatures, first.preferences, first.rejected):
        parts.flush()  # killed before the data set was
    assert fate(run(folder, tokenizer, records, FilterConfig())) == whole


def test_a_signature_goes_with_what_is_kept(tokenizer):
    out = Distiller(DistillConfig(), tokenizer, FRAME)(trajectory(1))
    assert len(out.signature) == 128 and out.row["spared"] == ""
