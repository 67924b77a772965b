"""`prstack rl`: a model is trained on what it does itself, with live tools and a reward for each episode.

    sft/model ──► engines ──► groups of episodes a query ──► rewards, advantages ──► rl/rollouts
                     ▲                                                                  │
                     └── published weights ◄── ranks: the loop of `sft`, a policy loss ◄┘ ──► rl/checkpoints, rl/steps.jsonl ──► rl/model

Synchronous: engines and ranks take turns, and every update is made of episodes that the newest weights have sampled. With `rl.replay` the
rollouts are those of a folder, and there are no engines. A run that was cut off goes on from its newest checkpoint; a lost rank restarts all
ranks from it, while the engines stay; a lost engine is brought back by the pool, with the current weights. One that is asked to stop (SIGTERM,
Ctrl-C) breaks off its play, or ends the steps of its update, and writes a checkpoint.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.policy import PolicyPool
from actors.synthesis import serve
from prstack.config import fingerprint, to_dict
from prstack.dialogue.render import TEMPLATES, Renderer
from prstack.errors import UserError
from prstack.evaluation.tasks import Task, make_tasks
from prstack.prompts import Prompts
from prstack.report.tracking import Tracker
from prstack.rl.advantages import advantage
from prstack.rl.mismatch import Disagreement
from prstack.scoring.reward import own_terms
from prstack.settings import Config, EngineConfig
from prstack.stages.cluster import ray_session
from prstack.stages.distill import content_of
from prstack.stages.models import resolve_model
from prstack.stages.rl_rollouts import Players, Replayed
from prstack.stages.rl_stream import STOPPING, Rollouts
from prstack.stages.stopping import Stop, StoppingRunner, first_signal_asks
from prstack.stages.training import FREE, Curve, export, rank_setup, restarting, stopped
from prstack.store.records import data_files
from prstack.store.rundir import Manifest, RunDir, Stage
from prstack.tools import live, own
from prstack.tools.toolbox import Toolbox
from prstack.world.world import World
from trainers import launch
from trainers.loop import train
from trainers.policy import PolicyLoss
from trainers.worker import Setup

NOT_OURS = ("lr", "warmup", "steps", "epochs", "global_batch", "rehearsal", "shuffle")
"""Keys of trainer that say nothing here: the schedule and the data are those of the section rl."""
BESIDE_THE_BAR = {"reward": ".3f", "groups/flat": ".0f", "mismatch/mean": ".1e", "tokens_per_second": ".0f"}
PIECES_EACH = 64
"""Pieces of an episode in flight that are remembered with their tokens: three a turn, since each turn's prompt is rendered from the beginning."""
EDGE = 5
"""Updates at both ends of the curve whose mean reward the summary gives; of a short curve half of them."""


