"""The stream that `prstack rl` trains on: rollouts as batches, and after each update the new weights to where the next rollouts come from.

Of one update:

1. Its rollouts are played (or read), and lie on disk.
2. Their episodes, in an order of the update's own, are dealt to `minibatches` parts; each part becomes packs, and those a batch.
3. The loop takes a step over each batch. A rollout is in one batch, once.
4. In the first of them the trainer has the weights that have sampled: its log-probabilities are held against the engine's, and must agree
   (`rl.max_mismatch`), before that step changes a weight (`Loss.check`). What the trainer is to say of all batches first, as π_old with
   `recompute`, comes of a pass before the steps, and is then compared there.
5. Then the weights are published, and the engines serve them before the next query is asked.

Checkpoints are written between updates alone, so that a run that is taken up again begins with 1, with the weights and the query at which
the checkpoint was written. So a request to stop ends the steps of an update that has begun to be trained; of one that has not, it breaks off the
play, and the query is again the update's first. Nothing is published then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prstack.rl import mismatch
from prstack.rl.samples import Tokens, balanced, sequence, shuffled
from prstack.settings import Config
from prstack.stages.rl_rollouts import Players, Replayed
from prstack.stages.stopping import Stop
from prstack.store.published import retire
from trainers.batches import Batch, Pack, at_tokens, deal, filler
from trainers.launch import Group
from trainers.policy import PolicyLoss

RECOMPUTE = "recompute"
STOPPING = "play is broken off, an update whose steps have begun ends, and a checkpoint is written"
"""What a request to stop does."""


class Rollouts:
    """Implements `trainers.loop.Stream`. `folder` is where weights are published; `label` makes their versions this session's own. With `stop`
    asked, the source breaks off what its engines do."""

    def __init__(
        self, source: Players | Replayed, group: Group, config: Config, loss: PolicyLoss, folder: Path, label: str = "", stop: Stop | None = None
    ):
        self.update = 0
        """Updates that were made."""
        self._source, self._group, self._config, self._settings, self._folder, self._label = source, group, config, config.rl, folder, label
        self._loss = loss
        self._bound = (config.rl.max_mismatch or mismatch.BOUNDS[config.trainer.dtype]) if source.live else 0.0
        self._stop = stop or Stop("rl", STOPPING)
        self._begun = False
        self._waiting: list[Batch] = []
        self._said: dict[str, float] = {}

    def steps(self, epochs: float) -> int:
        """`rl.updates` says how many; there are no rounds."""
        return self._settings.updates * self._settings.minibatches

    def __next__(self) -> Batch:
        if not self._begun:
            self._begin()
        if not self._waiting:
            before = self._source.state()
            with self._broken_off():
                self._waiting = self._prepare(self.update + 1)
            if self._stop.asked():
                self._waiting, self._said = [], {}
                self._source.restore(before)
                raise StopIteration
        return self._waiting.pop(0)

    def asked_to_stop(self) -> bool:
        """Whether to end here: it was asked for, and no update has steps ahead."""
        return self._stop.asked() and not self._waiting

    def after_step(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """What is to be said of the update's rollouts goes with its first step; after its last one the weights are published."""
        said, self._said = self._said, {}
        if said and "mismatch/mean" not in said:
            said |= self._shown(self._loss.against_old(metrics, metrics["targets"]))
        if not self._waiting:
            self.update += 1
            if self.update < self._settings.updates and not self._stop.asked():
                said |= self.publish()
        return {"update": self.update + bool(self._waiting)} | said

    def state(self) -> dict[str, Any]:
        return {"update": self.update, **self._source.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self._source.restore(state)
        self.update = state["update"]

    def publish(self) -> dict[str, float]:
        """The engines serve what the ranks have, under a version of its own; of older weights one is left, to be written over."""
        if not self._source.live:
            return {}
        start = time.perf_counter()
        version = f"update-{self.update}{self._label}"
        published = self._group.publish(self._folder / version, version, self._settings.bucket_mb)
        with self._broken_off():
            self._source.serve(published)
        retire(self._folder, version)
        return {"seconds/publish": time.perf_counter() - start}

    @contextmanager
    def _broken_off(self) -> Iterator[None]:
        """What runs with the engines inside the block may end by a request to stop."""
        try:
            yield
        except asyncio.CancelledError:
            if not self._stop.asked():
                raise

    def _begin(self) -> None:
        """What later updates of an attempt that was cut off have left goes; the engines get the weights that the ranks have taken up."""
        self._begun = True
        self._source.forget(self.update)
        if self.update or self._source.stale:
            self.publish()

    def _prepare(self, update: int) -> list[Batch]:
        """The batches of an update, in the order of its steps. Raises mismatch.Disagreement, with `recompute`; else the first step does."""
        groups, said = self._source.rollouts(update)
        episodes = [sequence(r) for g in groups for r in g.rollouts if r.used]
        order = shuffled(len(episodes), self._config.seed, update)
        parts = [[episodes[i] for i in order[m :: self._settings.minibatches]] for m in range(self._settings.minibatches)]
        trainer = self._config.trainer
        packs = [packed(part, trainer.micro_batch * self._group.dp, trainer.context) for part in parts]
        some = next(p for part in packs for p in part)
        batches = [Batch(deal(part or [filler(some)], trainer.micro_batch, self._group.dp), self._source.epoch, self._loss) for part in packs]
        self._said = said | {"episodes/used": len(episodes)}
        start = time.perf_counter()
        if self._settings.old_logprobs == RECOMPUTE:
            found = self._recompute(batches)
            self._said |= self._shown(found)
            if self._bound:
                mismatch.check(found, self._bound)
        else:
            batches[0].loss = replace(self._loss, max_mismatch=self._bound)
        for batch in batches if self._settings.kl else []:
            for pack, reference in self._said_of(batch, reference=True):
                pack.extra["ref_logprobs"] = reference
        self._said["seconds/compare"] = time.perf_counter() - start
        return batches

    def _shown(self, found: mismatch.Mismatch) -> dict[str, float]:
        """What is said of engine and trainer, with a line of its own where a token stands out."""
        if self._bound and found.max_ratio > mismatch.RATIO_ALARM and self._config.trainer.dtype == "float32":
            print(f"rl: a token differs much between engine and trainer: {found}", flush=True)
        return found.log()

    def _recompute(self, batches: Sequence[Batch]) -> mismatch.Mismatch:
        """The trainer's log-probabilities beside the engine's. They become π_old, and every token gets its weight."""
        trainer, engine = [], []
        for batch in batches:
            for pack, now in self._said_of(batch):
                then, learned = pack.extra["old_logprobs"], pack.loss_mask == 1
                trainer.append(now[learned])
                engine.append(then[learned])
                weights = np.where(learned, mismatch.truncated(now, then, self._settings.tis_cap), 0).astype(np.float32)
                pack.extra |= {"old_logprobs": now, "weights": weights}
        return mismatch.measure(trainer, engine)

    def _said_of(self, batch: Batch, reference: bool = False) -> Iterator[tuple[Pack, np.ndarray]]:
        """Each pack of a batch with what the ranks say of its tokens, float32 [t]; `reference`: by the weights that training began with."""
        for share, answer in zip(batch.shares, self._group.forward(batch.shares, reference, self._settings.temperature), strict=True):
            for packs, rows in zip(share, answer, strict=True):
                for pack, row in zip(packs, rows, strict=True):
                    yield pack, at_tokens(np.asarray(row, np.float32))


def packed(episodes: Sequence[Tokens], multiple: int, context: int) -> list[Pack]:
    """Episodes as packs, each a segment; π_old is the engine's."""
    packs = []
    for n, places in enumerate(balanced([len(e.input_ids) for e in episodes], multiple, context)):
        if inside := [episodes[i] for i in places]:
            advantages = np.concatenate([np.full(len(e.input_ids), e.advantage, np.float32) for e in inside])
            packs.append(
                Pack(
                    np.concatenate([e.input_ids for e in inside]),
                    np.concatenate([e.loss_mask for e in inside]),
                    np.array([len(e.input_ids) for e in inside], np.int32),
                    f"pack {n} of {len(inside)} episodes, {inside[0].id} first",
                    {"advantages": advantages, "old_logprobs": np.concatenate([e.logprobs for e in inside])},
                )
            )
    return packs
