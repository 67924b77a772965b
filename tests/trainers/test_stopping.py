"""The loop that is asked to stop: where it ends, which checkpoints it writes, and that what follows is the undisturbed course."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prstack.settings import TrainerConfig
from trainers.batches import Batch
from trainers.loop import Summary, train


class Ranks:
    """A group whose loss follows from all batches that it has seen; a checkpoint keeps that."""

    ranks = dp = 1

    def __init__(self, seen: int = 0) -> None:
        self.seen, self.saved = seen, []

    def step(self, shares: list, lr: float, loss: object) -> dict[str, Any]:
        self.seen += shares[0][0][0]
        return {"loss": float(self.seen), "tokens": 1, "seconds": 1.0}

    def save(self, folder: Path, state: dict[str, Any], keep: int) -> None:
        self.saved.append((state["step"], state["data"], self.seen))


class Numbers:
    """Batches 1, 2, 3 …; the one of `broken_off` is ended by the request while it is made."""

    def __init__(self, broken_off: int = 0) -> None:
        self.at, self.broken_off = 0, broken_off

    def steps(self, epochs: float) -> int:
        return 10

    def __next__(self) -> Batch:
        if self.at + 1 == self.broken_off:
            raise StopIteration
        self.at += 1
        return Batch([[[self.at]]], 0)

    def after_step(self, metrics: dict[str, Any]) -> dict[str, Any]:
        return {}

    def state(self) -> dict[str, Any]:
        return {"at": self.at}

    def restore(self, state: dict[str, Any]) -> None:
        self.at = state["at"]


def run(group: Ranks, stream: Numbers, stop_in: int = 0, state: dict[str, Any] | None = None, every: int = 4) -> tuple[list[tuple[int, float]], Summary]:
    """Steps with their losses; the request comes in step `stop_in`, while it is computed."""
    seen: list[tuple[int, float]] = []
    done = state["step"] if state else 0
    asked = lambda: stop_in and len(seen) + done >= stop_in  # noqa: E731
    config = TrainerConfig(epochs=1.0, checkpoint_every=every)
    summary = train(group, stream, config, Path("nowhere"), lambda m: seen.append((m["step"], m["loss"])), state, stop=asked)
    return seen, summary


@pytest.mark.parametrize("stop_in", range(1, 11))
def test_the_step_ends_and_its_checkpoint_is_written_once(stop_in: int) -> None:
    whole, _ = run(Ranks(), Numbers())
    group = Ranks()
    first, summary = run(group, Numbers(), stop_in)
    assert first == whole[:stop_in] and (summary.steps, summary.last["step"]) == (stop_in, stop_in)
    assert [step for step, *_ in group.saved] == sorted({*range(4, stop_in + 1, 4), stop_in})
    step, data, seen = group.saved[-1]
    again = Ranks(seen)
    second, summary = run(again, Numbers(), state={"step": step, "data": data})
    assert first + second == whole and summary.steps == 10
    assert [step for step, *_ in again.saved] == [s for s in (4, 8, 10) if s > stop_in]


def test_a_request_before_the_first_step_trains_and_writes_nothing() -> None:
    group, stream = Ranks(), Numbers()
    state = {"step": 3, "data": {"at": 3}}
    seen, summary = run(group, stream, stop_in=1, state=state)
    assert (seen, group.saved, stream.at, summary.steps, summary.last) == ([], [], 3, 3, {})


@pytest.mark.parametrize(("broken_off", "saved"), [(1, []), (4, [3]), (5, [4]), (6, [4, 5])])
def test_a_batch_whose_making_was_ended_is_no_step(broken_off: int, saved: list[int]) -> None:
    group = Ranks()
    seen, summary = run(group, Numbers(broken_off))
    assert len(seen) == summary.steps == broken_off - 1 and [step for step, *_ in group.saved] == saved
    assert all(data == {"at": step} for step, data, _ in group.saved)
