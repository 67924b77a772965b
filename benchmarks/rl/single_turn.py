"""A source of rollouts without tools: the same prompts at every update, one turn each, as `prstack.stages.rl_stream.Rollouts` takes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.engine import INITIAL_WEIGHTS, Sampling
from prstack.rl.advantages import advantage
from prstack.rl.groups import Group
from prstack.rl.samples import Rollout
from prstack.stages.rl_rollouts import mark_advantages, numbers
from prstack.store.published import Published
from prstack.types import Persona, Step, Trajectory

NOBODY = Persona("", "", [])


class Asked:
    """Answers of `answer` tokens to each of `prompts`, `group` of them. `playing` is handed what plays, and calls it."""

    live = True

    def __init__(
        self,
        pool: Any,
        runner: asyncio.Runner,
        base: str | Path,
        prompts: list[str],
        group: int,
        answer: int,
        reward: Callable[[list[int]], float],
        playing: Callable[[Callable[[], Any]], Any],
    ):
        from transformers import PreTrainedTokenizerFast

        self.epoch = 0
        self._pool, self._runner, self._group, self._answer, self._reward, self._playing = pool, runner, group, answer, reward, playing
        self._prompts = PreTrainedTokenizerFast.from_pretrained(base)(prompts, add_special_tokens=False)["input_ids"]

    def rollouts(self, update: int) -> tuple[list[Group], dict[str, float]]:
        start = time.perf_counter()
        groups = self._playing(lambda: self._runner.run(self._play(update)))
        mark_advantages(groups, advantage(None, "grpo"))
        seconds = time.perf_counter() - start
        return groups, numbers([r for g in groups for r in g.rollouts]) | {"seconds/rollouts": seconds}

    async def _play(self, update: int) -> list[Group]:
        async def one(prompt: list[int], place: int, n: int) -> Rollout:
            seed = (update * len(self._prompts) + place) * self._group + n
            said = await self._pool.generate(prompt, Sampling(max_tokens=self._answer, seed=seed), f"{update}/{place}/{n}")
            ids = said.token_ids
            if len(ids) != self._answer:
                raise SystemExit(f"an answer of {len(ids)} tokens instead of {self._answer}")
            step = Step("research", "report", 0, token_ids=prompt + ids, loss_mask=[0] * len(prompt) + [1] * len(ids))
            step.logprobs, step.weight_version = [0.0] * len(prompt) + said.logprobs, said.weight_version
            episode = Trajectory(f"{update}/{place}/{n}", "", seed, NOBODY, "", [], [step], [], [], "finished")
            return Rollout(episode.id, update, str(place), n, "finished", self._reward(ids), {}, episode)

        tasks = [[one(prompt, place, n) for n in range(self._group)] for place, prompt in enumerate(self._prompts)]
        found = await asyncio.gather(*(episode for group in tasks for episode in group))
        return [Group(str(place), found[place * self._group : (place + 1) * self._group]) for place in range(len(self._prompts))]

    @property
    def stale(self) -> bool:
        return self._pool.weight_version != INITIAL_WEIGHTS

    def serve(self, weights: Published) -> None:
        self._runner.run(self._pool.update_weights(weights.folder, weights.version, weights.checksum))

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Every update asks the same."""

    def forget(self, after: int) -> None:
        """Nothing is written."""
