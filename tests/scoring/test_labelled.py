"""Verdicts of the scorer beside labels that were made by reading: `labelled/README.md` says how, and what the two disagreed on."""

import json
from collections import Counter
from pathlib import Path

import pytest

from prstack.scoring.evidence import Evidence
from prstack.scoring.rubric import score
from prstack.store.records import from_row
from prstack.types import RubricItem

FILE = Path(__file__).parent / "labelled" / "reports.jsonl"
VERDICTS = ("met", "violated", "unaddressed")
FEW = 20
"""Of fewer labels no share is asked for."""


@pytest.fixture(scope="module")
def reports() -> list[dict]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def verdicts(reports) -> Counter:
    """(item type, label, the scorer's verdict) → how often."""
    found: Counter = Counter()
    for r in reports:
        rubric = [from_row(RubricItem, row) for row in r["rubric"]]
        items = score(r["report"], rubric, Evidence.from_texts(r["tool_results"])).items
        found.update((i.type, r["labels"][i.id], s.status) for i, s in zip(rubric, items, strict=True))
    return found


def agreed(verdicts: Counter, **of: str) -> tuple[int, int]:
    """(labels that the scorer agrees with, all labels), of a type or of a label."""
    chosen = {k: n for k, n in verdicts.items() if of.get("type", k[0]) == k[0] and of.get("label", k[1]) == k[1]}
    return sum(n for (_, label, verdict), n in chosen.items() if label == verdict), sum(chosen.values())


def confusion(verdicts: Counter) -> str:
    """One line for each item type and label: what the scorer said."""
    rows = sorted({k[:2] for k in verdicts})
    return "\n".join(f"{type:20s} {label:12s} " + "  ".join(f"{v} {verdicts[type, label, v]:3d}" for v in VERDICTS) for type, label in rows)


def test_the_set_is_whole(reports):
    assert len(reports) >= 100
    assert len({r["id"] for r in reports}) == len({r["report"] for r in reports}) == len(reports)
    for r in reports:
        assert r["labels"].keys() == {i["id"] for i in r["rubric"]} and set(r["labels"].values()) <= set(VERDICTS), r["id"]


def test_the_scorer_agrees_with_the_labels(verdicts):
    table = confusion(verdicts)
    print(table)
    right, all = agreed(verdicts)
    assert right >= 0.95 * all, f"{right} of {all}\n{table}"
    for key, values in (("type", {k[0] for k in verdicts}), ("label", VERDICTS)):
        for value in sorted(values):
            right, all = agreed(verdicts, **{key: value})
            assert all < FEW or right >= 0.9 * all, f"{value}: {right} of {all}\n{table}"
