"""A model behind an OpenAI-compatible endpoint, as an engine: `engine=openai`.

1. Messages go out in the endpoint's own form; earlier reasoning stands in `<think>` tags before what was said. A conversation that is
   estimated to be longer than `engine.max_model_len` is shortened first (`prstack.dialogue.context`).
2. With a schema the endpoint is asked for JSON that follows it, otherwise the tools are offered as tools. A tool call comes back as one
   and is written down in prstack's assistant format, as is reasoning that comes apart. vLLM's own server, which says so in its list of
   models, holds the arguments of a call to the tool's schema only where the tool is `strict`, so it gets them so. Elsewhere they stay as
   they are: `strict` means more to some endpoints, which then refuse a tool with an argument that may be left out. Whatever a call
   turns out to be, it becomes an answer of the tool or a malformed turn.
3. The official client makes a call again that was refused for load, met a failing server or lost its connection: with growing pauses,
   or those of `Retry-After`. What fails for good is an EngineError, which the pool may ask elsewhere.

The API key comes from the environment alone (`engine.endpoint.key_env`). It is in no setting and no record, and is taken out of error
messages, which some servers repeat it in. It is not passed on by Ray either: machines that run engines need it in their own environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from typing import Any
from urllib.parse import urlsplit

from actors.engine import INITIAL_WEIGHTS, Completion, EngineError, Request, Sample, Sampling, cleaned
from prstack.dialogue import context
from prstack.dialogue.parse import TAGS, format_assistant
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
        self._strict = False
        from openai import AsyncOpenAI

        self._client = AsyncOpenAI(api_key=self._key, base_url=end.base_url, timeout=end.timeout, max_retries=end.retries)

    async def ready(self) -> str:
        """Asks the endpoint for its models. Raises EngineError when it cannot be reached or has not this one."""
        listed = await self._call(self._models, "models")
        self._strict = listed.get(self.settings.model) == "vllm"
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
        text = cleaned(text, request.schema is not None)
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
        """Samples after `token_ids`, with log-probabilities as the endpoint gives them: vLLM's server before temperature, unless it was started with
        --logprobs-mode processed_logprobs. Raises EngineError: "context", "engine", or "request" where the endpoint returns no token ids."""
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

    async def _models(self) -> dict[str, str]:
        """Name → owner of the models that the endpoint lists."""
        import openai

        try:
            return {m.id: m.owned_by async for m in self._client.models.list()}
        except openai.NotFoundError:  # not every endpoint lists its models
            return {}

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
            strict = self._strict and request.constrained
            body |= {"tools": [strictly(t) for t in tools] if strict else tools, "tool_choice": request.tool_choice}
            if request.tool_choice != "none":
                body["parallel_tool_calls"] = s.parallel_calls
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


def strictly(tool: dict) -> dict:
    """The tool, whose calls are to follow its schema."""
    return {**tool, "function": {**tool["function"], "strict": True}}


def outgoing(message: dict) -> dict:
    """A message of `prstack.dialogue` as endpoints take it: reasoning in the content, no fields of ours.

    An earlier call may be what no endpoint takes back: its name becomes letters, digits, _ and -, arguments that are no JSON object become
    an empty one. What was wrong with it stands in the tool's answer.
    """
    out = {k: message[k] for k in ("role", "content", "tool_calls", "tool_call_id") if k in message}
    if "tool_calls" in out:
        out["tool_calls"] = [{**c, "function": _sound(c["function"])} for c in out["tool_calls"]]
    if reasoning := message.get("reasoning_content"):
        out["content"] = format_assistant(reasoning, message.get("content") or "")
    return out


def _sound(function: dict) -> dict:
    try:
        is_object = isinstance(json.loads(function["arguments"]), dict)
    except (ValueError, RecursionError):
        is_object = False
    name = re.sub(r"[^A-Za-z0-9_-]", "_", function["name"])[:64]
    return {**function, "name": name or "unknown", "arguments": function["arguments"] if is_object else "{}"}


def assistant_text(message: Any) -> str:
    """An answer in prstack's assistant format, with all its tool calls."""
    content = message.content or ""
    reasoning = next((r for field in ("reasoning_content", "reasoning") if isinstance(r := getattr(message, field, None), str) and r), "")
    calls = [f for c in message.tool_calls or () if (f := getattr(c, "function", None))]
    if not calls and not reasoning:
        return content
    return format_assistant(reasoning, content, *(ToolCall("", c.name or "", _contained(c.arguments or "{}")) for c in calls))


def _contained(arguments: str) -> str:
    """Arguments as they are; where they are no JSON and hold tags of the format, as one JSON string, so that they end no call and begin none."""
    if not any(tag in arguments for tag in TAGS):
        return arguments
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return json.dumps(arguments, ensure_ascii=False)
    return arguments


def estimate(messages: list[dict], tools: list[dict] | None) -> int:
    """About how many tokens a prompt takes (`CHARACTERS_PER_TOKEN`)."""
    return len(json.dumps([messages, tools or []], ensure_ascii=False)) // CHARACTERS_PER_TOKEN
