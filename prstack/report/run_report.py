"""`report.html`: a run on one page, and what the terminal shows of it.

Everything is read from what the stages left, and nothing is computed anew that a stage has computed: the manifests, run.json,
`distill/funnel.json`, `<stage>/steps.jsonl`, `evaluation/results.json`. Only three things are made here, from
`evaluation/trajectories` and `evaluation/episodes.jsonl` (a line a conversation: id, subject, task, n, slice, its metrics):
intervals of the subjects' own values, why conversations failed, and the choice of ten to read. What a run lacks, its page says.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prstack.errors import UserError
from prstack.evaluation.bootstrap import by_query, mean_interval
from prstack.report.plots import with_interval
from prstack.report.tables import read_funnel, stages
from prstack.report.tracking import read_metrics
from prstack.scoring.evidence import Evidence
from prstack.scoring.report import parse_report
from prstack.scoring.rubric import CONSTRAINTS, constraint_of, product_satisfies
from prstack.store.records import read_json_lines, read_records
from prstack.store.rundir import Manifest
from prstack.types import Step, Trajectory

READ = 10
"""Trajectories to read, half of them failures as far as there are any."""
HEADLINE = (("base", "score"), ("base", "e_prod"), ("rl", "score"), ("no_check", "precision_at_k"))
"""(other subject, metric) of the differences that the page begins with."""
WITH_INTERVALS = ("score", "e_prod", "precision_at_k", "valid_minus_invalid")
"""Metrics that every conversation has, so that the mean over queries is the mean over conversations."""

NEEDED = {"id", "subject", "task", "invalid_listed", *WITH_INTERVALS}
"""What a line of `episodes.jsonl` must hold to be read."""

NO_REPORT = "no report"
MALFORMED = "malformed calls"
NOTHING = "lists nothing, though valid products exist"
INVENTED = "lists a product that no tool returned"
IGNORED = "lists an invalid product though a page that was read said so"
UNOPENED = "lists a product whose page was not opened"
HIDDEN = "lists an invalid product whose page does not tell"
ERROR = "ended by an error"


@dataclass(slots=True)
class Conversation:
    """One conversation of the compared subject. `failure` is empty when it succeeded."""

    trajectory: Trajectory
    n: int
    """0 is greedy; also where it is not known."""
    slice: str
    failure: str


@dataclass(slots=True)
class RunData:
    """What a run holds. Parts that it lacks are empty."""

    path: Path
    info: dict[str, Any]
    stages: list[tuple[Path, Manifest]]
    funnel: dict[str, Any] | None = None
    curves: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Stage → the lines of its steps.jsonl."""
    results: dict[str, Any] = field(default_factory=dict)
    episodes: list[dict[str, Any]] = field(default_factory=list)
    compared: str = ""
    """The subject whose differences and trajectories are shown."""
    conversations: list[Conversation] = field(default_factory=list)
    """Of the compared subject, greedy ones first."""
    teachers: list[str] = field(default_factory=list)
    """What played the trajectories of the training set."""

    def manifest(self, stage: str) -> Manifest | None:
        return next((m for folder, m in self.stages if folder.name == stage), None)


def read_run(path: Path) -> RunData:
    """Reads a run. Raises UserError when `path` is none, or when a file of it is broken."""
    run = RunData(path, read_object(path / "run.json"), stages(path))
    if not run.info and not run.stages:
        raise UserError(f"{path}: not the folder of a run (there is neither a run.json nor a stage); give one: prstack report RUN")
    if (path / "distill" / "funnel.json").exists():
        run.funnel = read_funnel(path / "distill" / "funnel.json")
    run.teachers = sorted({t for f in (path / "distill" / "dataset").glob("*.parquet") for t in pq.read_table(f, columns=["teacher"])["teacher"].to_pylist()})
    run.curves = {f.parent.name: rows for f in sorted(path.glob("*/steps.jsonl")) if (rows := read_metrics(f))}
    evaluation = path / "evaluation"
    run.results = read_object(evaluation / "results.json")
    if run.results:
        if (evaluation / "episodes.jsonl").exists():
            run.episodes = [row for _, row in read_json_lines(evaluation / "episodes.jsonl", lambda bad: None) if row.keys() >= NEEDED]
        subjects = list(run.results.get("subjects", {}))
        wanted = run.results.get("settings", {}).get("compare", "sft")
        run.compared = wanted if wanted in subjects else next(iter(subjects), "")
        run.conversations = _conversations(run)
    return run


def read_object(file: Path) -> dict[str, Any]:
    """The object in a JSON file, empty when there is no file. Raises UserError when it holds something else."""
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as e:
        raise UserError(f"{file}: not JSON ({e})") from e
    if not isinstance(found, dict):
        raise UserError(f"{file}: holds no JSON object")
    return found


def _conversations(run: RunData) -> list[Conversation]:
    """Those of the compared subject: by `episodes.jsonl`, or where there is none by the name that a trajectory bears."""
    folder = run.path / "evaluation" / "trajectories"
    if not any(folder.glob("*.parquet")):
        return []
    measured = {row["id"]: row for row in run.episodes}
    out = []
    for t in read_records(folder, Trajectory, lambda bad: None, "evaluation/trajectories"):
        row = measured.get(t.id, {})
        subject = row.get("subject") if measured else t.engines.get("research")
        if subject == run.compared:
            out.append(Conversation(t, row.get("n", 0), row.get("slice") or "", failure_of(t, row)))
    return sorted(out, key=lambda c: (c.n, c.trajectory.id))


