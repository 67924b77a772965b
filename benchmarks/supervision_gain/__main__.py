"""What supervision gains, with intervals: over the expert's error rates, and over the report rounds of a student.

    python -m benchmarks.supervision_gain errors                   the expert, its error rates times 0 to 20; some minutes
    python -m benchmarks.supervision_gain student --model FOLDER   a trained model before the expert as supervisor; some minutes
    python -m benchmarks.supervision_gain student --quick          8 queries; without --model the base, which has learned no tool
    python docs/images/draw.py supervision                         draws docs/images/supervision.svg from what the runs measured

`errors`: the scripted research agent errs more and more often (`agents.mistakes`, each rate times a factor and at most 1), before the expert as
supervisor and before one that takes everything.

`student`: the queries are the first of those that `prstack evaluate` asks by default: of users, products and needs that training has not seen. The same
model answers them supervised, with corrections that say nothing, with verdicts ignored, and alone (`episodes.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from actors.engine import EngineError
from actors.expert import ExpertEngine
from benchmarks.common import Clock, Figure, finish, machine, table, versions
from benchmarks.supervision.engines import NAMED, Brief, label, opened
from benchmarks.supervision_gain.episodes import (
    ALONE,
    IGNORED,
    SILENT,
    SUPERVISED,
    play_alone,
    play_arm,
    prepare,
)
from benchmarks.supervision_gain.measure import (
    Interval,
    Means,
    differences,
    means,
    plain,
    text,
)
from benchmarks.supervision_gain.reaction import Reaction, plans_after, reactions
from prstack.errors import UserError
from prstack.evaluation.tasks import make_tasks
from prstack.report.rounds import RoundScore, score_by_round
from prstack.scoring.gate import Task
from prstack.settings import AgentsConfig, EngineConfig, EvaluationConfig, MistakesConfig, WorldConfig
from prstack.store.parts import Parts
from prstack.store.records import from_row
from prstack.types import Trajectory
from prstack.world.world import World, build

FACTORS = (0.0, 1.0, 2.0, 4.0, 5.0, 20.0)
"""At 5 every plan and every report errs that can, at 20 every call too."""
EPISODES, QUERIES, QUICK = 120, 80, 8
ROUNDS = 6
"""Report rounds of a student: as many as in the paper."""
FREE = f"{ALONE}, free"
ARMS = (SUPERVISED, ALONE, SILENT, IGNORED, FREE)
COMPARED = ("score_first", "score_last", "e_prod_last", "on_merit_last", "with_report")


def times(factor: float) -> dict[str, float]:
    """The error rates of `agents.mistakes`, times a factor."""
    return {name: min(1.0, factor * rate) for name, rate in dataclasses.asdict(MistakesConfig()).items()}


def errors(given: argparse.Namespace) -> None:
    described, clock, limits = machine(), Clock(), AgentsConfig(max_tool_calls=given.tool_calls)
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        build(WorldConfig(seed=given.seed, users=3 * given.queries, difficulty=given.difficulty), world)
        tasks, rejected = asyncio.run(prepare(world, given.queries, given.seed, limits))
        played = {
            (f, arm): asyncio.run(play_arm(arm, ExpertEngine(times(f)), world, tasks, limits, given.seed)) for f in FACTORS for arm in (SUPERVISED, IGNORED)
        }
    found = {key: means(ts) for key, ts in played.items()}
    rows = {f: found[f, SUPERVISED] for f in FACTORS}
    print_means("Approval and rounds, supervised", rows, ("approved", "approved_plan", "approved_toolcall", "approved_report"), "error rates ×")
    print_means("Turns that are approved at once, supervised", rows, ("at_once_plan", "at_once_toolcall", "at_once_report"), "error rates ×")
    print_means("Rounds and calls, supervised", rows, ("rounds_plan", "rounds_toolcall", "rounds_report", "tool_calls"), "error rates ×")
    for of in ("score", "on_merit", "e_prod"):
        both = {f: {"first": rows[f][f"{of}_first"], "last": rows[f][f"{of}_last"], IGNORED: found[f, IGNORED][f"{of}_last"]} for f in FACTORS}
        print_means(f"{of} of the first and the last report, and without a supervisor", both, ("first", "last", IGNORED), "error rates ×")
    against = {f: differences(played[f, SUPERVISED], played[f, IGNORED], COMPARED) for f in FACTORS}
    print_means("Supervised less ignored, paired by query", against, COMPARED, "error rates ×", "+")
    figures = {
        f"{name}_x{f:g}": Figure(round(rows[f][name].mean_difference, 4)) for f in FACTORS for name in ("approved_report", "rounds_report", "score_last")
    }
    figures |= {f"score_ignored_x{f:g}": Figure(round(found[f, IGNORED]["score_last"].mean_difference, 4)) for f in FACTORS}
    notes = [
        f"{len(tasks)} queries ({given.difficulty} world), {rejected} rejected by the gate before; {given.tool_calls} tool calls at most; {clock.seconds:.0f} s"
    ]
    details = {
        "rates": {f"{f:g}": times(f) for f in FACTORS},
        "arms": {f"{f:g}": {arm: plain(found[f, arm]) for arm in (SUPERVISED, IGNORED)} for f in FACTORS},
        "differences": {f"{f:g}": plain(against[f]) for f in FACTORS},
        "terminations": {f"{f:g}": count(t.termination for t in played[f, SUPERVISED]) for f in FACTORS},
    }
    capped = "" if given.tool_calls == AgentsConfig.max_tool_calls else f"-{given.tool_calls}-calls"
    finish(f"supervision-errors{capped}", figures, given.quick, described, versions("prstack"), notes, details)


def student(given: argparse.Namespace) -> None:
    described, clock, limits = machine(), Clock(), AgentsConfig(max_report_rounds=given.rounds, max_tool_calls=given.tool_calls)
    name = given.name or label(given.engine, given.model)
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        tasks = held_out(world, given.queries)
        try:
            played = play_student(world, tasks, limits, given)
        except (UserError, EngineError) as e:
            raise SystemExit(f"error: {e}") from None
    figures, details = compare(played)
    notes = [
        f"{name}; {len(tasks)} held-out queries, temperature {given.temperature:g}, turns of at most {given.max_tokens} tokens, at most {given.rounds} reports; {clock.seconds:.0f} s"
    ]
    finish(f"supervision-student-{name}", figures, given.quick, described, versions("prstack"), notes, details)


def play_student(world: Path, tasks: Mapping[str, Task], limits: AgentsConfig, given: argparse.Namespace) -> dict[str, list[Trajectory]]:
    """Arm → its trajectories, in the order of the tasks. What is kept already is not played again; the engine starts only for what is not."""
    folders = {arm: Path(given.keep or world.parent) / arm.replace(", ", "-") for arm in given.arms}

    async def play_missing() -> None:
        async with opened(given.engine, EngineConfig(model=given.model, temperature=given.temperature)) as engine:
            brief = Brief(engine, given.max_tokens)
            for arm, folder in folders.items():
                with Parts(folder, Trajectory, flush_every=2) as kept:
                    missing = {id: task for id, task in tasks.items() if id not in kept}
                    if arm in (ALONE, FREE):
                        await play_alone(brief, world, missing, limits, given.seed, arm == ALONE, given.temperature, given.concurrency, kept.add)
                    else:
                        await play_arm(arm, brief, world, missing, limits, given.seed, given.concurrency, kept.add)

    if any(id not in Parts(folder, Trajectory) for folder in folders.values() for id in tasks):
        asyncio.run(play_missing())
    found = {arm: {row["id"]: row for row in Parts(folder, Trajectory).rows()} for arm, folder in folders.items()}
    return {arm: [from_row(Trajectory, rows[id]) for id in tasks] for arm, rows in found.items()}


def compare(played: Mapping[str, Sequence[Trajectory]]) -> tuple[dict[str, Figure], dict]:
    """Prints the tables of a student's arms; the figures, and what stands in the document beside them."""
    found = {arm: means(ts) for arm, ts in played.items()}
    print_means("Means over queries", found, ("with_report", "approved", "rounds_report", "tool_calls"), "")
    print_means("Reports", found, ("score_first", "score_last", "e_prod_last", "on_merit_last"), "")
    checked = {arm: ts for arm, ts in played.items() if arm in (SUPERVISED, SILENT)}
    print_means("Checks that approve", {arm: found[arm] for arm in checked}, ("approved_plan", "approved_toolcall", "approved_report"), "")
    at = {arm: score_by_round(ts) for arm, ts in checked.items()}
    for arm, rounds in at.items():
        print_rounds(arm, rounds)
    first, *others = played
    against = {arm: differences(played[first], played[arm], COMPARED) for arm in others}
    print_means(f"{first} less the other, paired by query", against, COMPARED, "", "+")
    reacted = {arm: reactions(ts) for arm, ts in checked.items()}
    print_reactions(reacted)
    plans = {arm: plans_after(ts) for arm, ts in checked.items()}
    print_means("Needs of the query in the plan after a correction, of those that were left out and of those that were there", plans, ("taken_up", "lost"), "")
    figures = {
        f"score_{end}_{arm.replace(', ', '_')}": Figure(round(m[f"score_{end}"].mean_difference, 4)) for arm, m in found.items() for end in ("first", "last")
    }
    return figures, {
        "arms": {arm: plain(m) for arm, m in found.items()},
        "rounds": {arm: [dataclasses.asdict(r) for r in rounds] for arm, rounds in at.items()},
        "differences": {arm: plain(d) for arm, d in against.items()},
        "reactions": {arm: {s: {"n": r.n, "elsewhere": r.elsewhere} | plain(r.means()) for s, r in of.items()} for arm, of in reacted.items()},
        "plans": {arm: plain(m) for arm, m in plans.items()},
        "terminations": {arm: count(t.termination for t in ts) for arm, ts in played.items()},
    }


