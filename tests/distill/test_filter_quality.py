"""The filters against truth: planted faults and harmless edits, and trajectories of a student that were labelled by hand."""

from __future__ import annotations

import json

import pytest

from benchmarks.filters.__main__ import clean_trajectories
from benchmarks.filters.measure import (
    DATA,
    PLANTED,
    UNSEEN,
    UNSEEN_FIRST,
    alarms,
    contaminations,
    duplicates,
    planted,
    students,
)
from prstack.distill.filters import FILTERS
from prstack.settings import FilterConfig
from prstack.store.records import read_parquet
from prstack.types import Trajectory

CONFIG = FilterConfig()
WEAKER = {"the report three times over": 0.5, "another opinion of reviewers": 0.5}
"""Kinds that the filters find less often, and how often at least."""


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return clean_trajectories(8, tmp_path_factory.mktemp("clean") / "world")


def test_every_filter_has_several_shapes_of_its_fault():
    kinds = [*PLANTED, *UNSEEN_FIRST, *UNSEEN]
    shapes = {name: [k.name for k in kinds if k.filter == name] for name in FILTERS}
    assert all(shapes[name] for name in FILTERS if name != "contamination")
    assert len({k.name for k in kinds}) == len(kinds)


def test_planted_faults_are_found(clean):
    assert len(clean) >= 6
    for line in planted(PLANTED, clean, CONFIG):
        assert line.n >= len(clean) // 2, f"{line.name}: planted {line.n} times"
        assert line.caught >= WEAKER.get(line.name, 1.0) * line.n, f"{line.filter}: {line.name}: {line.caught} of {line.n}"


def test_nothing_sound_is_rejected_and_no_harmless_edit(clean):
    found = alarms(clean, CONFIG)
    assert len(found.pop("")) > 8 * len(clean)
    assert {name: said for name, said in found.items() if said} == {}


def test_what_only_shows_beside_others_is_found(clean):
    for lines, false in (duplicates(clean, CONFIG), contaminations(clean, CONFIG)):
        assert false == 0 and all(line.caught == line.n > 0 for line in lines), lines


def test_the_labels_are_of_the_trajectories():
    labels = [json.loads(line) for line in (DATA / "student_labels.jsonl").read_text().splitlines()]
    found = {t.id: t for t in read_parquet(DATA / "student.parquet", Trajectory, pytest.fail)}
    assert len(labels) == len(found) == 120 and {label["id"] for label in labels} == set(found)
    assert all(label["why"] and set(label["fails"]) <= set(FILTERS) and label["report"] == bool(found[label["id"]].reports) for label in labels)


@pytest.fixture(scope="module")
def labelled():
    return students(CONFIG)


@pytest.mark.parametrize(
    ("name", "precision", "recall"),
    [
        ("format", 1, 1),
        ("termination", 1, 1),
        ("tool_calls", 1, 1),
        ("tool_errors", 1, 1),
        ("repetition", 0.64, 0.9),  # a product twice in one list counts for the filter, and for the reader only three times
        ("language", 0.8, 0.88),
        ("grounding", 1, 1),
        ("products", 1, 1),
        ("score", 1, 0.95),
    ],
)
def test_labels_and_filters_agree(labelled, name, precision, recall):
    totals, apart = labelled
    found = next(t for t in totals if t.filter == name)
    assert found.planted and found.precision >= precision and found.recall >= recall, apart[name]
