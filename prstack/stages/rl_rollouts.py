"""Where `prstack rl` gets its rollouts: from engines at play, or from a folder of rollouts.

Both give, for update n, the groups to train on and what is to be said of them. Players also know what the engines serve.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from actors.agent import derive_seed, short_hash
from actors.engine import INITIAL_WEIGHTS
from actors.policy import PolicyPool
from actors.rollout import Rollout as Limits
from actors.rollout import play
from prstack.errors import UserError
from prstack.evaluation.tasks import Task
from prstack.prompts import Prompts
from prstack.rl.advantages import Advantage, advantage
from prstack.rl.groups import Filling, Group, outcome
from prstack.rl.samples import Rollout, attach, read_rollouts, shuffled, write_rollouts
from prstack.scoring.reward import reward
from prstack.settings import Config
from prstack.store.published import Published
from prstack.tools.toolbox import Toolbox

BARREN = 3
"""Rounds of whole updates without a single group whose rewards differ, after which there is nothing to learn from."""


class Players:
    """Plays queries with what the engines serve. All that it plays of an update is one file in `folder`, there before the update is made."""

    live = True

    def __init__(self, config: Config, tasks: Sequence[Task], policy: PolicyPool, toolbox: Toolbox, prompts: Prompts, runner: asyncio.Runner, folder: Path):
        self.tasks, self.folder = tasks, folder
        self.position = 0
        """Queries that were played; the order is a permutation of the tasks an epoch."""
        self._config, self._settings, self._policy, self._toolbox, self._prompts, self._runner = config, config.rl, policy, toolbox, prompts, runner
        self._advantage = advantage(config.rl.advantage, config.rl.algorithm)
        self._limits = Limits(
            max_tool_calls=config.rl.max_tool_calls, max_turns=config.rl.max_turns, max_tokens=config.rl.max_tokens, max_seconds=config.rl.max_seconds
        )
        runner.run(policy.ready())

    @property
    def version(self) -> str:
        """Of the weights that the engines serve."""
        return self._policy.pool.weight_version

    @property
    def epoch(self) -> int:
        return self.position // len(self.tasks)

    def rollouts(self, update: int) -> tuple[list[Group], dict[str, float]]:
        """Groups to train on, at least one, with their advantages; and the numbers of all that was played. Raises UserError when no group's
        rewards differ, and none of the policy's doing."""
        start = time.perf_counter()
        filling = Filling(self._settings.queries, self._settings.refills)
        for _ in range(BARREN):
            while filling.missing:
                filling.take(self._runner.run(self._play(update, self._next(filling.missing))))
            if filling.kept:
                break
            filling.rounds = 0
        rollouts = [r for g in filling.played for r in g.rollouts]
        if not filling.kept:
            write_rollouts(rollouts, self.folder, update)
            ends = ", ".join(f"{n} {v:.0%}" for n, v in filling.log().items() if n.startswith("outcome/") and v)
            raise UserError(
                f"rl: update {update}: all episodes of a query earned the same, in {len(filling.played)} queries; there is nothing to learn from ({ends}; "
                f"`prstack view {self.folder}` shows them). A model that does none of it is to be fine-tuned first"
            )
        mark_advantages(filling.kept, self._advantage)
        write_rollouts(rollouts, self.folder, update)
        seconds = time.perf_counter() - start
        return filling.kept, filling.log() | numbers(rollouts) | {"seconds/rollouts": seconds}

    def serve(self, weights: Published) -> None:
        """The engines serve these weights from now on, once they have found in them what was published. Raises EngineError when none does."""
        self._runner.run(self._policy.pool.update_weights(weights.folder, weights.version, weights.checksum))

    @property
    def stale(self) -> bool:
        """Whether the engines have other weights than those they were started with."""
        return self.version != INITIAL_WEIGHTS

    def state(self) -> dict[str, Any]:
        return {"position": self.position, "tasks": len(self.tasks), "seed": self._config.seed}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Goes on at the query at which `state` was taken, or at the first. Raises UserError when it is of other queries."""
        for name, now in (("tasks", len(self.tasks)), ("seed", self._config.seed)) if state else ():
            if state[name] != now:
                raise UserError(f"the checkpoint was trained with {state[name]} as {name}, now it is {now}")
        self.position = state["position"] if state else 0

    def forget(self, after: int) -> None:
        """Removes the rollouts of updates after this one: the weights that would have been made of them are gone."""
        for file in self.folder.glob("update-*.parquet"):
            if int(file.stem.partition("-")[2]) > after:
                file.unlink()

    def _next(self, n: int) -> list[tuple[int, Task]]:
        """The next queries with their places in the stream."""
        places = [(place, *divmod(place, len(self.tasks))) for place in range(self.position, self.position + n)]
        orders = {epoch: shuffled(len(self.tasks), self._config.seed, epoch) for epoch in {epoch for _, epoch, _ in places}}
        self.position += n
        return [(place, self.tasks[orders[epoch][i]]) for place, epoch, i in places]

    async def _play(self, update: int, queries: list[tuple[int, Task]]) -> list[Group]:
        room, version = asyncio.Semaphore(self._settings.concurrency), self.version

        async def one(place: int, task: Task, n: int) -> Rollout:
            id = short_hash("rl", self._config.seed, place, task.id, n, update)
            async with room:
                t = await play(
                    self._policy,
                    self._toolbox,
                    self._prompts,
                    task.query,
                    self._limits,
                    id=id,
                    seed=derive_seed(self._config.seed, "rl", place, n),
                    user_id=task.user_id,
                    rubric=task.rubric,
                )
            turns = self._policy.take(id)
            if wrong := {turn.weight_version for turn in turns} - {version}:
                raise RuntimeError(f"episode {id}: sampled by weights {', '.join(wrong)}, the engines were to serve {version}")
            t.persona = task.persona
            attach(t, turns)
            earned = reward(t, task.rubric, self._config.reward)
            terms = {x.name: x.value for x in earned.terms} | {"errors": float(sum(bool(x.error) for x in earned.terms))}
            ended = outcome(t) if turns else "failed"  # without a sampled token there is nothing to train on
            return Rollout(id, update, f"{task.id}/{place}", n, ended, earned.total, terms, t)

        playing = [[asyncio.create_task(one(place, task, n)) for n in range(self._settings.group)] for place, task in queries]
        everyone = [episode for group in playing for episode in group]
        try:
            with tqdm(total=len(everyone), desc=f"rl: update {update}", unit=" episodes", mininterval=5.0, leave=False) as bar:
                for done in asyncio.as_completed(everyone):
                    await done
                    bar.update()
        finally:
            for episode in everyone:
                episode.cancel()
        return [Group(f"{task.id}/{place}", [e.result() for e in group]) for (place, task), group in zip(queries, playing, strict=True)]


class Replayed:
    """The rollouts of a folder, update by update, as they were played. Rewards are those of then, advantages are made anew."""

    live = False
    stale = False

    def __init__(self, config: Config, folder: Path):
        self._advantage = advantage(config.rl.advantage, config.rl.algorithm)
        self._updates = {rollouts[0].update: rollouts for rollouts in read_rollouts(folder)}
        self.first, self.last = min(self._updates), max(self._updates)
        self.epoch = 0

    def missing(self, updates: int) -> list[int]:
        """Updates from the first to `updates` that have no rollouts."""
        return [n for n in range(1, updates + 1) if n not in self._updates]

    def rollouts(self, update: int) -> tuple[list[Group], dict[str, float]]:
        rollouts = self._updates[update]
        groups: dict[str, Group] = {}
        for r in rollouts:
            groups.setdefault(r.task, Group(r.task, [])).rollouts.append(r)
        kept = [g for g in groups.values() if any(r.used for r in g.rollouts)]
        mark_advantages(kept, self._advantage)
        return kept, numbers(rollouts)

    def state(self) -> dict[str, Any]:
        return {"updates": sorted(self._updates)}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Nothing to take up: an update names its rollouts."""

    def forget(self, after: int) -> None:
        """Nothing: they are another run's."""


