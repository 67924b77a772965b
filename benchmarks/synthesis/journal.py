"""What an engine was asked while synthesis ran, and how many tokens it had generated at a moment.

`attach` puts a `Journal` between a VLLMEngine and its AsyncLLM: every call goes through as it is and is written down, with its
prompt, sampling, grammar, times and tokens. vLLM's frontend has the tokens of running requests as well, so that a stretch of time is
counted to the token at both ends. Times are those of the system's monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any


@dataclass(slots=True)
class Call:
    """One request to a model. `end` is None while it runs, and when it failed; `form`: its structural tag; `most`: tokens that it may have."""

    id: str
    prompt: list[int]
    form: str | None
    temperature: float
    top_p: float
    seed: int | None
    most: int
    arrival: float
    end: float | None = None
    tokens: int = 0
    cached: int = 0
    """Tokens of the prompt that were in the prefix cache."""


@dataclass(slots=True)
class Stretch:
    """The calls up to `end` in order of arrival, tokens that were generated from `start` to `end`, and CPU seconds of all processes meanwhile."""

    calls: list[Call]
    start: float
    end: float
    tokens: int
    cpu: float

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / (self.end - self.start)

    @property
    def cpu_per_token(self) -> float:
        return self.cpu / max(1, self.tokens)

    @property
    def arrived(self) -> list[Call]:
        """The calls that arrived in the stretch."""
        return [c for c in self.calls if self.start <= c.arrival < self.end]

    @property
    def in_flight(self) -> float:
        """Mean number of calls in the engine."""
        inside = (min(c.end or self.end, self.end) - max(c.arrival, self.start) for c in self.calls)
        return sum(max(0.0, seconds) for seconds in inside) / (self.end - self.start)


def hit_rate(calls: Iterable[Call]) -> float:
    """Share of the tokens of all prompts that were in the prefix cache, of calls that ended."""
    ended = [c for c in calls if c.end is not None]
    return sum(c.cached for c in ended) / max(1, sum(len(c.prompt) for c in ended))


class Journal:
    """An AsyncLLM whose calls are written down, in order of arrival."""

    def __init__(self, llm: Any):
        self.llm, self.calls = llm, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.llm, name)

    async def generate(self, prompt: dict, sampling: Any, request_id: str, **more: Any) -> AsyncIterator[Any]:
        form = sampling.structured_outputs.structural_tag if sampling.structured_outputs else None
        call = Call(request_id, prompt["prompt_token_ids"], form, sampling.temperature, sampling.top_p, sampling.seed, sampling.max_tokens, monotonic())
        self.calls.append(call)
        out = None
        async for out in self.llm.generate(prompt, sampling, request_id, **more):
            yield out
        if out is not None:
            call.end, call.tokens, call.cached = monotonic(), len(out.outputs[0].token_ids), out.num_cached_tokens or 0

    def mark(self) -> tuple[float, int]:
        """The time, and the tokens of all calls so far, also of those that run."""
        running = {r.external_req_id: r.detokenizer.num_output_tokens() for r in list(self.llm.output_processor.request_states.values()) if r.detokenizer}
        for call in self.calls:
            if call.end is None:
                call.tokens = running.get(call.id, call.tokens)
        return monotonic(), sum(c.tokens for c in self.calls)


def attach(engine: Any) -> None:
    """Begins a new journal. Runs in the engine's process."""
    engine._llm = Journal(getattr(engine._llm, "llm", engine._llm))


def mark(engine: Any) -> tuple[float, int]:
    """Runs in the engine's process."""
    return engine._llm.mark()


def arrivals(engine: Any) -> list[float]:
    """When each call came. Runs in the engine's process."""
    return [c.arrival for c in engine._llm.calls]


def read(engine: Any) -> list[Call]:
    """The calls since `attach`. Runs in the engine's process."""
    return engine._llm.calls
