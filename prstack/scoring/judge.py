"""Judges: language models that mark reports, asked through one small protocol and read with care.

1. A judge is a name and a way to ask it (`Judge`): prompt and JSON schema in, text out. Whoever has an engine provides that
   (`actors.judge`); nothing here knows of engines.
2. `judge_pair` asks every judge about target and reference, `repeats` times in each order. In its prompt (`judge_pair.jinja`) the reports
   are A and B, without their makers; the reason comes before the marks.
3. Replies are read tolerantly in form (prose or fences around the JSON, marks as text, DeepResearch Bench's own form) and strictly in
   content: a mark for both reports on every criterion, from 0 to 10. A reply that is not is asked for once more, with another seed; then
   the judgement is `unjudged`, and never a score.
4. `make_criteria` asks a judge for the criteria of a query: the weights of the dimensions are the mean of several trials, the criteria
   those of the first trial that can be read.

`prompt_record` names the prompts in force with their hashes; it belongs beside every result.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

from prstack.prompts import Prompts, replies
from prstack.scoring.criteria import DIMENSIONS, Criteria, criteria_from, mean_weights
from prstack.scoring.evidence import Evidence
from prstack.scoring.race import HIGHEST, LOWEST, Judged, RaceResult, combine, race, self_reference
from prstack.scoring.report import PRODUCT_ID, READ, parse_report, report_body
from prstack.types import Trajectory

ATTEMPTS = 2
REPORT_CHARS = 40_000
"""What a judge is shown of a report; a longer one is cut there, and the judge is told."""
T = TypeVar("T")
Marked = tuple[dict[str, list[float]], dict[str, list[float]]]
"""Marks of report A and of report B."""


class Ask(Protocol):
    """Asks a judge. `task`: "judge.pair" or "judge.criteria". Gives the text of the reply; empty where there is none."""

    def __call__(self, task: str, prompt: str, schema: dict, seed: int) -> Awaitable[str]: ...


@dataclass(slots=True, frozen=True)
class Judge:
    """`name` as it stands in results: engine and model."""

    name: str
    ask: Ask


@dataclass(slots=True, frozen=True)
class Side:
    """A report to be judged. `sources`: the tool results that its author saw, for judges to check it by; `model`: its maker."""

    report: str
    sources: tuple[str, ...] = ()
    model: str = ""


def side_of(trajectory: Trajectory, model: str = "") -> Side:
    """The last report of a trajectory, with the tool results that show a product which it names, by id or title, or that tell of it."""
    report = trajectory.reports[-1] if trajectory.reports else ""
    text = report_body(report)[:READ]
    named, said = {*parse_report(report).product_ids, *PRODUCT_ID.findall(text)}, text.lower()

    def shows(result: str) -> bool:
        seen = Evidence.from_texts([result])
        return not named.isdisjoint(seen.seen_ids | seen.told.keys()) or any(p.title and p.title.lower() in said for p in seen.visited.values())

    texts = [s.tool_result.text for s in trajectory.steps if s.role == "research" and s.tool_result is not None and s.tool_result.ok]
    return Side(report, tuple(t for t in dict.fromkeys(texts) if shows(t)), model)


async def judge_pair(
    judges: Sequence[Judge], prompts: Prompts, criteria: Criteria, target: Side, reference: Side, repeats: int = 1, swap: bool = True, seed: int = 0
) -> RaceResult:
    """The RACE result of a pair. `swap`: also ask with the reference first. Raises what a judge's `ask` raises, ValueError without
    judges or repeats."""
    if not judges or repeats < 1:
        raise ValueError("a pair needs at least one judge and one repeat")
    schema = replies.marks_schema(len(criteria.flat()))

    async def one(judge: Judge, order: str, repeat: int) -> Judged:
        first, second = (target, reference) if order == "target" else (reference, target)
        prompt = pair_prompt(prompts, criteria, first, second)
        marks = await _ask(judge, "judge.pair", prompt, schema, (seed, criteria.id, judge.name, order, repeat), lambda text: read_marks(text, criteria))
        if marks is None:
            return Judged(judge.name, order, repeat, None)
        return Judged(judge.name, order, repeat, race(criteria, *(marks if order == "target" else reversed(marks))))

    orders = ("target", "reference") if swap else ("target",)
    judged = await asyncio.gather(*(one(j, order, n) for j in judges for order in orders for n in range(repeats)))
    return combine(judged, self_reference(target.report, reference.report, target.model, reference.model))


async def make_criteria(judge: Judge, prompts: Prompts, query: str, id: str = "", trials: int = 3, seed: int = 0) -> Criteria | None:
    """Criteria for a query; None where no trial could be read."""
    prompt, schema = prompts.render("judge_criteria", query=query), replies.criteria_schema(DIMENSIONS)
    asked = (_ask(judge, "judge.criteria", prompt, schema, (seed, id, query, n), lambda text: read_criteria(text, query, id)) for n in range(trials))
    read = [c for c in await asyncio.gather(*asked) if c is not None]
    return Criteria(id, query, mean_weights([c.weights for c in read]), read[0].criteria) if read else None


def pair_prompt(prompts: Prompts, criteria: Criteria, a: Side, b: Side) -> str:
    """The prompt that asks for the marks of two reports."""
    listed = []
    for n, (dimension, c) in enumerate(criteria.flat(), 1):
        item = {"item": asdict(c.item)} if c.item is not None else {}
        listed.append({"n": n, "dimension": dimension, "criterion": c.criterion, "explanation": c.explanation} | item)
    texts = [_shown(side.report) for side in (a, b)]
    return prompts.render("judge_pair", query=criteria.query, criteria=listed, a=texts[0], b=texts[1], sources_a=a.sources, sources_b=b.sources)


def prompt_record(prompts: Prompts) -> dict[str, str]:
    """Name → hash of the prompts of a judge."""
    return {name: prompts.hash(name) for name in ("judge_pair", "judge_criteria")}


def read_marks(text: str, criteria: Criteria) -> Marked | None:
    """The marks of a reply; None unless both reports have exactly one mark from 0 to 10 on every criterion."""
    reply = _json(text)
    flat = criteria.flat()
    rows = reply.get("marks")
    if rows is None:  # DeepResearch Bench's own form: a list for each dimension
        rows = [row for d in DIMENSIONS for row in _list(reply.get(d))]
    found: dict[int, tuple[float, float]] = {}
    rows = [row for row in _list(rows) if isinstance(row, dict)]
    names = {" ".join(c.criterion.split()).lower(): n for n, (_, c) in enumerate(flat)}
    for at, row in enumerate(rows):
        n = _number(row.get("n"))
        named = names.get(" ".join(str(row.get("criterion", "")).split()).lower())
        index = int(n) - 1 if n is not None and n.is_integer() else named if named is not None else at if len(rows) == len(flat) else -1
        pair = _mark(row, "a", "report_a", "article_1_score"), _mark(row, "b", "report_b", "article_2_score")
        if index in found or not 0 <= index < len(flat) or None in pair:
            return None
        found[index] = pair
    if len(found) != len(flat):
        return None
    a: dict[str, list[float]] = {d: [] for d in DIMENSIONS}
    b: dict[str, list[float]] = {d: [] for d in DIMENSIONS}
    for n, (dimension, _) in enumerate(flat):
        a[dimension].append(found[n][0])
        b[dimension].append(found[n][1])
    return a, b


def read_criteria(text: str, query: str, id: str = "") -> Criteria | None:
    """The criteria of a reply, weights scaled to 1; None where it does not hold criteria for every dimension."""
    reply = _json(text)
    try:
        weights = mean_weights([{d: float(_number(reply["dimension_weight"][d])) for d in DIMENSIONS}])
        lists = {}
        for d in DIMENSIONS:
            rows = [{"criterion": r["criterion"], "explanation": r.get("explanation", ""), "weight": float(_number(r["weight"]))} for r in reply["criterions"][d]]
            total = math.fsum(r["weight"] for r in rows)
            lists[d] = [r | {"weight": r["weight"] / total} for r in rows]
        return criteria_from({"id": id, "prompt": query, "dimension_weight": weights, "criterions": lists})
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        return None


async def _ask(judge: Judge, task: str, prompt: str, schema: dict, key: tuple, read: Callable[[str], T | None]) -> T | None:
    """What the first readable reply says; None after `ATTEMPTS`."""
    for attempt in range(ATTEMPTS):
        digest = hashlib.sha256("|".join(map(str, (*key, attempt))).encode()).digest()
        answer = read(await judge.ask(task, prompt, schema, int.from_bytes(digest[:4], "big") >> 1))
        if answer is not None:
            return answer
    return None


def _shown(report: str) -> str:
    body = report_body(report)
    if not body:
        return "(the report is empty)"
    return body if len(body) <= REPORT_CHARS else body[:REPORT_CHARS] + "\n(cut here; the report goes on)"


def _json(text: str) -> dict:
    return replies.read_json(text.rpartition("</think>")[2]) or {}


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _mark(row: dict, *keys: str) -> float | None:
    mark = next((_number(row[k]) for k in keys if k in row), None)
    return mark if mark is not None and LOWEST <= mark <= HIGHEST else None


def _number(value: Any) -> float | None:
    """A number, also as text ("7", "7/10"); None for anything else."""
    if isinstance(value, str) and (m := re.fullmatch(r"\s*(-?\d{1,9}(?:\.\d{1,9})?)\s*(?:/\s*10)?\s*", value)):
        value = float(m.group(1))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