def run(config: Config, run: RunDir, tracker: Tracker) -> Manifest:
    """Trains to the last update and exports. Raises UserError before anything starts for what does not fit together, and later where there is
    nothing to learn or engine and trainer disagree; trainers.loop.Diverged, launch.RankLost, actors.engine.EngineError; KeyboardInterrupt where a
    signal asked it to stop, with a checkpoint."""
    settings, stop = config.rl, Stop("rl", STOPPING)
    base = start_model(config, run)
    setup, loss = rank_setup(config, base), policy_loss(config)
    if setup.layout.cp > 1:
        raise UserError(f"trainer.cp={setup.layout.cp}: rl needs 1, its losses look at whole episodes, of which a rank would hold a part")
    own_terms(tuple(config.reward.extra))
    advantage(settings.advantage, settings.algorithm)
    inputs = {
        "base": content_of(sorted([*base.glob("*.safetensors"), base / "config.json", base / "tokenizer.json"])),
        "trainer": fingerprint(config.trainer, *FREE, *NOT_OURS),
        "rl": fingerprint(settings, "model", "replay", "concurrency", "checkpoint_every", "max_mismatch", "bucket_mb"),
        "seed": config.seed,
    }
    if settings.replay:
        inputs["replay"] = content_of(data_files(settings.replay, "rl.replay"))
        stage = run.stage("rl", inputs, to_dict(settings))
        source: Any = replayed(config)
    else:
        world = World.open(run.path / "world")
        tasks = training_tasks(config, world)
        prompts = Prompts(config.agents.prompts)
        made = Manifest.load(world.folder)
        inputs |= {
            "world": made.content_hash if made else "",
            "reward": fingerprint(config.reward),
            "prompts": prompts.version,
            "chat_template": config.distill.chat_template,
            "context": engine_settings(config).max_model_len,
            **own.fingerprint(config.tools.extra),
            **live.fingerprint(config.web),
        }
        stage = run.stage("rl", inputs, to_dict(settings))
        source = players(config, base, world, tasks, prompts, stage, stop)
    if stage.done:
        print(f"rl: trained already, {stage.folder / 'model'}", flush=True)
        return stage.manifest

    layout = setup.layout
    with ray_session(config.ray), source as rollouts:
        print(f"rl: {settings.algorithm} on {layout.ranks} ranks ({layout}), from {base}", flush=True)
        attempts = itertools.count()
        attempt = lambda: _to_the_end(config, setup, loss, rollouts, stage, tracker, stop, next(attempts))  # noqa: E731
        curve, memory = restarting(stage, config.trainer.restarts, stop, attempt)
    shutil.rmtree(stage.folder / "weights", ignore_errors=True)  # nobody serves them any more
    weights = content_of(sorted((stage.folder / "model").glob("*.safetensors")))
    counts, summary = results(curve.rows)
    return stage.finish(counts | {"ranks": layout.ranks}, weights, summary | {"peak_rank_mb": round(memory)})


def _to_the_end(
    config: Config, setup: Setup, loss: PolicyLoss, source: Players | Replayed, stage: Stage, tracker: Tracker, stop: Stop, attempt: int
) -> tuple[Curve, float]:
    """One group of ranks, from the newest checkpoint to the last update and the export; the curve, and the most memory of a rank in MiB. Raises
    launch.RankLost, after which it may be called again; KeyboardInterrupt where it was asked to stop."""
    settings, checkpoints = config.rl, stage.folder / "checkpoints"
    trainer = dataclasses.replace(
        config.trainer,
        lr=settings.lr,
        steps=settings.updates * settings.minibatches,
        warmup=settings.warmup * settings.minibatches,
        checkpoint_every=settings.checkpoint_every * settings.minibatches,
    )
    source.restore(None)
    group, state = launch.start(setup, checkpoints, trainer.threads)
    with group:
        stream = Rollouts(source, group, config, loss, stage.folder / "weights", f"-restart-{attempt}" if attempt else "", stop)
        if state:
            print(f"rl: taking up again after update {state['data']['update']} of {settings.updates}", flush=True)
        begun, steps = state["step"] if state else 0, stage.folder / "steps.jsonl"
        with Curve(steps, begun, trainer.steps, tracker, "rl", None, BESIDE_THE_BAR) as curve, first_signal_asks(stop.ask):
            try:
                train(group, stream, trainer, checkpoints, curve, state, stop=stream.asked_to_stop)
            except Disagreement as e:
                raise Disagreement(f"rl: update {stream.update + 1}: {e}") from e
        if stop.asked():
            raise stopped(stop, stage)
        export(group, setup, stage.folder)
        return curve, max(group.memory_mb())


# --- what it begins with ---------------------------------------------------------------------------------------------
def start_model(config: Config, run: RunDir) -> Path:
    """The folder of the model that `rl.model` names. Raises UserError."""
    if config.rl.model:
        return resolve_model(config.rl.model)
    model = run.path / "sft" / "model"
    if not model.is_dir():
        raise UserError(f"{run.path / 'sft'} holds no trained model; run `prstack sft` first, or name one: rl.model=FOLDER")
    return model


