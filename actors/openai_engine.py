"""A model behind an OpenAI-compatible endpoint, as an engine: `engine=openai`.

1. Messages go out in the endpoint's own form; earlier reasoning stands in `<think>` tags before what was said. A conversation that is
   estimated to be longer than `engine.max_model_len` is shortened first (`prstack.dialogue.context`).
2. With a schema the endpoint is asked for JSON that follows it, otherwise the tools are offered as tools. A tool call comes back as one
   and is written down in prstack's assistant format, as is reasoning that comes apart.
3. The official client makes a call again that was refused for load, met a failing server or lost its connection: with growing pauses,
   or those of `Retry-After`. What fails for good is an EngineError, which the pool may ask elsewhere.

The API key comes from the environment alone (`engine.endpoint.key_env`). It is in no setting and no record, and is taken out of error
messages, which some servers repeat it in. It is not passed on by Ray either: machines that run engines need it in their own environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any
from urllib.parse import urlsplit

from actors.engine import INITIAL_WEIGHTS, Completion, EngineError, Request, Sample, Sampling
from prstack.dialogue import context
from prstack.dialogue.parse import format_assistant
from prstack.errors import UserError
from prstack.settings import EndpointConfig, EngineConfig
from prstack.types import ToolCall

CHARACTERS_PER_TOKEN = 3
"""What a token is taken for when a prompt is measured, on the safe side: the endpoint's tokenizer is not here."""
LOCAL = ("127.0.0.1", "::1", "localhost")
NO_KEY = "none"
_TOO_LONG = ("context_length_exceeded", "context length", "maximum model length", "too many tokens")