def mark_advantages(groups: Sequence[Group], function: Advantage) -> None:
    """Gives every episode that is compared its advantage, and says that it is used."""
    for group in groups:
        counted = group.counted
        for r, value in zip(counted, function([r.reward for r in counted]), strict=True):
            r.advantage, r.used = float(value), True


def numbers(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """For a tracker: means over episodes of the reward, its terms, and what an episode is long."""
    n = len(rollouts)
    mean = lambda values: sum(values) / n  # noqa: E731
    steps = [[s for s in r.trajectory.steps if s.role == "research"] for r in rollouts]
    sampled = [sum(map(sum, (s.loss_mask for s in of))) for of in steps]
    return {
        "reward": mean(r.reward for r in rollouts),
        **{f"reward/{name}": mean(r.terms[name] for r in rollouts) for name in rollouts[0].terms},
        "episode/turns": mean(sum(bool(s.token_ids) for s in of) for of in steps),
        "episode/tool_calls": mean(sum(s.tool_call is not None for s in of) for of in steps),
        "episode/tool_errors": mean(sum(s.tool_result is not None and not s.tool_result.ok for s in of) for of in steps),
        "episode/sampled_tokens": mean(sampled),
        "episode/tokens": mean(sum(len(s.token_ids) for s in of) for of in steps),
        "episodes": n,
    }

