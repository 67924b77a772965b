"""Students of the arms on the same held-out queries: means, and differences to `full` with intervals over queries and trainings.

A training and its evaluation are called `<arm>-<seed>`; a seed decides the order of the training data and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.students import by_subject, mean, recipe
from prstack.evaluation.bootstrap import Interval, by_query, crossed

METRICS = ("score", "e_prod", "e_prod_merit", "precision_at_k", "finished", "call_validity", "grounding", "calls", "tokens")
COMPARED = ("score", "e_prod", "precision_at_k", "finished", "call_validity", "grounding")
Students = dict[str, list[list[dict]]]
"""Arm → its trainings → the conversations of each, as lines of `episodes.jsonl`."""


def read(file: Path) -> tuple[Students, dict[str, list[dict]]]:
    """The students' conversations, and those of the controls by their name."""
    students: Students = defaultdict(list)
    controls: dict[str, list[dict]] = {}
    for subject, rows in by_subject(file).items():
        if arm := recipe(subject):
            students[arm].append(rows)
        else:
            controls[subject] = rows
    return students, controls


def difference(a: Sequence[Sequence[dict]], b: Sequence[Sequence[dict]], metric: str) -> Interval | None:
    """a − b; None where there is no query on which all trainings have a value."""
    x, y = ([by_query(((row["task"], row) for row in rows), metric) for rows in trained] for trained in (a, b))
    return crossed(x, y) if x and y and set.intersection(*map(set, [*x, *y])) else None


def document(students: Students, controls: dict[str, list[dict]], against: str) -> dict:
    """For JSON: means of every arm, of each training and of the controls, and the arm `against` less every other (over `n` of
    `of` queries: those for which all trainings have a value)."""
    rounded = lambda v: v if v is None else round(v, 4)  # noqa: E731
    of = {"of": len({row["task"] for trained in students.values() for rows in trained for row in rows})}
    return {
        "means": {arm: {m: rounded(mean([row for rows in trained for row in rows], m)) for m in METRICS} for arm, trained in students.items()},
        "trainings": {arm: {m: [rounded(mean(rows, m)) for rows in trained] for m in METRICS} for arm, trained in students.items()},
        "controls": {name: {m: rounded(mean(rows, m)) for m in METRICS} for name, rows in controls.items()},
        "differences": {
            arm: {m: (i := difference(students[against], trained, m)) and {k: rounded(v) for k, v in asdict(i).items()} | of for m in COMPARED}
            for arm, trained in students.items()
            if arm != against and against in students
        },
    }
