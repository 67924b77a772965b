"""Counting: what each filter says of what was planted, of what is clean, and of students' trajectories that were labelled by hand."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from benchmarks.filters import course, harmless, reports, sets, unseen, unseen_first, words
from benchmarks.filters.edit import Kind
from prstack.distill.filters import FILTERS
from prstack.distill.filters.contamination import Reference, contaminated
from prstack.distill.filters.near import NearDuplicates, signature
from prstack.distill.internalise import internalise
from prstack.settings import FilterConfig
from prstack.store.records import read_parquet
from prstack.types import Trajectory

DATA = Path(__file__).parents[2] / "tests" / "distill" / "data"
"""student.parquet: trajectories of a trained model of nine million parameters; student_labels.jsonl: what a reader found wrong with each."""
OF_REPORT = ("rounds", "report_length", "citations", "grounding", "products", "score")
"""Filters that are measured on students' trajectories with a report."""
UNLABELLED = ("held_out", "contamination", "rounds", "citations")
"""Filters whose faults the reader did not look for."""
PLANTED = [*course.KINDS, *words.KINDS, *reports.KINDS]
UNSEEN_FIRST, UNSEEN = unseen_first.KINDS, unseen.KINDS


@dataclass(slots=True)
class Line:
    """Of `n` mutants of one kind, those that the filter rejects, and those that any filter rejects."""

    filter: str
    name: str
    n: int
    caught: int
    anywhere: int


@dataclass(slots=True)
class Total:
    """One filter over all its kinds, beside what it should have kept."""

    filter: str
    planted: int = 0
    caught: int = 0
    kept: int = 0
    false_alarms: int = 0

    @property
    def recall(self) -> float:
        return self.caught / self.planted if self.planted else float("nan")

    @property
    def precision(self) -> float:
        return self.caught / (self.caught + self.false_alarms) if self.caught else float("nan")


def planted(kinds: Iterable[Kind], clean: Sequence[Trajectory], config: FilterConfig, seed: int = 0) -> list[Line]:
    """Every kind of fault, planted into every clean trajectory that takes it."""
    return [_line(kind.filter, kind.name, _mutants(kind, clean, seed), config) for kind in kinds]


def _mutants(kind: Kind, clean: Iterable[Trajectory], seed: int) -> list[Trajectory]:
    made = (kind.change(t, Random(f"{seed}/{kind.name}/{t.id}")) for t in clean)
    return [t for t in made if t is not None]


def _line(name: str, kind: str, mutants: list[Trajectory], config: FilterConfig) -> Line:
    caught = sum(FILTERS[name](t, config) is not None for t in mutants)
    anywhere = sum(any(f(t, config) for f in FILTERS.values()) for t in mutants)
    return Line(name, kind, len(mutants), caught, anywhere)


def alarms(clean: Sequence[Trajectory], config: FilterConfig, seed: int = 0) -> dict[str, list[str]]:
    """Filter → what it says of clean trajectories and of harmless edits of them; and under "" how many there were."""
    good = [("as it was", t) for t in clean] + [(k.name, t) for k in harmless.KINDS for t in _mutants(k, clean, seed)]
    out: dict[str, list[str]] = {"": [name for name, _ in good]}
    for name, f in FILTERS.items():
        out[name] = [f"{edit}: {found[1]}" for edit, t in good if (found := f(t, config))]
    return out


def duplicates(clean: Sequence[Trajectory], config: FilterConfig, seed: int = 0) -> tuple[list[Line], int]:
    """Second trajectories made of first ones, and how many of the clean ones are taken for near-duplicates of each other."""
    near, alike = NearDuplicates(), 0
    for t in clean:
        numbers = _signature(t)
        alike += near.nearest(numbers)[0] > config.max_similarity
        near.add(t.id, numbers)
    lines = []
    for kind in sets.DUPLICATES:
        found = [near.nearest(_signature(t))[0] > config.max_similarity for t in _mutants(kind, clean, seed)]
        lines.append(Line(kind.filter, kind.name, len(found), sum(found), sum(found)))
    return lines, alike


def _signature(t: Trajectory) -> list[int]:
    return signature(internalise(t, "", "keep_corrected").messages)


def contaminations(clean: Sequence[Trajectory], config: FilterConfig) -> tuple[list[Line], int]:
    """Half of the clean trajectories are the reference; the other half gets a query, a user or a product of it."""
    named = [replace(t, world="table", user_id=f"{t.user_id}-{t.id}") for t in clean]
    half = len(named) // 2
    mine, theirs = named[:half], named[half : 2 * half]
    reference = Reference()
    for t in theirs:
        reference.add({"query": t.query, "user_id": t.user_id, "product_ids": []})
    answers = Reference()
    for t in theirs:
        answers.add({"reports": t.reports})
    lines = []
    for name, change in sets.CONTAMINATIONS:
        against = answers if "product" in name else reference
        found = [contaminated(change(t, other), against, config.max_overlap) is not None for t, other in zip(mine, theirs, strict=True)]
        lines.append(Line("contamination", name, len(found), sum(found), sum(found)))
    return lines, sum(contaminated(t, reference, config.max_overlap) is not None for t in mine)


def totals(lines: Iterable[Line], false: dict[str, int], kept: dict[str, int]) -> list[Total]:
    """Over the kinds of each filter, in the order in which they come."""
    out: dict[str, Total] = {}
    for line in lines:
        total = out.setdefault(line.filter, Total(line.filter, kept=kept[line.filter], false_alarms=false[line.filter]))
        total.planted += line.n
        total.caught += line.caught
    return list(out.values())


def students(config: FilterConfig) -> tuple[list[Total], dict[str, list[str]]]:
    """Each filter alone against the labels; and per filter the disagreements, as `id: rejected | missed: what the reader wrote`."""
    config = replace(config, terminations=[*config.terminations, "finished"])
    found = {t.id: t for t in read_parquet(DATA / "student.parquet", Trajectory, _refuse)}
    labels = [json.loads(line) for line in (DATA / "student_labels.jsonl").read_text(encoding="utf-8").splitlines()]
    out, apart = [], defaultdict(list)
    for name, f in FILTERS.items():
        if name in UNLABELLED:
            continue
        total = Total(name)
        for label in labels:
            if name in OF_REPORT and not label["report"]:
                continue
            wrong, rejected = name in label["fails"], f(found[label["id"]], config) is not None
            total.planted += wrong
            total.kept += not wrong
            total.caught += wrong and rejected
            total.false_alarms += rejected and not wrong
            if wrong != rejected:
                apart[name].append(f"{label['id']}: {'rejected' if rejected else 'missed'}: {label['why']}")
        out.append(total)
    return out, apart


def _refuse(bad: object) -> None:
    raise ValueError(str(bad))
