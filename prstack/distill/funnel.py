"""What came in and went out of every step of distillation, counted from the committed records.

`{"stages": [{"name", "in", "out", "tokens_in", "tokens_out", "rejected": {reason: count}, "examples": {reason: [id, …]},
"details": {reason: [detail, …]}, "spared"}, …]}` in the order of the steps. `out` of a step is `in` of the next; tokens are those of the
trajectories (research turns and tool results), so that they compare down the funnel. `spared` are those that the step would have rejected
and that stayed, since they hold a corrected mistake (`filters.min_corrected`); they count as going out. Being made from what lies
on disk, a funnel is the same however often the work was cut off.

Beside `stages` stands `reflections`: how many the kept hold, how many of them a model wrote, and why the rule wrote in its place
(`prstack.distill.writing.tally`).

`funnel.parquet` holds the stages, a row a step and reason (one without a reason where a step rejected nothing).
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from prstack.store.parts import write_table, write_text

EXAMPLES = 5
"""Examples given for a reason: those of the smallest ids, so that they stay the same."""
SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("name", pa.large_string()),
        ("in", pa.int64()),
        ("out", pa.int64()),
        ("tokens_in", pa.int64()),
        ("tokens_out", pa.int64()),
        ("spared", pa.int64()),
        ("reason", pa.large_string()),
        ("rejected", pa.int64()),
        ("examples", pa.list_(pa.large_string())),
        ("details", pa.list_(pa.large_string())),
    ]
)


class _Reason:
    """The records of one reason: how many, and the first few by id."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[tuple[str, str]] = []

    def add(self, id: str, detail: str) -> None:
        self.count += 1
        self.first = heapq.nsmallest(EXAMPLES, [*self.first, (id, detail)])


def build(steps: list[str], kept: Iterable[dict], rejected: Iterable[dict]) -> dict:
    """`steps`: names in order. `kept`: rows with source_tokens, and spared. `rejected`: rows with id, stage, reason, detail, tokens.

    Raises ValueError for a rejected record whose step is not among `steps`.
    """
    found: dict[str, dict[str, _Reason]] = {name: defaultdict(_Reason) for name in steps}
    lost: dict[str, int] = dict.fromkeys(steps, 0)
    spared: Counter[str] = Counter()
    for row in rejected:
        name = row["stage"].partition("/")[2]
        if name not in found:
            raise ValueError(f"{row['id']} was rejected by {name!r}, which is no step of this configuration")
        found[name][row["reason"]].add(row["id"], row["detail"])
        lost[name] += row["tokens"]
    records = tokens = 0
    for row in kept:
        records, tokens = records + 1, tokens + row["source_tokens"]
        spared[row.get("spared") or ""] += 1
    records += sum(r.count for reasons in found.values() for r in reasons.values())
    tokens += sum(lost.values())
    stages = []
    for name in steps:
        reasons = dict(sorted(found[name].items(), key=lambda item: (-item[1].count, item[0])))
        gone = sum(r.count for r in reasons.values())
        stages.append(
            {
                "name": name,
                "in": records,
                "out": records - gone,
                "tokens_in": tokens,
                "tokens_out": tokens - lost[name],
                "rejected": {reason: r.count for reason, r in reasons.items()},
                "examples": {reason: [id for id, _ in r.first] for reason, r in reasons.items()},
                "details": {reason: [detail for _, detail in r.first] for reason, r in reasons.items()},
                "spared": spared[name],
            }
        )
        records, tokens = records - gone, tokens - lost[name]
    return {"stages": stages}


def write(folder: Path, funnel: dict) -> None:
    """funnel.json and funnel.parquet."""
    write_text(json.dumps(funnel, indent=1, ensure_ascii=False) + "\n", folder / "funnel.json")
    rows = []
    for n, stage in enumerate(funnel["stages"]):
        common = {"step": n} | {name: stage[name] for name in ("name", "in", "out", "tokens_in", "tokens_out", "spared")}
        for reason, count in (stage["rejected"] or {None: 0}).items():
            shown = {name: stage[name].get(reason, []) for name in ("examples", "details")}
            rows.append(common | shown | {"reason": reason, "rejected": count})
    write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "funnel.parquet")
