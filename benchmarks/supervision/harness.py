"""Asks an engine for verdicts on moments, through the supervisor agent itself: its prompts, its schema, its reading of replies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from actors.engine import EngineError
from actors.supervisor import SupervisorAgent, read_verdict
from benchmarks.supervision.kinds import Kind
from benchmarks.supervision.moments import Moment
from prstack.prompts.replies import VERDICT_KINDS
from prstack.settings import AgentsConfig
from prstack.types import Usage, Verdict


@dataclass(slots=True)
class Judged:
    """A moment and the verdict on it; None where the engine failed, which counts as neither."""

    moment: Moment
    verdict: Verdict | None
    seconds: float

    @property
    def sent_back(self) -> bool:
        return self.verdict is not None and self.verdict.decision == "revise"

    @property
    def unreadable(self) -> bool:
        """Whether the reply held no verdict, which the supervisor agent takes for `revise`."""
        return self.verdict == read_verdict("", self.moment.state)

    def names(self, findings: frozenset[str]) -> bool:
        """Whether one of the findings that are not ok is of these kinds."""
        return self.verdict is not None and any(not i.ok and i.kind in findings for i in self.verdict.items)


def mutants(kind: Kind, moments: Sequence[Moment], most: int, seed: int) -> list[Moment]:
    """At most `most` mutants of a kind, from moments drawn by lot; the same ones for the same seed."""
    rng = random.Random(f"{seed}/{kind.name}")
    fitting = [m for m in moments if m.state == kind.state and (kind.state != "toolcall" or m.step.tool_call)]
    made: list[Moment] = []
    for moment in rng.sample(fitting, len(fitting)):
        if len(made) == most:
            break
        if mutant := kind.make(moment, rng):
            made.append(mutant)
    return made


def drawn(right: Sequence[Moment], wrong: Sequence[Moment], limit: int, seed: int) -> tuple[list[Moment], list[Moment]]:
    """`limit` moments by lot, as evenly as can be over the three states and over right and wrong ones; all where there are no more."""
    rng = random.Random(f"{seed}/limit")
    queues = [[m for m in side if m.state == state] for state in VERDICT_KINDS for side in (right, wrong)]
    queues = [rng.sample(q, len(q)) for q in queues]
    kept: list[Moment] = []
    while len(kept) < limit and any(queues):
        for q in queues:
            if q and len(kept) < limit:
                kept.append(q.pop())
    chosen = set(map(id, kept))
    return [m for m in right if id(m) in chosen], [m for m in wrong if id(m) in chosen]


async def judge(engine, moments: Sequence[Moment], concurrency: int) -> list[Judged]:
    """A verdict on every moment, in their order. `engine` has `async complete(Request) -> Completion`."""
    supervisor = SupervisorAgent(engine, None, None, AgentsConfig(), {}, "generated")
    free = asyncio.Semaphore(concurrency)

    async def one(moment: Moment) -> Judged:
        # The check appends its verdict and adds what it took: a copy keeps the moment as it is.
        usage = Usage("supervisor")
        t = replace(moment.trajectory, steps=list(moment.trajectory.steps), usage=[usage])
        async with free:
            try:
                return Judged(moment, await supervisor.check(t, moment.state, moment.step), usage.seconds)
            except EngineError:
                return Judged(moment, None, usage.seconds)

    return await asyncio.gather(*map(one, moments))