# --- failures ----------------------------------------------------------------------------------------------------
def failure_of(t: Trajectory, measured: Mapping[str, Any] | None = None) -> str:
    """Why a conversation failed: the first kind that applies. Empty when its report lists a product and only valid ones.

    `measured`: its metrics, which know the truth. Without them a product counts as valid when its page was opened and breaks
    nothing that the rubric asks for.
    """
    steps = [s for s in t.steps if s.role == "research"]
    calls = [s for s in steps if s.state == "toolcall"]
    if not t.reports:
        if steps and steps[-1].state == "toolcall" and not _answered(steps[-1]):
            return MALFORMED
        return ERROR if t.termination == "error" else NO_REPORT
    if calls and not any(map(_answered, calls)):
        return MALFORMED
    evidence, listed = Evidence.from_steps(steps), parse_report(t.reports[-1]).product_ids
    if not listed:
        return NOTHING
    if measured and not measured["invalid_listed"]:
        return ""
    if set(listed) - evidence.seen_ids:
        return INVENTED
    rules = [constraint_of(item) for item in t.rubric if item.type in CONSTRAINTS]
    opened = [i for i in listed if i in evidence.visited]
    if any(evidence.visited[i].available is False or any(product_satisfies(i, rule, evidence) is False for rule in rules) for i in opened):
        return IGNORED
    if len(opened) < len(listed):
        return UNOPENED
    return HIDDEN if measured else ""


def _answered(step: Step) -> bool:
    return step.tool_result is not None and step.tool_result.ok


def failures(run: RunData) -> list[tuple[str, int, float]]:
    """(kind, conversations, their share) of all conversations of the compared subject, most frequent first."""
    kinds = Counter(c.failure for c in run.conversations if c.failure)
    return [(kind, n, n / len(run.conversations)) for kind, n in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))]


def chosen(run: RunData) -> list[Conversation]:
    """Ten to read, successes first: five failures, each kind once before any comes twice, or more where fewer succeeded."""
    good = [c for c in run.conversations if not c.failure]
    bad = _spread([c for c in run.conversations if c.failure])
    failed = bad[: max(READ // 2, READ - len(good))]
    return good[: READ - len(failed)] + failed


def _spread(conversations: Sequence[Conversation]) -> list[Conversation]:
    seen: dict[str, int] = defaultdict(int)
    turns = []
    for c in conversations:
        turns.append(seen[c.failure])
        seen[c.failure] += 1
    return [c for _, c in sorted(zip(turns, conversations), key=lambda pair: pair[0])]


# --- numbers -----------------------------------------------------------------------------------------------------
def own_intervals(run: RunData) -> dict[str, dict[str, tuple[float, float]]]:
    """Subject → metric → interval over its queries, of `WITH_INTERVALS`; nothing without `episodes.jsonl`."""
    out: dict[str, dict[str, tuple[float, float]]] = {}
    for subject in {row["subject"] for row in run.episodes}:
        rows = [(row["task"], row) for row in run.episodes if row["subject"] == subject]
        for metric in WITH_INTERVALS:
            found = mean_interval(list(by_query(rows, metric).values()))
            out.setdefault(subject, {})[metric] = (found.low, found.high)
    return out


def headline(run: RunData) -> list[str]:
    """The differences of `HEADLINE` that were measured, in words."""
    found = {(d["b"], d["metric"]): d for d in run.results.get("differences", ()) if d["a"] == run.compared}
    out = []
    for key in HEADLINE:
        if d := found.get(key):
            better = "better than" if d["low"] > 0 else "worse than" if d["high"] < 0 else "not to be told from"
            name = d["metric"].replace("_at_k", "@k").replace("e_prod", "E.Prod")
            out.append(f"{name}: {d['a']} is {better} {d['b']}: {with_interval(d['mean_difference'], d['low'], d['high'], '+')}, {d['n']} queries")
    return out


def story(run: RunData) -> str:
    """What was trained on what and measured how, in plain words."""
    trained, distilled, world = run.manifest("sft"), run.manifest("distill"), run.manifest("world")
    by = " and ".join("the scripted expert (a seeded program, not a model)" if "expert" in t else t for t in run.teachers)
    said = []
    if distilled and distilled.status == "complete":
        where = f" in the {world.config.get('kind')} world" if world else ""
        said.append(f"The training set holds {distilled.counts.get('kept', 0):,} trajectories" + (f", played by {by}{where}." if by else "."))
    if trained and trained.status == "complete":
        said.append(
            f"{trained.config.get('model')} was fine-tuned on it for {trained.counts.get('steps', 0):,} steps"
            f" ({trained.counts.get('tokens', 0):,} tokens, {trained.counts.get('learned_tokens', 0):,} of them learned)."
        )
        if run.manifest("sft_shuffled"):
            said.append("A control, sft_shuffled, was trained alike on the same conversations with their queries exchanged.")
    else:
        said.append("The training has not come to its end." if trained else "No model was trained in this run.")
    if (own := run.manifest("rl")) and own.status == "complete":
        said.append(
            f"Then it was trained on {own.counts.get('trained_episodes', 0):,} episodes of its own, in {own.counts.get('updates', 0):,} updates: the mean"
            f" reward was {own.summary.get('first_reward')} in the first and {own.summary.get('last_reward')} in the last of them."
        )
    if run.results:
        measured = run.manifest("evaluation")
        queries = measured.counts.get("queries") if measured else None
        said.append(f"Models were measured with live tools on {queries or 'the'} queries of held-out users, against the known truth of their world.")
    else:
        said.append("Nothing was evaluated in this run.")
    if any("expert" in t for t in run.teachers):
        said.append("With a scripted teacher and a generated world, this shows what the stack does, not how good a model would be at real shopping.")
    return " ".join(said)
