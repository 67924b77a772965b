"""The expert as supervisor: checks by rule what is in its prompt.

Plan: every need of the query is heard in the plan. Tool call: it worked, was not made before, and showed something. Report:
only visited products, only supported claims, no need broken, no rubric item unanswered that the sources could answer; the
score is the verifiable rubric score on the sources in the prompt.
"""

from __future__ import annotations

import json
import random
import re

from prstack.prompts import json_lines, sections
from prstack.scoring import grounding, rubric
from prstack.scoring.evidence import Evidence
from prstack.scoring.report import parse_report
from prstack.store.records import from_row
from prstack.types import RubricItem
from prstack.world.language import hear, say
from prstack.world.match import fold

APPROVED = {"plan": "The plan takes up every need.", "toolcall": "A valid, new step with a useful result.", "report": "The report holds."}
MIN_SCORE = 0.7
"""Reports below are sent back even when they hold no fault."""


def reply(task: str, prompt: str, rng: random.Random) -> str:
    parts = sections(prompt)
    state = task.removeprefix("check_")
    score = None
    if state == "plan":
        items = _plan(parts, rng)
    elif state == "toolcall":
        items = _toolcall(parts)
    else:
        items, score = _report(parts)
    wrong = [i["reason"] for i in items if not i["ok"]]
    revise = bool(wrong) and not (state == "report" and score >= MIN_SCORE and all(i["ok"] or i["kind"] == "answers_rubric" for i in items))
    answer = {"items": items, "reason": _sentences(wrong) if revise else APPROVED[state]}
    if score is not None:
        answer["score"] = score
    return json.dumps(answer | {"decision": "revise" if revise else "approve"}, ensure_ascii=False)


def _sentences(reasons: list[str]) -> str:
    return " ".join(r[0].upper() + r[1:] + "." for r in reasons)


def _finding(kind: str, reason: str = "") -> dict:
    return {"kind": kind, "ok": not reason, "reason": reason}


def _plan(parts: dict[str, str], rng: random.Random) -> list[dict]:
    planned = {(fold(c.attribute), c.op) for c in hear(parts["Plan"])}
    missing = [c for c in hear(parts["Query"]) if c.attribute != "opinion" and (fold(c.attribute), c.op) not in planned]
    return [_finding("covers_needs", f"the plan leaves out a need: {say(c, rng)}") for c in missing] or [_finding("covers_needs")]


def _toolcall(parts: dict[str, str]) -> list[dict]:
    result, call = parts["Result"], parts["Call"]
    if result.startswith("(no tool"):
        return [_finding("has_action", "the step neither calls a tool nor reports")]
    if result.startswith("error"):
        return [_finding("valid_call", f"the call failed ({result.removeprefix('error:').strip().rstrip('.')[:160]})")]
    called = re.search(r"<tool_call>\s*(.*?)\s*</tool_call>", call, re.S)
    try:
        body = json.loads(called.group(1))
        made = (body["name"], body["arguments"])
    except (AttributeError, ValueError, KeyError, TypeError):
        return [_finding("valid_call", "the call is not valid JSON")]
    for line in parts["Earlier calls"].splitlines():
        name, _, arguments = line.partition(" ")
        if (name, _loads(arguments)) == made:
            return [_finding("not_duplicate", f"{name} was called with the same arguments before")]
    if re.match(r"(0|no) results", result, re.I):
        return [_finding("relevant_result", "the search found nothing; other words are needed")]
    return [_finding(k) for k in ("valid_call", "not_duplicate", "relevant_result")]


def _loads(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _report(parts: dict[str, str]) -> tuple[list[dict], float]:
    report = parse_report(parts["Report"])
    evidence = Evidence.from_texts(re.findall(r"<source>\n(.*?)\n</source>", parts["Sources"], re.S))
    items = [from_row(RubricItem, row) for row in json_lines(parts["Rubric"])]
    scored = rubric.score(report, items, evidence)
    findings = []
    if not report.pitches:
        findings.append(_finding("format", "the report recommends no product by its id"))
    for product_id in report.product_ids:
        if product_id not in evidence.visited:
            findings.append(_finding("visited", f"{product_id} is recommended but its page was never opened"))
    for f in grounding.ground(report, evidence).findings:
        if f.status != "supported" and f.product_id in evidence.visited:
            why = "the page says otherwise" if f.status == "contradicted" else "no source says so"
            findings.append(_finding("supported", f"{f.product_id} is said to have {f.name}: {f.value}, but {why}"))
    for item, result in zip(items, scored.items, strict=True):
        if result.status == "violated" and item.type in rubric.CONSTRAINTS:
            findings.append(_finding("meets_constraints", f"a need is broken ({item.text.rstrip('.')}): {result.evidence}"))
        elif result.status == "unaddressed" and item.type != "grounding":
            findings.append(_finding("answers_rubric", f"left unanswered: {item.text.rstrip('.')}"))
    kinds = ("format", "visited", "supported", "meets_constraints", "answers_rubric")
    found = {f["kind"] for f in findings}
    return findings[:8] + [_finding(k) for k in kinds if k not in found], round(scored.score, 4)