class OpenAIEngine:
    """Implements `actors.engine.Engine`. `generate` needs an endpoint that returns token ids, as vLLM's own server does; elsewhere it is
    refused."""

    exact_tokens = True

    def __init__(self, settings: EngineConfig):
        """Raises UserError when the key is missing."""
        self.settings = settings
        self.name = f"openai:{settings.model}"
        end = settings.endpoint
        self._key = api_key(end)
        self._slots = asyncio.Semaphore(end.concurrency)
        from openai import AsyncOpenAI

        self._client = AsyncOpenAI(api_key=self._key, base_url=end.base_url, timeout=end.timeout, max_retries=end.retries)

    async def ready(self) -> str:
        """Asks the endpoint for its models. Raises EngineError when it cannot be reached or has not this one."""
        listed = await self._call(self._models, "models")
        if listed and self.settings.model not in listed:
            raise EngineError("request", f"{self.settings.endpoint.base_url} has no model {self.settings.model!r}; it lists {', '.join(sorted(listed)[:10])}")
        return INITIAL_WEIGHTS

    async def complete(self, request: Request) -> Completion:
        """One assistant turn; `seconds` include waiting for a free slot. Raises EngineError: "context", "request" or "engine"."""
        start = time.perf_counter()
        body = self._body(request)
        async with self._slots:
            done = await self._call(lambda: self._client.chat.completions.create(**body), request.task)
        if not done.choices:
            raise EngineError("engine", f"{request.task}: {self.name} answered without a choice")
        choice = done.choices[0]
        if choice.finish_reason == "content_filter":
            raise EngineError("request", f"{request.task}: {self.name} holds its answer back (content_filter)")
        text = choice.message.content or "" if request.schema is not None else assistant_text(choice.message)
        used = done.usage
        return Completion(
            text=text,
            finish_reason="length" if choice.finish_reason == "length" else "stop",
            prompt_tokens=used.prompt_tokens if used else estimate(body["messages"], request.tools),
            completion_tokens=used.completion_tokens if used else len(text) // CHARACTERS_PER_TOKEN,
            engine=self.name,
            seconds=time.perf_counter() - start,
        )

    async def generate(self, token_ids: list[int], sampling: Sampling) -> Sample:
        """Samples after `token_ids`. Raises EngineError: "context", "engine", or "request" where the endpoint returns no token ids."""
        s = self.settings
        if len(token_ids) + sampling.max_tokens > s.max_model_len:
            raise EngineError("context", f"{len(token_ids)} + {sampling.max_tokens} tokens; engine.max_model_len is {s.max_model_len}")
        body: dict[str, Any] = {
            "model": s.model,
            "prompt": token_ids,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "logprobs": 0,
            "extra_body": {"return_token_ids": True, "stop_token_ids": sampling.stop_token_ids} | s.endpoint.extra,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        async with self._slots:
            done = await self._call(lambda: self._client.completions.create(**body), "generate")
        choice = done.choices[0] if done.choices else None
        ids, logprobs = getattr(choice, "token_ids", None), choice.logprobs if choice else None
        if not ids or logprobs is None or len(ids) != len(logprobs.token_logprobs or ()):
            raise EngineError("request", f"{self.name} returns no exact tokens with their log probabilities; sampling for training needs engine=vllm")
        return Sample(list(ids), list(logprobs.token_logprobs), "length" if choice.finish_reason == "length" else "stop", INITIAL_WEIGHTS)

    async def describe(self) -> dict[str, Any]:
        s = self.settings
        return {"name": self.name, "model": s.model, "base_url": s.endpoint.base_url, "max_model_len": s.max_model_len, "exact_tokens": self.exact_tokens}

    async def shutdown(self) -> None:
        await self._client.close()

    async def _models(self) -> list[str]:
        import openai

        try:
            return [m.id async for m in self._client.models.list()]
        except openai.NotFoundError:  # not every endpoint lists its models
            return []

    def _body(self, request: Request) -> dict[str, Any]:
        s = self.settings
        max_tokens = min(request.max_tokens or s.max_tokens, s.max_model_len // 2)
        tools = None if request.schema is not None else request.tools
        try:
            messages = context.fit(request.messages, s.max_model_len - max_tokens, lambda m: estimate(m, tools))
        except context.DoesNotFit as e:
            raise EngineError("context", f"{request.task}: {e}") from e
        body: dict[str, Any] = {
            "model": s.model,
            "messages": [outgoing(m) for m in messages],
            "max_tokens": max_tokens,
            "temperature": s.temperature if request.temperature is None else request.temperature,
            "top_p": s.top_p,
            "seed": request.seed,
        }
        if request.schema is not None and request.constrained:
            named = {"name": request.task.replace(".", "_"), "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        if tools:
            body |= {"tools": tools, "tool_choice": request.tool_choice}
            if request.tool_choice != "none":
                body["parallel_tool_calls"] = False
        return body | ({"extra_body": dict(s.endpoint.extra)} if s.endpoint.extra else {})

    async def _call(self, make: Any, task: str) -> Any:
        """A call of the client, its errors as EngineError without the key."""
        import openai

        try:
            return await make()
        except (openai.AuthenticationError, openai.PermissionDeniedError) as e:
            raise EngineError("request", self._clean(f"{self.name}: the key in {self.settings.endpoint.key_env} is refused: {e}")) from None
        except (openai.RateLimitError, openai.InternalServerError, openai.APIConnectionError) as e:
            raise EngineError("engine", self._clean(f"{self.name} at {self.settings.endpoint.base_url}: {e}")) from None
        except openai.APIStatusError as e:
            too_long = any(sign in f"{e.code} {e}".lower() for sign in _TOO_LONG)
            raise EngineError("context" if too_long else "request", self._clean(f"{task}: {self.name}: {e}")) from None
        except openai.OpenAIError as e:
            raise EngineError("engine", self._clean(f"{self.name}: {e}")) from None

    def _clean(self, text: str) -> str:
        return text if self._key == NO_KEY else text.replace(self._key, "***")


def api_key(end: EndpointConfig) -> str:
    """The key from the environment. Raises UserError where an endpoint elsewhere has none; on this machine none is needed."""
    if key := os.environ.get(end.key_env, "").strip():
        return key
    if urlsplit(end.base_url).hostname in LOCAL:
        return NO_KEY
    raise UserError(f"engine.endpoint.base_url={end.base_url}: put its API key into the environment variable {end.key_env} (engine.endpoint.key_env)")


def outgoing(message: dict) -> dict:
    """A message of `prstack.dialogue` as endpoints take it: reasoning in the content, no fields of ours."""
    out = {k: message[k] for k in ("role", "content", "tool_calls", "tool_call_id") if k in message}
    if reasoning := message.get("reasoning_content"):
        out["content"] = format_assistant(reasoning, message.get("content") or "")
    return out


def assistant_text(message: Any) -> str:
    """An answer in prstack's assistant format; of several tool calls the first counts."""
    content = message.content or ""
    reasoning = next((r for field in ("reasoning_content", "reasoning") if isinstance(r := getattr(message, field, None), str) and r), "")
    call = message.tool_calls[0].function if message.tool_calls else None
    if call is None and not reasoning:
        return content
    return format_assistant(reasoning, content, ToolCall("", call.name, call.arguments or "{}") if call else None)


def estimate(messages: list[dict], tools: list[dict] | None) -> int:
    """About how many tokens a prompt takes (`CHARACTERS_PER_TOKEN`)."""
    return len(json.dumps([messages, tools or []], ensure_ascii=False)) // CHARACTERS_PER_TOKEN
