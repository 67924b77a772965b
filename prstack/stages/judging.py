"""RACE in `prstack evaluate`: the greedy reports of every subject beside those of a reference subject, by a judge.

1. A query's criteria are those of its typed rubric (`prstack.scoring.criteria`); judges also get the tool results behind each report.
2. A pair is judged `judge_repeats` times in both orders (`prstack.scoring.judge`). What was judged stands in `judgements.jsonl`, a line
   as soon as it is there, under a key of all that decides it; it is never asked for again.
3. Beside the results stands how far the judge agrees with the verifiable scores, as shares target / (target + reference) of each pair.

The judge `expert` checks by rule (`actors.expert.judge`). It shows that the path works, and is no language model.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from actors.agent import short_hash
from actors.engine import EngineError
from actors.expert import ExpertEngine
from actors.judge import engine_judge
from actors.synthesis import serve
from prstack.errors import UserError
from prstack.evaluation.agreement import agreement
from prstack.evaluation.bootstrap import mean_interval
from prstack.evaluation.results import Measured
from prstack.prompts import Prompts
from prstack.scoring.criteria import DIMENSIONS, criteria_of_rubric
from prstack.scoring.judge import Judge, Side, judge_pair, prompt_record, side_of
from prstack.scoring.race import RaceResult, share, summarise
from prstack.settings import Config
from prstack.stages.cluster import ray_session
from prstack.stages.distill import content_of
from prstack.stages.models import resolve_model
from prstack.store.parts import Parts
from prstack.store.records import from_row
from prstack.types import Trajectory

NONE, BY_RULE = "none", "expert"
REPEATED = 0.7
"""Temperature of a model that is asked more than once in each order."""

Pair = tuple[Measured, Measured]


def check(config: Config) -> None:
    """Raises UserError for a reference that is not evaluated, and for a judge that is not there."""
    e = config.evaluation
    names = [s.partition("=")[0] for s in e.subjects]
    if e.judge != NONE and e.reference not in names:
        raise UserError(f"evaluation.reference: {e.reference} is none of evaluation.subjects ({', '.join(names)}), so there is no report of it to judge by")
    if e.judge not in (NONE, BY_RULE):
        resolve_model(e.judge)


def judge_all(config: Config, folder: Path, measured: Sequence[Measured], prompts: Prompts) -> dict[str, Any]:
    """Judges what was not judged before. RACE of all subjects but the reference, with what it rests on, for results.json."""
    e = config.evaluation
    greedy = {(m.subject, m.task.id): m for m in measured if m.n == 0}
    pairs = [(m, ref) for (subject, task), m in greedy.items() if subject != e.reference and (ref := greedy.get((e.reference, task)))]
    record = prompt_record(prompts)
    about = {"judge": e.judge, "by_rule": e.judge == BY_RULE, "reference": e.reference, "repeats": e.judge_repeats, "prompts": record}
    by = short_hash(e.judge, _content(e.judge), record["judge_pair"], e.judge_repeats)
    keys = {(t.id, r.id): short_hash(by, t.id, r.id) for t, r in pairs}
    file = folder / "judgements.jsonl"
    done = _read(file)
    if missing := [p for p in pairs if keys[p[0].id, p[1].id] not in done]:
        sides = _sides(folder, {m.id: m.subject for p in missing for m in p})
        with _judge(config) as judge, file.open("a", encoding="utf-8") as out:
            out.write("\n")  # ends a line that a crash cut off
            asyncio.run(_judge_pairs(config, judge, prompts, missing, sides, keys, out))
        done = _read(file)
    return about | _summary([(p, done[keys[p[0].id, p[1].id]]) for p in pairs])


def _content(judge: str) -> str:
    """A hash of a model's weights; nothing for the judge by rule."""
    return "" if judge == BY_RULE else content_of(sorted(resolve_model(judge).glob("*.safetensors")))


def _summary(judged: Sequence[tuple[Pair, RaceResult]]) -> dict[str, Any]:
    rows = {}
    for name in dict.fromkeys(target.subject for (target, _), _ in judged):
        results = [r for (target, _), r in judged if target.subject == name]
        intervals = {"overall": _interval(r.overall for r in results)} | {d: _interval(r.dimensions.get(d) for r in results) for d in DIMENSIONS}
        low, high = intervals["overall"] or (None, None)
        rows[name] = summarise(results) | {"low": low, "high": high, "intervals": intervals}
    both = [(r.overall, share(t.metrics.score, ref.metrics.score), t.task.id) for (t, ref), r in judged if r.overall is not None]
    return {"subjects": rows, "agreement": agreement(*map(list, zip(*both, strict=True))).row() if len(both) > 1 else None}


def _interval(values: Iterable[float | None]) -> tuple[float, float] | None:
    """The interval of the mean over queries that have a value; None without any."""
    found = [v for v in values if v is not None]
    interval = mean_interval(found) if found else None
    return (interval.low, interval.high) if interval else None


def _read(file: Path) -> dict[str, RaceResult]:
    """Key → result; a line that was cut off by a crash is left out, and judged again."""
    found: dict[str, RaceResult] = {}
    for line in file.read_text(encoding="utf-8").split("\n") if file.exists() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row: Mapping[str, Any] = json.loads(line)
            found[row["key"]] = RaceResult(**row["result"])
    return found


def _sides(folder: Path, wanted: Mapping[str, str]) -> dict[str, Side]:
    """Conversation id → its report, for those that are wanted (id → subject)."""
    rows = (row for row in Parts(folder / "trajectories", Trajectory).rows() if row["id"] in wanted)
    return {row["id"]: side_of(from_row(Trajectory, row), wanted[row["id"]]) for row in rows}


@contextlib.contextmanager
def _judge(config: Config) -> Iterator[Judge]:
    name = config.evaluation.judge
    if name == BY_RULE:
        yield engine_judge(ExpertEngine(), BY_RULE)
        return
    temperature = REPEATED if config.evaluation.judge_repeats > 1 else 0.0
    with ray_session(config.ray), serve(config.engine, resolve_model(name)) as pool:
        yield engine_judge(pool, name, temperature)


async def _judge_pairs(
    config: Config, judge: Judge, prompts: Prompts, pairs: Sequence[Pair], sides: Mapping[str, Side], keys: Mapping[tuple[str, str], str], out: Any
) -> None:
    room = asyncio.Semaphore(config.evaluation.concurrency)

    async def one(target: Measured, reference: Measured) -> None:
        task = target.task
        criteria = criteria_of_rubric(task.query, task.rubric, task.id)
        async with room:
            result = await judge_pair([judge], prompts, criteria, sides[target.id], sides[reference.id], config.evaluation.judge_repeats, seed=config.seed)
        line = {"key": keys[target.id, reference.id], "subject": target.subject, "task": task.id, "reference": reference.subject, "judge": judge.name, "result": asdict(result)}
        out.write(json.dumps(line, ensure_ascii=False) + "\n")
        out.flush()
        bar.update()

    with tqdm(total=len(pairs), desc=f"judged by {judge.name}", unit=" pairs", mininterval=1.0) as bar:
        try:
            async with asyncio.TaskGroup() as group:
                for pair in pairs:
                    group.create_task(one(*pair))
        except ExceptionGroup as failed:
            first = failed.exceptions[0]
            if isinstance(first, EngineError):
                raise UserError(f"evaluation.judge={judge.name}: its engine gave up ({first}); what was judged is kept, and the same command goes on from there") from first
            raise first from None
