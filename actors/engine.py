"""What every engine offers, and what is asked of it.

An engine plays a role: it is given a conversation and answers with one assistant turn. `VLLMEngine` serves a model,
`ExpertEngine` follows a script; both are plain async classes that may be hosted as Ray actors, and `EnginePool`
spreads requests over several of them. This module imports neither Ray nor vLLM.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from prstack.dialogue import grammar
from prstack.types import Role

Choice = Literal["auto", "required", "none"]

INITIAL_WEIGHTS = "initial"
"""The weight version of an engine that was never updated; what a scripted engine and an endpoint answer always."""


@dataclass(slots=True)
class Request:
    """One assistant turn, asked for.

    `messages` and `tools` are as in `prstack.dialogue`. What may come back:

    - With a `schema`: JSON that follows it, and nothing else. Strings and lists without a bound get one.
    - With `tools`: reasoning, then a tool call (`tool_choice="required"`), a tool call or report (`auto`), or a report
      or text (`none`). `report="required"` leaves only the report; `report="none"` puts text in its place.
    - With neither: any text.

    The same request with the same `seed` gives the same answer, as far as the engine can promise (batching changes
    the last bits of a model's logits). `episode` keeps the requests of one episode on one engine, whose prefix cache
    then helps.
    """

    task: str
    """What the turn is for: "<role>.<step>", such as "supervisor.check_plan"."""
    role: Role | Literal["judge", "writer"]
    messages: list[dict]
    tools: list[dict] | None = None
    tool_choice: Choice = "auto"
    report: Choice = "auto"
    schema: dict | None = None
    seed: int = 0
    episode: str = ""
    max_tokens: int | None = None
    """Longest answer, in tokens; by default what the engine is configured with."""
    temperature: float | None = None
    """Sampling temperature, 0 for greedy; by default what the engine is configured with."""
    constrained: bool = True
    """False: nothing of the above is enforced, and the text is what the model writes by itself."""


@dataclass(slots=True)
class Completion:
    """An answer: `text` without special tokens. `finish_reason`: "stop", or "length" where `max_tokens` cut it off.

    `seconds` is the time in the engine, waiting included; `engine` names the engine and model.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    engine: str
    seconds: float
    weight_version: str = INITIAL_WEIGHTS
    """The weights that made all of it."""


@dataclass(slots=True)
class Sampling:
    """How `generate` samples. Temperature 0 is greedy; `stop_token_ids` end a sequence and are part of it."""

    max_tokens: int = 384
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop_token_ids: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Sample:
    """Sampled tokens, end-of-turn token included when there is one, and their log probabilities (same length).

    The log probabilities are of the distribution that was sampled from: after temperature and nucleus sampling (greedy: the model's own). All tokens
    are of the weights `weight_version`.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: Literal["stop", "length"]
    weight_version: str


def cleaned(text: str, is_json: bool) -> str:
    """An answer whose JSON, all of it or that of a tool call, holds no raw control characters, which grammars let through."""
    if is_json:
        return grammar.clean_json(text)
    before, tag, call = text.partition("<tool_call>")
    return before + tag + grammar.clean_json(call)


class EngineError(Exception):
    """An engine could not answer. `kind` says whether asking again can help:

    - "context": the conversation is too long for the model. It will not help.
    - "request": the request itself is refused (a bad schema, for example). It will not help.
    - "engine": the engine failed or died; another one, or this one after its restart, may answer.
    - "unavailable": no engine answered within the limits of the pool.
    """

    KINDS = ("context", "request", "engine", "unavailable")

    def __init__(self, kind: str, message: str):
        if kind not in self.KINDS:
            raise ValueError(f"unknown kind of engine error: {kind}")
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Engine(Protocol):
    """The interface of engines. `exact_tokens` says whether `generate` returns the tokens that were sampled."""

    exact_tokens: bool

    async def ready(self) -> str:
        """Waits until the engine can answer; returns the version of the weights that it serves."""

    async def complete(self, request: Request) -> Completion:
        """One assistant turn. Raises EngineError."""

    async def generate(self, token_ids: list[int], sampling: Sampling) -> Sample:
        """Token ids in, sampled token ids out. Raises EngineError."""

    async def update_weights(self, folder: str | Path, version: str, checksum: str = "") -> None:
        """Serves the weights in `folder` from the next request on. Only engines that hold a model have this. Raises EngineError."""

    async def describe(self) -> dict[str, Any]:
        """Name, model and limits of the engine, for records and displays."""

    async def shutdown(self) -> None:
        """Releases everything the engine holds, processes included."""
