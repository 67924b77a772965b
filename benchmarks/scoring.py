"""Scoring: what a report costs, and how the cost grows.

    python -m benchmarks.scoring            100 held-out queries, the expert's trajectories; about a minute
    python -m benchmarks.scoring --quick    20 queries

1. The scripted expert plays evaluation tasks of a generated world; its trajectories are what is scored, each anew from the recorded
   steps: tool results read, report parsed, claims grounded, rubric checked (`score_100_s`: all of it, for 100 queries, one core).
2. `…_per_s` are the parts by themselves, on evidence that is read already.
3. Growth: a report of up to `SIZES[-1]` times its length (its products again, under other ids, up to what is read of a report),
   and a trajectory with as many times its tool results, under ids of their own; the exponent is the slope of log time over log length
   at the greater lengths. These reports also compare two products in a sentence, and these trajectories also read a lab test.

Times are those of the processor that this process used, the least of some runs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from actors.expert import ExpertEngine
from actors.rollout import Rollout, play
from benchmarks.common import Figure, finish, machine, table, versions
from prstack.evaluation.metrics import Truth, measure
from prstack.evaluation.tasks import Task, make_tasks
from prstack.prompts import Prompts
from prstack.scoring.evidence import Evidence
from prstack.scoring.grounding import ground
from prstack.scoring.report import READ, parse_report
from prstack.scoring.rubric import score
from prstack.settings import WorldConfig
from prstack.tools.results import format_web_page
from prstack.tools.toolbox import Toolbox
from prstack.types import Page, Step, ToolCall, ToolResult, Trajectory
from prstack.world.world import World, build

QUERIES, QUICK, RUNS = 100, 20, 5
SIZES, LAST = (1, 2, 4, 8, 16, 32), 3
"""Lengths that are compared, as multiples; the exponent is that of the last ones, where what every report costs weighs least."""


def recorded(queries: int, folder: Path) -> tuple[list[Task], list[Trajectory]]:
    """Tasks of held-out users, and the expert's trajectories."""
    build(WorldConfig(users=max(60, 3 * queries), seed=1000, split="evaluation"), folder)
    toolbox, tasks = Toolbox(folder), make_tasks(World.open(folder), queries)

    async def run() -> list[Trajectory]:
        engine, prompts = ExpertEngine(), Prompts(None)
        return [await play(engine, toolbox, prompts, t.query, Rollout(), id=t.id, seed=0, user_id=t.user_id, rubric=t.rubric) for t in tasks]

    return tasks, asyncio.run(run())


def seconds(work: Callable[[], object], runs: int = RUNS) -> float:
    """Processor time of one run, the least of `runs`."""
    taken = []
    gc.collect()
    for _ in range(runs):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def comparing(t: Trajectory) -> Trajectory | None:
    """The trajectory with a sentence about two products at the end of its report, and with a lab test of them; None where it lists fewer."""
    pages = [p for i in parse_report(t.reports[-1] if t.reports else "").product_ids if (p := Evidence.from_steps(t.steps).visited.get(i))]
    if len(pages) < 2:
        return None
    one, two = pages[:2]
    name = next(n for n, a in one.attributes.items() if a.unit and n in two.attributes)
    said = f"{one.id} has a {name} of {one.attributes[name].value}, against {two.attributes[name].value} for {two.id}."
    tested = "\n".join(f"{p.title} ({p.id}). We measured 2 years for the warranty. Our bench gave {p.attributes[name].value} for the {name}." for p in (one, two))
    page = format_web_page(Page("W1", "", "On the bench", tested, "lab_test", "2025-01"))
    visit = Step("research", "toolcall", 0, tool_call=ToolCall("web", "web_visit", "{}"), tool_result=ToolResult("web", True, page))
    return replace(t, steps=[*t.steps, visit], reports=[t.reports[-1].replace("</report>", f"\n{said}\n</report>")])


def longer_report(report: str, times: int) -> str:
    """A report with `times` as many products; the added ones have ids of their own."""
    body = report.removeprefix("<report>").removesuffix("</report>")
    return "<report>" + "\n".join(_renamed(body, n) for n in range(times)) + "</report>"


