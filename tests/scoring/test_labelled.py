"""Verdicts of the scorer beside labels that were made by reading: `labelled/README.md` says how, and what the two disagreed on."""

import json
from collections import Counter
from pathlib import Path

import pytest

from prstack.scoring.evidence import Evidence
from prstack.scoring.rubric import CONSTRAINTS, score
from prstack.store.records import from_row
from prstack.types import RubricItem

FILE = Path(__file__).parent / "labelled" / "reports.jsonl"
VERDICTS = ("met", "violated", "unaddressed")
FEW = 20
"""Of fewer labels no share is asked for."""
KEYS = {"type": 0, "label": 1, "writer": 3}
"""What verdicts are counted by → its place in their keys."""
LEAST = {"type": 0.9, "label": 0.9, "writer": 0.95}
"""What they are counted by → the share that has to agree in each group."""


@pytest.fixture(scope="module")
def reports() -> list[dict]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def verdicts(reports) -> Counter:
    """(item type, label, the scorer's verdict, who wrote the report) → how often."""
    found: Counter = Counter()
    for r in reports:
        rubric = [from_row(RubricItem, row) for row in r["rubric"]]
        items = score(r["report"], rubric, Evidence.from_texts(r["tool_results"])).items
        found.update((i.type, r["labels"][i.id], s.status, r["writer"]) for i, s in zip(rubric, items, strict=True))
    return found


def agreed(verdicts: Counter, **of: str) -> tuple[int, int]:
    """(labels that the scorer agrees with, all labels), of a type, a label or a writer."""
    chosen = {k: n for k, n in verdicts.items() if all(k[KEYS[name]] == value for name, value in of.items())}
    return sum(n for (_, label, verdict, _), n in chosen.items() if label == verdict), sum(chosen.values())


def confusion(verdicts: Counter) -> str:
    """One line for each item type and label: what the scorer said."""
    total: Counter = Counter()
    for key, n in verdicts.items():
        total[key[:3]] += n
    rows = sorted({k[:2] for k in total})
    return "\n".join(f"{type:20s} {label:12s} " + "  ".join(f"{v} {total[type, label, v]:3d}" for v in VERDICTS) for type, label in rows)


def test_the_set_is_whole(reports):
    assert len(reports) >= 100 and len({r["writer"] for r in reports}) >= 2
    assert len({r["id"] for r in reports}) == len({r["report"] for r in reports}) == len(reports)
    for r in reports:
        assert r["labels"].keys() == {i["id"] for i in r["rubric"]} and set(r["labels"].values()) <= set(VERDICTS), r["id"]


def test_constraints_and_review_opinions_are_there_met_and_violated(reports):
    labels = Counter((i["type"], r["labels"][i["id"]]) for r in reports for i in r["rubric"])
    for type in (*CONSTRAINTS, "review_opinion"):
        assert labels[type, "met"] >= 10 and labels[type, "violated"] >= 10, (type, labels)


def test_the_scorer_agrees_with_the_labels(verdicts):
    table = confusion(verdicts)
    print(table)
    right, all = agreed(verdicts)
    assert right >= 0.95 * all, f"{right} of {all}\n{table}"
    for key, place in KEYS.items():
        for value in sorted({k[place] for k in verdicts}):
            right, all = agreed(verdicts, **{key: value})
            assert all < FEW or right >= LEAST[key] * all, f"{value}: {right} of {all}\n{table}"
