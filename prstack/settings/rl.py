"""Reinforcement learning."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

from pydantic import Field as Check

from prstack.settings.checks import Natural, Positive, Seconds


@dataclass
class RLConfig:
    """Training a model on what it does itself, with live tools: `prstack rl` (docs/rl.md). Layout, precision and context are the trainer's; engines
    serve in the trainer's precision."""

    model: str | None = None
    """The model to begin with, named as engine.model is. Default: what `prstack sft` has made of the run."""
    replay: str | None = None
    """A folder of rollouts (rl/rollouts of some run) to train on, with the trainer alone: no engine, no tools. With the same model and settings the
    same training."""
    updates: Positive = 50
    """Updates of the weights that the engines serve; each is made of rollouts by the weights of the one before."""
    queries: Positive = 16
    """Queries an update, from the training users of the generated world."""
    group: typing.Annotated[int, Check(ge=2)] = 8
    """Episodes a query. They are compared with each other."""
    refills: Natural = 1
    """Times that an update plays other queries in place of those whose episodes all earned the same, which teach nothing."""
    concurrency: Positive = 64
    """Episodes in flight."""
    temperature: typing.Annotated[float, Check(gt=0)] = 1.0
    """Of sampling. The policy that is trained is the one that samples: engine and trainer both speak of the logits over it. Below 1 for a model whose
    own samples do not hold together."""
    max_tool_calls: Positive = 12
    """Tool calls before the report is asked for."""
    max_turns: Positive = 20
    """Assistant turns of an episode."""
    max_tokens: Positive = 512
    """Longest turn, in tokens."""
    max_seconds: Seconds = 900.0
    """Wall time of an episode. One that takes longer is not trained on: it says more of the machine than of the policy."""
    algorithm: str = "grpo"
    """`grpo` (with DAPO's higher upper bound, all tokens alike, no KL), `dr_grpo`, `gspo`, `cispo`, or the import path (`package.module:function`) of
    your own."""
    advantage: str | None = None
    """What an episode's reward is held against: `group_norm`, `leave_one_out`, `mean`, or an import path. Default: `mean` for dr_grpo, else `group_norm`."""
    clip_low: typing.Annotated[float, Check(gt=0)] | None = None
    """The ratio π/π_old below 1 - clip_low moves nothing further. Default: the algorithm's own."""
    clip_high: typing.Annotated[float, Check(gt=0)] | None = None
    """The ratio above 1 + clip_high moves nothing further. Default: the algorithm's own."""
    norm: Literal["token", "sequence", "constant"] | None = None
    """Whether all tokens of an update count alike, all episodes, or what is summed is divided by a constant. Default: the algorithm's own."""
    old_logprobs: Literal["engine", "recompute"] = "engine"
    """π_old. `engine`: what the engine sampled with, so that the ratio is π/π_engine and needs no correction. `recompute`: what the trainer says before
    the update; each token then has the importance weight min(π_old/π_engine, tis_cap)."""
    tis_cap: typing.Annotated[float, Check(ge=1)] = 2.0
    """Bound of the importance weights of `recompute`."""
    minibatches: Positive = 1
    """Optimizer steps an update, each on a part of its episodes. From the second on the policy is no longer the one that sampled."""
    kl: typing.Annotated[float, Check(ge=0)] = 0.0
    """Weight of the divergence from the model that training began with (k3 estimate, a token at a time). Above 0 each rank keeps a second copy of
    its weights."""
    entropy: typing.Annotated[float, Check(ge=0)] = 0.0
    """Weight of the entropy of the policy, which is to stay large."""
    lr: typing.Annotated[float, Check(gt=0)] = 1e-6
    """Peak learning rate; a cosine to a tenth follows."""
    warmup: Natural = 2
    """Updates of linear warm-up."""
    max_mismatch: typing.Annotated[float, Check(gt=0)] | None = None
    """Mean difference between the log-probabilities of trainer and engine on what was sampled, in nats, beyond which training stops before the step. Default: 1e-4 in
    float32, 0.05 in bfloat16."""
    bucket_mb: Positive = 256
    """Weights are handed to the engines in buckets of so many MiB, two files each: the memory that this takes beside them."""
    checkpoint_every: Positive = 10
    """Updates between checkpoints; the last one always writes one."""
