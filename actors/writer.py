"""An engine as the writer of reflections: `prstack.distill.writing` asks, an engine (vLLM or an endpoint) answers.

What an engine cannot answer, for good or because it is lost, is `Unanswered` with the kind of the error: the rule's reflection stays then, and
is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import ray

from actors.engine import EngineError, Request
from actors.router import EnginePool
from prstack.distill.writing import Ask, Unanswered, Writer
from prstack.prompts import Prompts

TASK = "writer.reflect"


def engine_asks(pool) -> Ask:
    """`pool` has `async complete(Request) -> Completion`."""

    async def ask(prompt: str, schema: dict, seed: int, episode: str, max_tokens: int) -> str:
        message = {"role": "user", "content": prompt}
        try:
            request = Request(task=TASK, role="writer", messages=[message], schema=schema, seed=seed, episode=episode, max_tokens=max_tokens)
            return (await pool.complete(request)).text
        except EngineError as e:
            raise Unanswered(f"engine:{e.kind}") from e

    return ask


def open_writer(engines: Sequence[str], prompts: str | None, attempts: int) -> Writer:
    """A writer over engine actors, found by their names; made in the process, and on the event loop, that it works in."""
    return Writer(engine_asks(EnginePool([ray.get_actor(name) for name in engines])), Prompts(prompts), attempts)
