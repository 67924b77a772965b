"""An engine as a judge: `prstack.scoring.judge` asks, an engine (model or expert) answers.

A judge is greedy unless it is asked more than once in each order: then repeats need a temperature to differ. What an engine refuses
for good (a prompt that is too long, a schema it cannot take) is an empty reply, so the judgement counts as unjudged; an engine that is
dead or cannot be reached raises, since nothing is known of the report then.
"""

from __future__ import annotations

from actors.engine import EngineError, Request
from prstack.scoring.judge import Judge

TOKENS = 2560
"""Longest reply: two dozen criteria with their reasons."""
REFUSED = ("context", "request")


def engine_judge(pool, name: str, temperature: float = 0.0, max_tokens: int = TOKENS) -> Judge:
    """A judge over `pool`, which has `async complete(Request) -> Completion`. `name` is how results call it: engine and model."""

    async def ask(task: str, prompt: str, schema: dict, seed: int) -> str:
        message = {"role": "user", "content": prompt}
        request = Request(task=task, role="judge", messages=[message], schema=schema, seed=seed, episode=str(seed), max_tokens=max_tokens, temperature=temperature)
        try:
            return (await pool.complete(request)).text
        except EngineError as e:
            if e.kind in REFUSED:
                return ""
            raise

    return Judge(name, ask)