def longer_trajectory(steps: Sequence[Step], times: int) -> list[Step]:
    """The steps `times` over, with other ids in the repeated tool results."""
    out = list(steps)
    for n in range(1, times):
        for s in steps:
            if s.tool_result is not None:
                out.append(replace(s, tool_result=replace(s.tool_result, call_id=f"{s.tool_result.call_id}-{n}", text=_renamed(s.tool_result.text, n))))
    return out


def _renamed(text: str, n: int) -> str:
    return re.sub(r"\bP(\d+)\b", lambda m: f"P{int(m[1]) + 10_000 * n}", text) if n else text


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Slope of log time over log size, by least squares."""
    xs, ys = [math.log(s) for s in sizes], [math.log(t) for t in times]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def growth(trajectories: Sequence[Trajectory]) -> tuple[dict[str, Figure], list[tuple]]:
    """Exponents and the rows of their table: multiple, characters and ms a trajectory, of reports and of trajectories."""
    some = [c for t in trajectories if (c := comparing(t))][:10]
    fitting = [n for n in SIZES if all(n * len(t.reports[-1]) < READ for t in some)]
    rows, of_reports, of_trajectories = [], [], []
    for n in SIZES:
        row: list = [n]
        if n in fitting:
            # The evidence knows every product of the longest report, so that only the report grows.
            sets = [(longer_report(t.reports[-1], n), t.rubric, Evidence.from_steps(longer_trajectory(t.steps, fitting[-1]))) for t in some]
            took = seconds(lambda sets=sets: [score(parse_report(r), rubric, e) for r, rubric, e in sets]) / len(some)
            of_reports.append((n, took))
            row += [sum(len(r) for r, _, _ in sets) // len(some), took * 1000]
        else:
            row += ["", ""]
        steps = [longer_trajectory(t.steps, n) for t in some]
        took = seconds(lambda steps=steps: [score(parse_report(t.reports[-1]), t.rubric, Evidence.from_steps(s)) for t, s in zip(some, steps, strict=True)]) / len(some)
        of_trajectories.append((n, took))
        row += [sum(len(s.tool_result.text) for ss in steps for s in ss if s.tool_result) // len(some), took * 1000]
        rows.append(tuple(row))
    figures = {
        "scaling_exponent_report": Figure(exponent(*zip(*of_reports[-LAST:], strict=True)), 1.1),
        "scaling_exponent_trajectory": Figure(exponent(*zip(*of_trajectories[-LAST:], strict=True)), 1.1),
    }
    return figures, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} queries")
    quick = parser.parse_args().quick
    queries, described = (QUICK if quick else QUERIES), machine()
    with tempfile.TemporaryDirectory() as folder:
        tasks, trajectories = recorded(queries, Path(folder) / "world")
    reports = [t.reports[-1] if t.reports else "" for t in trajectories]
    parsed, evidence = [parse_report(r) for r in reports], [Evidence.from_steps(t.steps) for t in trajectories]

    whole = seconds(lambda: [score(parse_report(r), t.rubric, Evidence.from_steps(t.steps)) for r, t in zip(reports, trajectories, strict=True)])
    metrics = seconds(lambda: [measure(t, Truth(k.valid_ids)) for t, k in zip(trajectories, tasks, strict=True)])
    scoring = seconds(lambda: [score(r, t.rubric, e) for r, t, e in zip(reports, trajectories, evidence, strict=True)])
    grounding = seconds(lambda: [ground(p, e, t.rubric) for p, t, e in zip(parsed, trajectories, evidence, strict=True)])
    parsing = seconds(lambda: [parse_report(r) for r in reports])
    growing, rows = growth(trajectories)
    table("Growth of score", ("times", "characters of the report", "ms", "characters of tool results", "ms"), rows)
    figures = {
        "score_100_s": Figure(whole * 100 / queries, 2, "s"),
        "metrics_100_s": Figure(metrics * 100 / queries, None, "s"),
        "reports_per_s": Figure(queries / scoring, None, "1/s"),
        "grounding_reports_per_s": Figure(queries / grounding, None, "1/s"),
        "parsed_reports_per_s": Figure(queries / parsing, None, "1/s"),
        **growing,
        "tool_results_per_query": Figure(sum(len(e.texts) for e in evidence) / queries),
    }
    finish("scoring", figures, quick, described, versions("prstack"))


if __name__ == "__main__":
    main()
