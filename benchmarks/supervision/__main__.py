"""The supervisor as a classifier of errors: recall and precision for every kind of fault, and false alarms.

    python -m benchmarks.supervision                          the expert, on 120 episodes of three generated worlds; some minutes
    python -m benchmarks.supervision --quick                  12 episodes of one world
    python -m benchmarks.supervision --engine vllm --model NAME --limit 120    a model on this machine, on 120 of the prompts
    python -m benchmarks.supervision --engine openai --model NAME --base-url URL    a model behind an endpoint
    python -m benchmarks.supervision --engine my_module:make  any engine: `make()` gives an object with `async complete(Request)`
    python -m benchmarks.supervision --no-held-out --misses 2 while writing rules: without the held-out kinds, with examples of misses

1. The expert plays episodes without mistakes; each of its steps is a clean moment (`moments.py`).
2. Every kind of fault is put into moments drawn by lot, and every harmless rewording (`plans.py`, `calls.py`, `searches.py`, `reports_*.py`).
3. The engine under test gives its verdicts on all of them through the supervisor agent, with its prompts and its schema (`harness.py`).
4. `docs/experiments/supervision.md` says what is held out and what the figures are.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import tempfile
from collections import Counter
from pathlib import Path

from actors.engine import EngineError
from benchmarks.common import Clock, Figure, finish, machine, table, versions
from benchmarks.supervision.engines import label, opened
from benchmarks.supervision.harness import Judged, drawn, judge, mutants
from benchmarks.supervision.kinds import Kind, all_kinds
from benchmarks.supervision.measure import (
    Result,
    Share,
    State,
    balanced,
    mean,
    of_state,
    result,
    sent_back,
    total,
)
from benchmarks.supervision.moments import Moment, clean_moments
from prstack.errors import UserError
from prstack.settings import EndpointConfig, EngineConfig

WORLDS, EPISODES, EACH = ("easy", "medium", "hard"), 40, 100
QUICK_WORLDS, QUICK_EPISODES, QUICK_EACH = ("medium",), 12, 10
STATES = ("plan", "toolcall", "report")


async def judge_made(given: argparse.Namespace, settings: EngineConfig) -> tuple[list[Judged], list[Kind], Counter[str], float]:
    """The verdicts of the engine that is asked for on all moments; their kinds, what was left out, and the seconds that judging took."""
    async with opened(given.engine, settings) as engine:
        moments, kinds, left_out = await asyncio.to_thread(make_moments, given)
        clock = Clock()
        return await judge(engine, moments, given.concurrency), kinds, left_out, clock.seconds


def print_states(states: dict[str, State]) -> None:
    rows = [
        (name, s.recall.n, s.recall.text(), s.alarms.n, s.alarms.text(), "{:.3f} [{:.2f}, {:.2f}]".format(*balanced(s.recall, s.alarms)), s.unreadable)
        for name, s in states.items()
    ]
    table(
        "By state: wrong moments sent back (recall), right ones sent back (false alarms, harmless kinds included), balanced accuracy (chance 0.5)",
        ("state", "wrong", "recall", "right", "false alarms", "balanced accuracy", "unreadable"),
        rows,
    )


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


def figures_of(results: list[Result], alarms: dict[str, Share], states: dict[str, State]) -> dict[str, Figure]:
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
    figures |= {f"balanced_accuracy_{name}": Figure(round(balanced(s.recall, s.alarms)[0], 4)) for name, s in states.items()}
    figures["unreadable"] = Figure(sum(s.unreadable for s in states.values()))
    return {name: figure for name, figure in figures.items() if math.isfinite(figure.value)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_EPISODES} episodes of one world")
    parser.add_argument("--engine", default="expert", help="expert, vllm, openai, or the import path of a function that makes an engine")
    parser.add_argument("--model", default=EngineConfig.model, help="of vllm and openai: a name or folder, as engine.model")
    parser.add_argument("--base-url", default=EndpointConfig.base_url, help="of openai: the endpoint; its key comes from $OPENAI_API_KEY")
    parser.add_argument("--context", type=int, default=8192, help="of vllm and openai: tokens of a prompt with its answer, at most")
    parser.add_argument("--temperature", type=float, default=0.0, help="of vllm and openai; 0 is greedy")
    parser.add_argument("--limit", type=int, help="prompts in all, drawn evenly from states, from right and wrong moments")
    parser.add_argument("--episodes", type=int, help="episodes of each world")
    parser.add_argument("--each", type=int, help="mutants of each kind at most")
    parser.add_argument("--seed", type=int, default=7, help="of worlds, episodes and mutants")
    parser.add_argument("--concurrency", type=int, default=16, help="checks in flight")
    parser.add_argument("--no-held-out", action="store_true", help="leave the held-out kinds out")
    parser.add_argument("--misses", type=int, default=0, help="examples of each kind of misjudged moments that are printed")
    return parser.parse_args()


def make_moments(given: argparse.Namespace) -> tuple[list[Moment], list[Kind], Counter[str]]:
    """Clean moments and mutants, the kinds of these, and how many moments were left out for which reason."""
    worlds = QUICK_WORLDS if given.quick else WORLDS
    episodes = given.episodes or (QUICK_EPISODES if given.quick else EPISODES)
    each = given.each or (QUICK_EACH if given.quick else EACH)
    kinds = [k for k in all_kinds() if not (given.no_held_out and k.held_out)]
    clean, left_out = [], Counter()
    with tempfile.TemporaryDirectory() as folder:
        for n, difficulty in enumerate(worlds):
            moments, without = clean_moments(difficulty, episodes, given.seed + n, Path(folder) / difficulty)
            clean += moments
            left_out += without
        made = [m for k in kinds for m in mutants(k, clean, each, given.seed)]
    if given.limit:
        harmless = {k.name for k in kinds if k.harmless}
        right, wrong = drawn([*clean, *(m for m in made if m.kind in harmless)], [m for m in made if m.kind not in harmless], given.limit, given.seed)
        return [*right, *wrong], kinds, left_out
    return [*clean, *made], kinds, left_out


def main() -> None:
    given, described = parse(), machine()
    endpoint = EndpointConfig(base_url=given.base_url)
    settings = EngineConfig(model=given.model, endpoint=endpoint, max_model_len=given.context, temperature=given.temperature)
    try:
        everything, kinds, left_out, seconds = asyncio.run(judge_made(given, settings))
    except (UserError, EngineError) as e:
        raise SystemExit(f"error: {e}") from None
    judged_clean = [j for j in everything if not j.moment.kind]
    judged = {k.name: [j for j in everything if j.moment.kind == k.name] for k in kinds}
    alarms = {state: sent_back(j for j in judged_clean if j.moment.state == state) for state in STATES}
    results = [result(k, judged[k.name]) for k in kinds]
    states = {state: of_state(everything, kinds, state) for state in STATES}
    if given.misses:
        print_misses(judged, judged_clean, kinds, given.misses)
    print_results(results, alarms)
    print_states(states)
    name = label(given.engine, given.model)
    notes = [
        f"engine {name}; {len(judged_clean)} clean moments, {len(everything) - len(judged_clean)} mutants of {sum(map(bool, judged.values()))} kinds, judged in {seconds:.0f} s"
    ]
    notes += [f"left out: {n} {reason}" for reason, n in sorted(left_out.items())]
    if failed := sum(j.verdict is None for j in everything):
        notes.append(f"{failed} checks failed in the engine and count as neither")
    if unreadable := sum(s.unreadable for s in states.values()):
        notes.append(f"{unreadable} replies held no readable verdict and count as sent back, as in synthesis")
    if not given.limit:
        notes += [f"no mutant: {k.name}" for k in kinds if not judged[k.name]]
    details = {
        "clean": {state: share.row() for state, share in alarms.items()},
        "states": {name: s.row() for name, s in states.items()},
        "kinds": {r.kind.name: {"group": r.group, **r.sent_back.row(), "named": r.named.row()["share"]} for r in results},
    }
    file = "supervision" if given.engine == "expert" else f"supervision-{name}"
    finish(file, figures_of(results, alarms, states), bool(given.quick or given.limit), described, versions("prstack"), notes, details)


if __name__ == "__main__":
    main()
