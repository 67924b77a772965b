"""The expert as judge: marks that follow from checks by rule. It is no language model, and has no taste.

A criterion with a typed item is checked on the report and its sources: met 10, unaddressed 3, violated 0. A criterion of readability
without an item gets 10 less what is missing of the layout. It has no opinion on any other criterion, nor on what criteria a query
should have: it then gives no mark, and the judgement counts as unjudged.
"""

from __future__ import annotations

import json
import random

from prstack.prompts import json_lines, sections
from prstack.scoring import rubric
from prstack.scoring.evidence import Evidence
from prstack.scoring.report import parse_report
from prstack.store.records import from_row
from prstack.types import RubricItem

MARKS = {"met": 10, "unaddressed": 3, "violated": 0}
LINE = 240
"""Characters of a line that a reader takes in at once."""


def reply(task: str, prompt: str, rng: random.Random) -> str:
    parts = sections(prompt)
    if task != "pair":
        return json.dumps({"reason": "Checks by rule make no criteria."})
    criteria = json_lines(parts["Criteria"])
    items = [from_row(RubricItem, c["item"]) for c in criteria if "item" in c]
    checked = {side: _check(parts, side, items) for side in "AB"}
    marks = []
    for c in criteria:
        if "item" in c:
            (said_a, a), (said_b, b) = (checked[side][c["item"]["id"]] for side in "AB")
        elif c["dimension"] == "readability":
            (said_a, a), (said_b, b) = (_layout(parts[f"Report {side}"]) for side in "AB")
        else:
            continue
        marks.append({"n": c["n"], "reason": f"A: {said_a}. B: {said_b}.", "a": a, "b": b})
    return json.dumps({"marks": marks}, ensure_ascii=False)


def _check(parts: dict[str, str], side: str, items: list[RubricItem]) -> dict[str, tuple[str, float]]:
    """Item id → (what was found, mark)."""
    evidence = Evidence.from_texts(s["source"] for s in json_lines(parts.get(f"Sources of report {side}", "")))
    scored = rubric.score(parse_report(parts[f"Report {side}"]), items, evidence)
    return {r.id: (r.status, MARKS[r.status]) for r in scored.items}


def _layout(report: str) -> tuple[str, float]:
    """Half for products that begin a line of their own, half for lines of readable length."""
    lines = [line for line in report.splitlines() if line.strip()]
    if not lines or report == "(the report is empty)":
        return "nothing to read", 0.0
    if not parse_report(report).pitches:
        return "no product has a line of its own", 0.0
    short = sum(len(line) <= LINE for line in lines) / len(lines)
    return f"products in lines of their own, {short:.0%} of the lines of readable length", round(5 + 5 * short, 1)
