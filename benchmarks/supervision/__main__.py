"""The supervisor as a classifier of errors: recall and precision for every kind of fault, and false alarms.

    python -m benchmarks.supervision                          the expert, on 120 episodes of three generated worlds; some minutes
    python -m benchmarks.supervision --quick                  12 episodes of one world
    python -m benchmarks.supervision --engine my_module:make  any engine: `make()` gives an object with `async complete(Request)`
    python -m benchmarks.supervision --no-held-out --misses 2 while writing rules: without the held-out kinds, with examples of misses

1. The expert plays episodes without mistakes; each of its steps is a clean moment (`moments.py`).
2. Every kind of fault is put into moments drawn by lot, and every harmless rewording (`plans.py`, `calls.py`, `searches.py`, `reports_*.py`).
3. The engine under test gives its verdicts on all of them through the supervisor agent (`harness.py`).
4. `docs/experiments/supervision.md` says what is held out and what the figures are.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from actors.expert import ExpertEngine
from benchmarks.common import Clock, Figure, finish, machine, table, versions
from benchmarks.supervision.harness import Judged, judge, mutants
from benchmarks.supervision.kinds import Kind, all_kinds
from benchmarks.supervision.measure import Result, Share, mean, result, sent_back, total
from benchmarks.supervision.moments import Moment, clean_moments
from prstack.errors import UserError
from prstack.plugins import import_callable

WORLDS, EPISODES, EACH = ("easy", "medium", "hard"), 40, 100
QUICK_WORLDS, QUICK_EPISODES, QUICK_EACH = ("medium",), 12, 10
STATES = ("plan", "toolcall", "report")


def make_engine(path: str) -> Any:
    """The engine that `--engine` names. Raises prstack.errors.UserError for a path that leads nowhere."""
    return ExpertEngine() if path == "expert" else import_callable(path, "--engine")()


async def judge_all(engine: Any, clean: list[Moment], made: dict[str, list[Moment]], concurrency: int) -> tuple[list[Judged], dict[str, list[Judged]]]:
    """Verdicts on the clean moments, and on the mutants by kind."""
    if inspect.iscoroutinefunction(getattr(engine, "ready", None)):
        await engine.ready()
    try:
        return await judge(engine, clean, concurrency), {name: await judge(engine, moments, concurrency) for name, moments in made.items()}
    finally:
        if inspect.iscoroutinefunction(getattr(engine, "shutdown", None)):
            await engine.shutdown()


def print_results(results: list[Result], alarms: dict[str, Share]) -> None:
    faults = sorted((r for r in results if not r.kind.harmless), key=lambda r: (STATES.index(r.kind.state), r.kind.name))
    rows = [(r.kind.name, r.group, r.sent_back.n, r.sent_back.text(), r.named.text(), r.precision(alarms[r.kind.state])) for r in faults]
    table(
        "Faults: share that is sent back (recall), and of that, with a finding that names the fault",
        ("kind", "group", "n", "recall", "named", "precision"),
        rows,
    )
    rows = [(f"clean: {state}", "clean", s.n, s.text()) for state, s in alarms.items()]
    rows += [(r.kind.name, r.group, r.sent_back.n, r.sent_back.text()) for r in results if r.kind.harmless]
    table("False alarms: share that is sent back and should not be", ("kind", "group", "n", "false alarms"), rows)


def print_misses(judged: dict[str, list[Judged]], clean: list[Judged], kinds: list[Kind], most: int) -> None:
    """Examples of faults that were approved, and of right moments that were sent back."""
    for kind in kinds:
        missed = [j for j in judged[kind.name] if j.sent_back == kind.harmless]
        for j in missed[:most]:
            print(f"\n--- {kind.name}: {j.moment.why or (j.verdict.reason if j.verdict else '')}\nquery: {j.moment.trajectory.query}")
            step = j.moment.step
            print(step.content, *((step.tool_call.name, step.tool_call.arguments, step.tool_result.text[:600]) if step.tool_call else ()), sep="\n")
    for reason, n in Counter(j.verdict.reason for j in clean if j.sent_back).most_common(20):
        print(f"clean, sent back {n} times: {reason}")


def figures_of(results: list[Result], alarms: dict[str, Share]) -> dict[str, Figure]:
    groups = {group: [r for r in results if r.group == group] for group in dict.fromkeys(r.group for r in results)}
    figures = {
        f"recall_{group.replace(' ', '_')}": Figure(round(mean(found), 4), 0.9 if group == "planned" else None, at_least=True)
        for group, found in groups.items()
        if group in ("planned", "other", "held out")
    }
    figures["false_alarms_clean"] = Figure(round(total(alarms.values()).value, 4), 0.02)
    figures |= {f"false_alarms_{state}": Figure(round(share.value, 4), 0.02) for state, share in alarms.items()}
    for group in ("harmless", "harmless, held out"):
        if found := groups.get(group):
            figures[f"false_alarms_{group.replace(', ', '_').replace(' ', '_')}"] = Figure(round(mean(found), 4))
    if planned := groups.get("planned"):
        figures["kinds_planned_below_0.9"] = Figure(sum(r.sent_back.value < 0.9 for r in planned if r.sent_back.n), 0)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_EPISODES} episodes of one world")
    parser.add_argument("--engine", default="expert", help="expert, or the import path of a function that makes an engine")
    parser.add_argument("--episodes", type=int, help="episodes of each world")
    parser.add_argument("--each", type=int, help="mutants of each kind at most")
    parser.add_argument("--seed", type=int, default=7, help="of worlds, episodes and mutants")
    parser.add_argument("--concurrency", type=int, default=16, help="checks in flight")
    parser.add_argument("--no-held-out", action="store_true", help="leave the held-out kinds out")
    parser.add_argument("--misses", type=int, default=0, help="examples of each kind of misjudged moments that are printed")
    given = parser.parse_args()
    described = machine()
    try:
        engine = make_engine(given.engine)
    except UserError as e:
        parser.error(str(e))
    worlds = QUICK_WORLDS if given.quick else WORLDS
    episodes = given.episodes or (QUICK_EPISODES if given.quick else EPISODES)
    each = given.each or (QUICK_EACH if given.quick else EACH)
    clean, left_out = [], Counter()
    with tempfile.TemporaryDirectory() as folder:
        for n, difficulty in enumerate(worlds):
            moments, without = clean_moments(difficulty, episodes, given.seed + n, Path(folder) / difficulty)
            clean += moments
            left_out += without
        kinds = [k for k in all_kinds() if not (given.no_held_out and k.held_out)]
        made = {k.name: mutants(k, clean, each, given.seed) for k in kinds}
        clock = Clock()
        judged_clean, judged = asyncio.run(judge_all(engine, clean, made, given.concurrency))
    alarms = {state: sent_back(j for j in judged_clean if j.moment.state == state) for state in STATES}
    results = [result(k, judged[k.name]) for k in kinds]
    if given.misses:
        print_misses(judged, judged_clean, kinds, given.misses)
    print_results(results, alarms)
    everything = [*judged_clean, *(j for js in judged.values() for j in js)]
    notes = [
        f"engine {given.engine}; {len(clean)} clean moments, {len(everything) - len(clean)} mutants of {len(kinds)} kinds, judged in {clock.seconds:.0f} s"
    ]
    notes += [f"left out: {n} {reason}" for reason, n in sorted(left_out.items())]
    if failed := sum(j.verdict is None for j in everything):
        notes.append(f"{failed} checks failed in the engine and count as neither")
    notes += [f"no mutant: {k.name}" for k in kinds if not made[k.name]]
    details = {
        "clean": {state: share.row() for state, share in alarms.items()},
        "kinds": {r.kind.name: {"group": r.group, **r.sent_back.row(), "named": r.named.row()["share"]} for r in results},
    }
    name = "supervision" if given.engine == "expert" else f"supervision-{given.engine.replace(':', '-')}"
    finish(name, figures_of(results, alarms), given.quick, described, versions("prstack"), notes, details)


if __name__ == "__main__":
    main()