def held_out(folder: Path, queries: int) -> dict[str, Task]:
    """The first queries of `prstack evaluate`, as tasks before a supervisor; builds their world."""
    of = EvaluationConfig()
    build(WorldConfig(seed=of.world_seed, users=max(WorldConfig.users, 2 * queries), valid_share=of.valid_share, split="evaluation"), folder)
    return {t.id: Task(t.persona, t.query, t.rubric) for t in make_tasks(World.open(folder), queries)}


def count(values) -> dict[str, int]:
    values = list(values)
    return {v: values.count(v) for v in sorted(set(values))}


def print_means(title: str, rows: Mapping[object, Means | Mapping[str, Interval]], metrics: Sequence[str], first: str, sign: str = "") -> None:
    table(title, (first, "n", *metrics), [(str(name), n_of(m), *(text(m[k], sign) for k in metrics)) for name, m in rows.items()])


def n_of(m: Mapping[str, Interval | None]) -> int:
    return max((i.n for i in m.values() if i), default=0)


def print_rounds(arm: str, rounds: Sequence[RoundScore]) -> None:
    rows = [(r.round, r.reached.n, text(r.reached), text(r.gain, "+"), text(r.standing)) for r in rounds]
    table(f"Score by report round, {arm}", ("round", "n", "score", "less their first", "standing, over all"), rows)


