"""The training loop. It reads in the order in which things happen; a group of ranks does the work.

Where its batches come from is a `Stream`: packs that lie there (`batches.Batches`), or rollouts of the model itself.

Stops before weights go bad: a loss or gradient that is not finite, or a loss far above its recent course, ends the
run with an error that names step and packs, after the batch was written for replay. The last checkpoint stays.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from prstack.settings import TrainerConfig
from trainers.batches import Batch
from trainers.losses import Loss, Sft


class Group(Protocol):
    """Ranks that train one model: `launch.Local` or `launch.RayGroup`."""

    dp: int

    def step(self, shares: list[list[list[Any]]], lr: float, loss: Loss) -> dict[str, Any]: ...
    def save(self, folder: Path, state: dict[str, Any], keep: int) -> str: ...


class Stream(Protocol):
    """Batches without end but for a request to stop, and where in them training stands."""

    def steps(self, epochs: float) -> int:
        """Batches in so many rounds through what the stream is made from."""
        ...

    def __next__(self) -> Batch:
        """Raises StopIteration where a request to stop has ended the making of a batch; `state` is then as if it had not begun."""
        ...

    def after_step(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Called when the model has taken its step over the last batch, before the checkpoint: what depends on the model follows it
        here. Returns metrics to add to those of the step."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint is to keep of the stream, as JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on after the step at which `state` was taken. Raises UserError when it is of another stream."""
        ...


class Diverged(Exception):
    """Training was stopped: the loss is NaN, infinite or exploding. The message says where."""


@dataclass(slots=True)
class Summary:
    """What a run of the loop did."""

    steps: int
    """Steps done in all, earlier sessions included; fewer than were to be done when it was stopped."""
    first: int
    """Step at which this session began."""
    tokens: int
    """Tokens seen in this session."""
    seconds: float
    last: dict[str, Any] = field(default_factory=dict)
    """Metrics of the last step."""


def learning_rate(step: int, steps: int, peak: float, warmup: int, floor: float = 0.1) -> float:
    """Linear warm-up to `peak` over `warmup` steps, then a cosine to `floor · peak` at the last step (from 0)."""
    if step < warmup:
        return peak * (step + 1) / warmup
    part = (step - warmup) / max(1, steps - 1 - warmup)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, part))))


def train(
    group: Group,
    batches: Stream,
    config: TrainerConfig,
    folder: Path,
    on_step: Callable[[dict[str, Any]], None],
    state: dict[str, Any] | None = None,
    stop_at: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Trains to the end of the schedule, or to `stop_at`; writes checkpoints to `folder`.

    `stop` is asked before every step; where it says so, training ends with a checkpoint of the steps that were done. `state` is
    what a loaded checkpoint was saved with; without it training begins at step 0. `on_step` gets the metrics of each step: step,
    loss, grad_norm, lr, tokens, targets, tokens_per_second, epoch, expert_load, aux_loss, and those of the loss and of the stream.
    Raises Diverged, and what a loss raises (`Loss.check`).
    """
    steps = config.steps or batches.steps(config.epochs)
    first = 0
    if state:
        first = state["step"]
        batches.restore(state["data"])
    watch, start, tokens, metrics = Watch(), time.perf_counter(), 0, {}
    last = min(steps, stop_at or steps)

    def save(done: int) -> int:
        group.save(folder, {"step": done, "data": batches.state(), "steps": steps}, config.keep)
        return done

    done = saved = first
    for step in range(first, last):
        batch = None if stop() else next(batches, None)
        if batch is None:
            break
        lr = learning_rate(step, steps, config.lr, config.warmup)
        try:
            metrics = group.step(batch.shares, lr, batch.loss)
            if config.shuffle and isinstance(batch.loss, Sft):  # a curriculum goes on to harder text; a policy's loss has no course
                watch.see(metrics["loss"])
        except ArithmeticError as e:
            raise Diverged(_diverged(step, batch, folder, e)) from e
        done = step + 1
        metrics |= {"step": done, "epoch": batch.epoch, "tokens_per_second": metrics["tokens"] / metrics["seconds"]}
        metrics |= batches.after_step(metrics)
        tokens += metrics["tokens"]
        on_step(metrics)
        if done % config.checkpoint_every == 0 or done == last:
            saved = save(done)
    if done > saved:  # it was stopped between two checkpoints
        save(done)
    return Summary(done, first, tokens, time.perf_counter() - start, metrics)


class Watch:
    """Notices an exploding loss: above three times the mean of the last 20 steps, and at least 2 above it."""

    def __init__(self, window: int = 20, warm: int = 5):
        self._recent: deque[float] = deque(maxlen=window)
        self._warm = warm

    def see(self, loss: float) -> None:
        """Raises ArithmeticError when the loss explodes."""
        if len(self._recent) >= self._warm:
            mean = sum(self._recent) / len(self._recent)
            if loss > max(3 * mean, mean + 2):
                raise ArithmeticError(f"loss {loss:.3f} explodes (mean of the last {len(self._recent)} steps: {mean:.3f})")
        self._recent.append(loss)


def _diverged(step: int, batch: Batch, folder: Path, error: Exception) -> str:
    path = folder / f"diverged-step-{step + 1}.parquet"
    batch.save(path)
    names = batch.names()
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"step {step + 1}: {error}. Batch: {shown}; written to {path}. Lower trainer.lr, or look at these packs."

