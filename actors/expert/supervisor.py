"""The expert as supervisor: checks by rule what is in its prompt.

Plan: it takes up every need as it was stated, adds none, and says how they are checked (`plan_check`). Tool call: it worked, was not made
before, and its result has to do with the query (`call_check`). Report: only visited products, only supported claims, no need broken, none
left unanswered that the sources could answer, in a form and language that serve (`report_check`); the score is the verifiable rubric score
on the sources in the prompt.

A rule speaks only where it can decide: what it cannot read (a need in words of its own, a page of an unknown kind) passes.
"""

from __future__ import annotations

import json
import random

from actors.expert import call_check, plan_check, report_check
from prstack.prompts import json_lines, sections
from prstack.store.records import from_row
from prstack.types import RubricItem

APPROVED = {"plan": "The plan takes up every need.", "toolcall": "A valid, new step with a useful result.", "report": "The report holds."}
MOST = 8
"""Findings of a report that are named."""


def reply(task: str, prompt: str, rng: random.Random) -> str:
    parts = sections(prompt)
    state = task.removeprefix("check_")
    answer: dict = {}
    if state == "plan":
        items = plan_check.check(parts["Plan"], parts["Query"], rng)
        revise = any(not i["ok"] for i in items)
    elif state == "toolcall":
        items = call_check.check(parts)
        revise = any(not i["ok"] for i in items)
    else:
        rubric = [from_row(RubricItem, row) for row in json_lines(parts["Rubric"])]
        items, answer["score"], revise = report_check.check(parts["Report"], parts["Query"], rubric, parts["Sources"])
    wrong = [i for i in items if not i["ok"]][:MOST]
    answer |= {"items": wrong + [i for i in items if i["ok"]], "reason": _sentences([i["reason"] for i in wrong]) if revise else APPROVED[state]}
    return json.dumps(answer | {"decision": "revise" if revise else "approve"}, ensure_ascii=False)


def _sentences(reasons: list[str]) -> str:
    return " ".join(r[0].upper() + r[1:] + "." for r in reasons)
