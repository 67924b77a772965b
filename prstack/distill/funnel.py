"""What came in and went out of every step of distillation, counted from the committed records.

`{"stages": [{"name", "in", "out", "tokens_in", "tokens_out", "rejected": {reason: count}, "examples": {reason: [id, …]}}, …]}`
in the order of the steps. `out` of a step is `in` of the next; tokens are those of the trajectories (research turns and tool
results), so that they compare down the funnel. Being made from what lies on disk, a funnel is the same however often the
work was cut off.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable

EXAMPLES = 5
"""Ids given for a reason: the smallest, so that they stay the same."""


def build(steps: list[str], kept: Iterable[dict], rejected: Iterable[dict]) -> dict:
    """`steps`: names in order. `kept`: rows with source_tokens. `rejected`: rows with id, stage, reason, tokens.

    Raises ValueError for a rejected record whose step is not among `steps`.
    """
    ids: dict[str, dict[str, list[str]]] = {name: defaultdict(list) for name in steps}
    lost: dict[str, int] = dict.fromkeys(steps, 0)
    for row in rejected:
        name = row["stage"].partition("/")[2]
        if name not in ids:
            raise ValueError(f"{row['id']} was rejected by {name!r}, which is no step of this configuration")
        ids[name][row["reason"]].append(row["id"])
        lost[name] += row["tokens"]
    records = tokens = 0
    for row in kept:
        records, tokens = records + 1, tokens + row["source_tokens"]
    records += sum(len(found) for reasons in ids.values() for found in reasons.values())
    tokens += sum(lost.values())
    stages = []
    for name in steps:
        reasons = dict(sorted(ids[name].items(), key=lambda item: (-len(item[1]), item[0])))
        gone = sum(map(len, reasons.values()))
        stages.append(
            {
                "name": name,
                "in": records,
                "out": records - gone,
                "tokens_in": tokens,
                "tokens_out": tokens - lost[name],
                "rejected": {reason: len(found) for reason, found in reasons.items()},
                "examples": {reason: heapq.nsmallest(EXAMPLES, found) for reason, found in reasons.items()},
            }
        )
        records, tokens = records - gone, tokens - lost[name]
    return {"stages": stages}