def print_reactions(reacted: Mapping[str, Mapping[str, Reaction]]) -> None:
    rows = [
        (arm, s, r.n, r.elsewhere, text(r.means()["approved"]), text(r.means()["repeated"]), text(r.means()["gain"], "+"))
        for arm, of in reacted.items()
        for s, r in of.items()
    ]
    table("After a correction: the next turn", ("arm", "state", "sent back", "other state", "approved", "same text", "score"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=("errors", "student"))
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} queries")
    parser.add_argument("--queries", type=int, help=f"episodes of each arm: by default {EPISODES} of errors, {QUERIES} of student")
    parser.add_argument("--seed", type=int, default=7, help="of episodes, and of the world of errors")
    parser.add_argument("--tool-calls", type=int, default=AgentsConfig.max_tool_calls, help="tool calls of an episode at most")
    parser.add_argument("--difficulty", default="easy", choices=("easy", "medium", "hard"), help="errors: the world's")
    parser.add_argument("--model", default="world-9m", help="student: a name or folder, as engine.model")
    parser.add_argument("--name", help="student: what results call it")
    parser.add_argument("--engine", default="vllm", choices=NAMED, help="student: what plays the research agent")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS, help="student: what is compared with the first of them")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="student: reports at most")
    parser.add_argument("--temperature", type=float, default=EngineConfig.temperature, help="student")
    parser.add_argument("--concurrency", type=int, default=40, help="student: episodes in flight")
    parser.add_argument("--max-tokens", type=int, default=256, help="student: longest turn, in tokens")
    parser.add_argument("--keep", help="student: folder of the trajectories, for `prstack view` and to go on from; of one model and one setting")
    given = parser.parse_args()
    given.queries = given.queries or (QUICK if given.quick else EPISODES if given.what == "errors" else QUERIES)
    {"errors": errors, "student": student}[given.what](given)


if __name__ == "__main__":
    main()
