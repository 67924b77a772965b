"""`prstack evaluate`: models at work on held-out users, alone and with live tools, beside controls.

    held-out world ──► tasks (query, rubric, truth) ──► a conversation for each subject, task and seed ──► evaluation/trajectories
                                                            └─► metrics ──► episodes.jsonl, results.json, tables

1. The world is generated with a seed of its own: other products, other users; half of the needs are of a slice that training
   has not seen (`prstack.world.holdout`), and queries are worded as no training query is. What the tasks are worth (share of
   valid first hits, leaks, what a search line predicts) is measured first and printed.
2. A conversation's id depends on all that decides it: subject, weights, task, seed, limits. What is there is never played
   again, and more queries, seeds or subjects add to it.
3. `episodes.jsonl` holds the metrics and the reward of every conversation, `results.json` their means: over all, greedy and sampled apart,
   and by slice. Differences are paired by query, averaged over its seeds first, with bootstrap intervals. With `evaluation.judge`, a
   judge marks the reports as well (`prstack.stages.judging`). The mean reward of each subject (`prstack.scoring.reward`) stands beside them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tqdm import tqdm

from actors.agent import derive_seed, short_hash
from actors.expert import ExpertEngine
from actors.rollout import Rollout, play
from actors.synthesis import serve
from prstack.config import fingerprint, to_dict
from prstack.errors import UserError
from prstack.evaluation.controls import CONTROLS
from prstack.evaluation.metrics import measure
from prstack.evaluation.results import Measured, summarise
from prstack.evaluation.table import evaluation_tables
from prstack.evaluation.tasks import Task, make_tasks
from prstack.evaluation.worth import solvability
from prstack.prompts import Prompts
from prstack.report.tables import make_console
from prstack.report.tracking import Tracker
from prstack.scoring.reward import Reward, mean_rewards, own_terms, reward
from prstack.settings import Config, MistakesConfig
from prstack.stages import judging
from prstack.stages.cluster import ray_session
from prstack.stages.distill import content_of
from prstack.stages.models import resolve_model
from prstack.store.parts import Parts, write_text
from prstack.store.records import canonical_json, data_files, from_row
from prstack.store.rundir import Manifest, RunDir, Stage
from prstack.tools import live, own
from prstack.tools.toolbox import Toolbox
from prstack.types import Trajectory
from prstack.world.world import World, build

PART_EPISODES = 25
TRAINED = {"sft": "prstack sft", "sft_shuffled": "prstack run", "rl": "prstack rl"}
"""Subjects that the run trains → the command that does it. Their models lie in `<name>/model`."""
BASES = ("base", "base_fewshot", "base_constrained")
SCRIPTED = (*CONTROLS, "expert")
NO_MISTAKES = {f.name: 0.0 for f in dataclasses.fields(MistakesConfig)}


@dataclass(slots=True)
class Subject:
    """What is evaluated. `model`: checkpoint folder, None for the scripted ones; `content`: a hash of its files."""

    name: str
    model: Path | None = None
    content: str = ""
    rollout: Rollout = field(default_factory=Rollout)
    sampled: bool = True


@dataclass(slots=True)
class Play:
    """One conversation to be had; `n` 0 is greedy."""

    id: str
    task: Task
    n: int
    seed: int


def run(config: Config, run: RunDir, tracker: Tracker) -> Manifest:
    """Plays what is missing, then measures everything. Raises UserError for a subject that is not there."""
    settings = config.evaluation
    judging.check(config)
    own_terms(tuple(config.reward.extra))
    subjects = [_subject(name, config, run) for name in dict.fromkeys(settings.subjects)]
    prompts = Prompts(config.agents.prompts)
    held_out = dataclasses.replace(
        config.world,
        kind="generated",
        path=None,
        histories=None,
        seed=settings.world_seed,
        users=max(config.world.users, 2 * settings.queries),
        valid_share=settings.valid_share,
        split="evaluation",
    )
    if config.world.kind == "generated" and config.world.seed == held_out.seed:
        raise UserError(f"evaluation.world_seed={settings.world_seed} is the seed of the training world; give another, so that its users are held out")
    limits = fingerprint(settings, "subjects", "queries", "seeds", "concurrency", "compare", "judge", "reference", "judge_repeats")
    inputs = {"world": fingerprint(held_out, "users"), "evaluation": limits, "seed": config.seed, "prompts": prompts.version} | own.fingerprint(config.tools.extra) | live.fingerprint(config.web)
    if config.engine.chat_template != "prstack":
        inputs["chat_template"] = config.engine.chat_template
    stage = run.stage("evaluation", inputs, to_dict(settings))

    world = _world(held_out, stage.folder / "world")
    tasks = make_tasks(world, settings.queries, config.seed)
    worth = solvability(world, tasks)
    print("evaluation: " + ", ".join(f"{k.replace('_', ' ')} {v:.2f}" for k, v in worth.items()), flush=True)
    print("evaluation: " + ", ".join(f"{n} tasks of {name}" for name, n in Counter(t.slice for t in tasks).most_common()), flush=True)
    trajectories = Parts(stage.folder / "trajectories", Trajectory, flush_every=PART_EPISODES)
    plays = {s.name: list(_plays(s, tasks, settings.seeds, short_hash(canonical_json(inputs), s.name, s.content))) for s in subjects}
    missing = {name: [p for p in ps if p.id not in trajectories] for name, ps in plays.items()}
    if not any(missing.values()) and stage.done:
        print(f"evaluation: made already, {stage.folder}", flush=True)
    elif stage.done:
        stage.reopen()
    todo = [s for s in subjects if missing[s.name]]
    with ray_session(config.ray):
        with trajectories:
            for model, group in itertools.groupby(sorted(todo, key=lambda s: str(s.model or "")), key=lambda s: s.model):
                _play_all(config, model, [(s, missing[s.name]) for s in group], world, prompts, trajectories)
        results = _told(config, stage, plays, worth, prompts, tracker)
    if stage.done:
        return stage.manifest
    counts = {"queries": len(tasks), "subjects": len(subjects), "conversations": sum(map(len, plays.values()))}
    return stage.finish(counts, trajectories.content_hash, {f"score {name}": round(row["score"] or 0.0, 3) for name, row in results.items()})


def _told(config: Config, stage: Stage, plays: dict[str, list[Play]], worth: dict[str, float], prompts: Prompts, tracker: Tracker) -> dict[str, dict]:
    """Measures all conversations, writes what was found, shows and logs it; the results of each subject."""
    measured, rewards = _measure(stage.folder, plays, config)
    lines = [m.line() | {"reward": rewards[m.id].total} for m in measured]
    write_text("".join(json.dumps(line) + "\n" for line in lines), stage.folder / "episodes.jsonl")
    document = {"tasks": worth, **summarise(measured, list(plays), config.evaluation.compare), "settings": to_dict(config.evaluation)}
    document["reward"] = {name: mean_rewards(found) for name in plays if (found := [rewards[m.id] for m in measured if m.subject == name])}
    if config.evaluation.judge != judging.NONE:
        document["race"] = judging.judge_all(config, stage.folder, measured, prompts)
    write_text(json.dumps(document, indent=1) + "\n", stage.folder / "results.json")
    make_console().print(evaluation_tables(document))
    results = document["subjects"]
    tracker.log({f"evaluation/{name}/{k}": row[k] for name, row in results.items() for k in ("score", "e_prod", "precision_at_k")})
    tracker.log({f"evaluation/{name}/reward": row["reward"] for name, row in document["reward"].items()})
    return results


def _subject(name: str, config: Config, run: RunDir) -> Subject:
    e = config.evaluation
    rollout = Rollout(max_tool_calls=e.max_tool_calls, max_tokens=e.max_tokens)
    if name in SCRIPTED:
        return Subject(name, rollout=dataclasses.replace(rollout, max_tool_calls=max(e.max_tool_calls, config.agents.max_tool_calls)), sampled=False)
    label, eq, folder = name.partition("=")
    if eq:
        model = resolve_model(folder)
    elif name in TRAINED:
        model = run.path / name / "model"
        if not model.is_dir():
            raise UserError(f"evaluation.subjects: {run.path / name} holds no trained model; run `{TRAINED[name]}` first, or leave out {name}")
    elif name in BASES:
        model = resolve_model(config.trainer.model)
    else:
        known = ", ".join((*BASES, *TRAINED, *SCRIPTED, "name=FOLDER"))
        raise UserError(f"evaluation.subjects: {name} is not known (there are: {known})")
    content = content_of(sorted([*model.glob("*.safetensors"), model / "config.json", model / "tokenizer.json"]))
    if name == "base_constrained":
        rollout.constrained = True
    elif name == "base_fewshot":
        rollout.shots = _shot(run)
        content += short_hash(canonical_json(rollout.shots))
    return Subject(label, model, content, rollout)


def _shot(run: RunDir) -> list[dict]:
    """The shortest conversation of the training set, without its system prompt."""
    folder = run.path / "distill" / "dataset"
    if not folder.is_dir():
        raise UserError(f"evaluation.subjects: base_fewshot needs the training set of the run, {folder} is not there; `prstack distill` makes it")
    tables = (pq.read_table(file, columns=["tokens", "messages"]) for file in data_files(folder, "the training set"))
    shortest = min((row for table in tables for row in table.to_pylist()), key=lambda row: row["tokens"])
    return [{k: v for k, v in m.items() if v is not None} for m in shortest["messages"] if m["role"] != "system"]


def _world(settings: Any, folder: Path) -> World:
    """The held-out world, built once; a cut-off build is made again."""
    if not (folder / "built").exists():
        build(settings, folder)
        (folder / "built").touch()
    return World.open(folder)


def _plays(subject: Subject, tasks: list[Task], seeds: int, key: str) -> Iterator[Play]:
    for task in tasks:
        for n in range(1 + (seeds if subject.sampled else 0)):
            yield Play(short_hash(key, task.id, n), task, n, derive_seed(task.id, n))


def _play_all(config: Config, model: Path | None, work: list[tuple[Subject, list[Play]]], world: World, prompts: Prompts, out: Parts) -> None:
    """Every missing conversation of the subjects of one model, over one engine."""
    toolbox = Toolbox(world.folder, own=own.load(config.tools.extra), web=live.LiveWeb.from_config(config.web))
    for subject, plays in [w for w in work if w[0].name in CONTROLS]:
        for p in plays:
            out.add(dataclasses.replace(CONTROLS[subject.name](toolbox, p.task, config.evaluation.list_length), id=p.id))
    work = [w for w in work if w[0].name not in CONTROLS]
    if not work:
        return
    if model is None:
        asyncio.run(_converse(config, ExpertEngine(NO_MISTAKES), work, toolbox, prompts, out))
        return
    with serve(config.engine, model) as pool:
        asyncio.run(_converse(config, pool, work, toolbox, prompts, out))


async def _converse(config: Config, pool: Any, work: list[tuple[Subject, list[Play]]], toolbox: Toolbox, prompts: Prompts, out: Parts) -> None:
    room = asyncio.Semaphore(config.evaluation.concurrency)

    async def one(subject: Subject, p: Play) -> Trajectory:
        temperature = config.evaluation.temperature if p.n else 0.0
        rollout = dataclasses.replace(subject.rollout, temperature=temperature)
        async with room:
            t = await play(pool, toolbox, prompts, p.task.query, rollout, id=p.id, seed=p.seed, user_id=p.task.user_id, rubric=p.task.rubric)
        return dataclasses.replace(t, engines={"research": subject.name}, persona=p.task.persona)

    for subject, plays in work:
        tasks = [asyncio.create_task(one(subject, p)) for p in plays]
        try:
            with tqdm(total=len(tasks), desc=f"evaluation of {subject.name}", unit=" conversations", mininterval=1.0) as bar:
                for done in asyncio.as_completed(tasks):
                    out.add(await done)
                    bar.update()
        finally:
            for task in tasks:
                task.cancel()


def _measure(folder: Path, plays: dict[str, list[Play]], config: Config) -> tuple[list[Measured], dict[str, Reward]]:
    """The conversations that the subjects were to have, in the order in which they were committed; and what each earns, by its id."""
    of = {p.id: (name, p) for name, ps in plays.items() for p in ps}
    out: list[Measured] = []
    rewards: dict[str, Reward] = {}
    for row in Parts(folder / "trajectories", Trajectory).rows():
        t = from_row(Trajectory, row)
        if t.id in of:
            name, p = of[t.id]
            out.append(Measured(p.id, name, p.task, p.n, measure(t, p.task.truth, config.evaluation.list_length)))
            rewards[p.id] = reward(t, p.task.rubric, config.reward)
    return out, rewards
