"""What reinforcement learning keeps of an episode: the trajectory with the very tokens, what it earned, and how it is packed.

1. Each step that begins a turn holds, in order, what that turn put into the context: first what the environment said (`loss_mask` 0), then what
   was sampled (1), with the engine's log-probabilities of it (0 elsewhere) and the version of the weights. One after the other they are the
   episode's sequence; nothing is ever rendered or tokenised again.
2. A sequence ends with its last sampled token: what the environment said after it teaches nothing.
3. Whole sequences go into packs, longest first, each into the emptiest pack. The number of packs is a multiple of what a step deals out to
   the ranks (`balanced`).

Invariants (tested): the mask is 1 exactly on sampled tokens; every sequence is in one pack, once and whole; a rollout file read again gives the
same sequences, log-probabilities to the bit of a float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from prstack.dialogue.conversation import turns_of
from prstack.errors import UserError
from prstack.store.parts import write_table
from prstack.store.records import data_files, read_parquet, to_row
from prstack.types import Step, Trajectory, arrow_schema


@dataclass(slots=True)
class Rollout:
    """One episode of a step, used or not. A rollout file holds all that a step played."""

    id: str
    update: int
    """The update that was made of it, from 1."""
    task: str
    """The query's id: episodes of one `update` and `task` are a group."""
    n: int
    """Number within its group."""
    outcome: str
    """How it ended (`prstack.rl.groups.Outcome`)."""
    reward: float
    terms: dict[str, float]
    """What the reward is made of, as measured and not weighted; `errors`: how many of it could not be measured."""
    trajectory: Trajectory
    advantage: float = 0.0
    used: bool = False
    """Whether it was trained on."""


@dataclass(slots=True)
class Turn:
    """What one turn put into the context, as in the steps of a trajectory. All lists are parallel."""

    token_ids: list[int]
    loss_mask: list[int]
    logprobs: list[float]
    weight_version: str


@dataclass(slots=True)
class Tokens:
    """The tokens of an episode, up to the last that was sampled. Arrays of the same length t."""

    id: str
    input_ids: np.ndarray
    """int32 [t]"""
    loss_mask: np.ndarray
    """int8 [t], 1 on what was sampled"""
    logprobs: np.ndarray
    """float32 [t], the engine's, of the token at each position; 0 where nothing was sampled"""
    advantage: float = 0.0
    versions: frozenset[str] = field(default_factory=frozenset)

    @property
    def sampled(self) -> int:
        return int(self.loss_mask.sum())


def attach(t: Trajectory, turns: Sequence[Turn]) -> None:
    """Puts the tokens of each turn into the first step of it. Turns are in order; the last may have no step, where the episode broke off
    between what was sampled and what it led to. Raises ValueError when the two do not fit together."""
    steps = [turn[0] for turn in turns_of(t.steps)]
    if not len(steps) <= len(turns) <= len(steps) + 1:
        raise ValueError(f"episode {t.id}: {len(turns)} turns were sampled, and {len(steps)} are on record")
    for step, turn in zip(steps, turns, strict=False):
        step.token_ids, step.loss_mask, step.logprobs, step.weight_version = turn.token_ids, turn.loss_mask, turn.logprobs, turn.weight_version


def sequence(r: Rollout) -> Tokens:
    """The tokens of an episode. Raises ValueError for one that holds none that were sampled."""
    steps: list[Step] = [s for s in r.trajectory.steps if s.token_ids]
    joined = [np.concatenate([np.asarray(getattr(s, name), kind) for s in steps] or [np.empty(0, kind)]) for name, kind in _ARRAYS]
    ids, mask, logprobs = joined
    if not len(ids) == len(mask) == len(logprobs) or not mask.any():
        raise ValueError(f"rollout {r.id}: no sampled tokens, or not one mask and log-probability a token")
    end = int(np.flatnonzero(mask)[-1]) + 1
    return Tokens(r.id, ids[:end], mask[:end], logprobs[:end], r.advantage, frozenset(s.weight_version for s in steps))


_ARRAYS = (("token_ids", np.int32), ("loss_mask", np.int8), ("logprobs", np.float32))


def balanced(lengths: Sequence[int], multiple: int, context: int) -> list[list[int]]:
    """Sequences, by their place in `lengths`, as packs of at most `context` tokens; as few packs as a multiple of `multiple` allows. Packs may be
    empty where there are fewer sequences than packs. Raises ValueError for a sequence that is longer than the context."""
    if lengths and max(lengths) > context:
        raise ValueError(f"a sequence has {max(lengths)} tokens; a pack holds {context}")
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    n = multiple
    while True:
        packs: list[list[int]] = [[] for _ in range(n)]
        room = [context] * n
        for i in order:
            widest = max(range(n), key=lambda p: room[p])
            if room[widest] < lengths[i]:
                break
            packs[widest].append(i)
            room[widest] -= lengths[i]
        else:
            return packs
        n += multiple


def shuffled(n: int, seed: int, *more: int) -> list[int]:
    """0 … n - 1 in an order that depends on all the numbers."""
    return np.random.default_rng([seed, *more]).permutation(n).tolist()


# --- files -----------------------------------------------------------------------------------------------------------
def write_rollouts(rollouts: Sequence[Rollout], folder: Path, update: int) -> Path:
    """Writes what a step played; the file is there whole or not at all."""
    path = folder / f"update-{update:06d}.parquet"
    write_table(pa.Table.from_pylist([to_row(r) for r in rollouts], schema=arrow_schema(Rollout)), path)
    return path


def read_rollouts(folder: Path, what: str = "rl.replay") -> Iterator[list[Rollout]]:
    """The rollouts of a folder, an update at a time in their order. Raises UserError for what is no rollout file, or has no used rollout."""

    def on_bad(bad: object) -> None:
        raise UserError(str(bad))

    for file in data_files(folder, what):
        rollouts = list(read_parquet(file, Rollout, on_bad))
        if not any(r.used for r in rollouts):
            raise UserError(f"{file}: holds no rollout that was trained on")
        yield rollouts