def policy_loss(config: Config) -> PolicyLoss:
    """The loss that the section rl describes. Raises UserError for an algorithm that is not there."""
    s = config.rl
    loss = PolicyLoss(s.algorithm, s.clip_low, s.clip_high, s.norm, max_tokens=config.trainer.context, kl_coef=s.kl, entropy_coef=s.entropy, temperature=s.temperature)
    _ = loss.function
    return loss


def engine_settings(config: Config) -> EngineConfig:
    """Engines compute in the trainer's precision, and let no episode grow longer than a pack."""
    return dataclasses.replace(config.engine, dtype=config.trainer.dtype, max_model_len=min(config.engine.max_model_len, config.trainer.context))


def training_tasks(config: Config, world: World) -> list[Task]:
    """Queries of the world's users in training wording, their rubrics with them; none that evaluation holds out. Raises UserError for a world whose
    users' needs are not known."""
    tasks = make_tasks(world, None, config.seed, held_out=False)
    if config.distill.filters.held_out:
        tasks = [t for t in tasks if t.slice == "seen combination"]
    if not tasks:
        raise UserError(f"{world.folder}: no user has a need that is not held out; use world.split=train")
    return tasks


@contextmanager
def players(config: Config, base: Path, world: World, tasks: list[Task], prompts: Prompts, stage: Stage, stop: Stop) -> Iterator[Players]:
    """Engines that serve `base`, and who plays with them, until it is asked to stop; they end with the block."""
    settings = engine_settings(config)
    longest = json.loads((base / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings") or settings.max_model_len
    renderer = Renderer(base, TEMPLATES[config.distill.chat_template], PIECES_EACH * config.rl.concurrency)
    toolbox = Toolbox(world.folder, own=own.load(config.tools.extra), web=live.LiveWeb.from_config(config.web))
    with serve(settings, base) as pool, StoppingRunner(stop) as runner:
        policy = PolicyPool(pool, renderer, min(settings.max_model_len, longest), temperature=config.rl.temperature)
        try:
            yield Players(config, tasks, policy, toolbox, prompts, runner, stage.folder / "rollouts")
        finally:
            runner.run_to_its_end(pool.close())


@contextmanager
def replayed(config: Config) -> Iterator[Replayed]:
    """The rollouts that `rl.replay` names. Raises UserError when they do not reach as far as `rl.updates`."""
    source = Replayed(config, Path(config.rl.replay))
    if source.missing(config.rl.updates):
        raise UserError(f"rl.replay: {config.rl.replay} holds the updates {source.first} to {source.last}; set rl.updates={source.last}, or to fewer")
    yield source


# --- what came of it -------------------------------------------------------------------------------------------------
def results(rows: list[dict[str, Any]]) -> tuple[dict[str, int], dict[str, Any]]:
    """Counts and figures of all steps, earlier sessions included, for the manifest."""
    updates = [r for r in rows if "reward" in r]
    mean = lambda name, of: round(sum(r[name] for r in of) / len(of), 4)  # noqa: E731
    edge = max(1, min(EDGE, len(updates) // 2))
    seconds = {part: round(sum(r.get(f"seconds/{part}", 0.0) for r in rows), 1) for part in ("rollouts", "compare", "publish")}
    counts = {
        "updates": len(updates),
        "episodes": sum(r["episodes"] for r in updates),
        "trained_episodes": sum(r["episodes/used"] for r in updates),
        "tokens": sum(r["tokens"] for r in rows),
        "learned_tokens": sum(r["targets"] for r in rows),
    }
    return counts, {
        "first_reward": mean("reward", updates[:edge]),
        "last_reward": mean("reward", updates[-edge:]),
        "largest_mismatch": max(r["mismatch/mean"] for r in updates),
        "largest_ratio": round(max(r["mismatch/max_ratio"] for r in updates), 4),
        **{f"seconds_{part}": value for part, value in seconds.items() if value},
        "seconds_training": round(sum(r["seconds"] for r in rows), 1),
    }
