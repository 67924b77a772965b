"""The expert policy: a deterministic, seeded teacher for the three roles (`engine=expert`), and a judge by rule.

It is an engine like any other: messages in, assistant text out. It sees what a model would see, the rendered prompts and
the tool results in them, and holds no handle to the world or its truth. Everything it says follows from the request's
messages and seed. As research agent it makes seeded mistakes (`agents.mistakes`), so that supervision has something to
correct. Results made with it are labelled `expert`; they show that the system works, not that a model is good.
"""

from __future__ import annotations

import random
import time
from dataclasses import asdict
from typing import Any

from actors.engine import INITIAL_WEIGHTS, Completion, EngineError, Request, Sample, Sampling
from actors.expert import judge, research, supervisor, user
from prstack.settings import MistakesConfig

ROLES = {"user": user.reply, "supervisor": supervisor.reply, "judge": judge.reply}


class ExpertEngine:
    """`complete` only: its text is no sample of a model, so there are no exact tokens to train on."""

    exact_tokens = False
    name = "expert"

    def __init__(self, mistakes: dict | None = None):
        self.mistakes = MistakesConfig(**(mistakes or {}))

    async def ready(self) -> str:
        return INITIAL_WEIGHTS

    async def complete(self, request: Request) -> Completion:
        """Raises EngineError("request") for a task that the expert does not know."""
        start = time.perf_counter()
        role, _, task = request.task.partition(".")
        rng = random.Random(request.seed)
        if role == "research":
            text = research.reply(task, request.messages, rng, self.mistakes)
        elif role in ROLES:
            text = ROLES[role](task, request.messages[-1]["content"], rng)
        else:
            raise EngineError("request", f"the expert does not play {request.task}")
        words = sum(len(str(m.get("content", "")).split()) for m in request.messages)
        return Completion(
            text=text,
            finish_reason="stop",
            prompt_tokens=words,  # words: there is no tokenizer behind the expert
            completion_tokens=len(text.split()),
            engine=self.name,
            seconds=time.perf_counter() - start,
        )

    async def generate(self, token_ids: list[int], sampling: Sampling) -> Sample:
        raise EngineError("request", "the expert has no exact tokens; generate needs a model")

    async def describe(self) -> dict[str, Any]:
        return {"name": self.name, "model": "", "mistakes": asdict(self.mistakes)}

    async def shutdown(self) -> None:
        return None
