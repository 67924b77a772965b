"""What the three roles share: asking an engine, and accounting for it."""

from __future__ import annotations

import hashlib

from actors.engine import Completion, Request
from prstack.prompts import Prompts
from prstack.types import Role, Usage


class Agent:
    """A stateless role over an engine pool. `pool` has `async complete(Request) -> Completion`."""

    role: Role

    def __init__(self, pool, prompts_folder: str | None = None):
        self.pool = pool
        self.prompts = Prompts(prompts_folder)

    async def ready(self) -> bool:
        """Answers once the agent is built; raises what its construction raised."""
        return True

    async def ask(self, task: str, messages: list[dict], usage: Usage, *, episode: str, seed: int, **options) -> Completion:
        """One completion; adds what it took to `usage`. Raises actors.engine.EngineError."""
        request = Request(task=f"{self.role}.{task}", role=self.role, messages=messages, episode=episode, seed=seed, **options)
        return await ask(self.pool, request, usage)


async def ask(pool, request: Request, usage: Usage) -> Completion:
    """One completion; adds what it took to `usage`. Raises actors.engine.EngineError."""
    done = await pool.complete(request)
    usage.calls += 1
    usage.prompt_tokens += done.prompt_tokens
    usage.completion_tokens += done.completion_tokens
    usage.seconds += done.seconds
    return done


def derive_seed(*parts: object) -> int:
    """A 31-bit seed that depends on all parts: the same step of the same episode always gets the same one."""
    return int.from_bytes(hashlib.sha256("|".join(map(str, parts)).encode()).digest()[:4], "big") >> 1


def short_hash(*parts: object) -> str:
    """16 hex digits of a hash over all parts."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:16]
