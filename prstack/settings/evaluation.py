"""Evaluation and reward."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field

from pydantic import Field as Check

from prstack.settings.checks import Natural, Positive, Share, Weight


@dataclass
class EvaluationConfig:
    """Models at work on held-out users, alone and with live tools, beside controls: `prstack evaluate`."""

    subjects: list[str] = field(default_factory=lambda: ["base", "base_fewshot", "base_constrained", "sft", "no_check", "expert"])
    """What is evaluated, in this order. `sft`: what the run trained; `sft_shuffled`: the control that it
    trained on the same conversations with their queries exchanged; `base`: trainer.model as it is (`base_fewshot`: after one
    finished conversation of the training set; `base_constrained`: writing only what parses); `no_check`: one search, its
    first hits listed unchecked; `random_pick`: hits of the first pages by lot, unchecked; `expert`: the scripted agent without mistakes; `name=FOLDER`: any other checkpoint."""
    queries: Positive = 100
    """Held-out queries; every subject gets the same."""
    seeds: Natural = 3
    """Sampled answers to a query, besides the greedy one."""
    temperature: typing.Annotated[float, Check(gt=0)] = 0.7
    """Of the sampled answers."""
    list_length: Positive = 3
    """Products a report should name; precision is also given at this length."""
    max_tool_calls: Positive = 12
    """Tool calls before the report is asked for."""
    max_tokens: Positive = 512
    """Longest turn, in tokens."""
    concurrency: Positive = 16
    """Conversations in flight."""
    world_seed: Natural = 1000
    """Seed of the world that is held out: its products, users and needs are others than those of world.seed."""
    valid_share: Share = 0.35
    """Share of valid products among the first search hits in the world that is held out, as world.valid_share in training."""
    compare: str = "sft"
    """The subject whose differences to all others are given with their intervals."""
    judge: str = "none"
    """Who marks the greedy reports beside those of the reference (RACE, docs/scoring.md). `none`; `expert`: checks by rule, no language
    model; or a model, named as engine.model is."""
    reference: str = "expert"
    """The subject whose reports are the reference of RACE."""
    judge_repeats: Positive = 1
    """Judgements of a pair in each of its two orders; a model gives more than one at temperature 0.7."""


@dataclass
class RewardConfig:
    """What an episode is worth to a policy: a weighted sum of terms in [0, 1], each on record (`prstack.scoring.reward`)."""

    rubric: Weight = 1.0
    """Weight of the verifiable rubric score of the report."""
    grounding: Weight = 0.3
    """Weight of the claims that a tool result supports: as share of all claims, and of what the rubric asks for."""
    products: Weight = 0.3
    """Weight of the products that are known to satisfy every constraint, up to list_length."""
    format: Weight = 0.2
    """Weight of the form: valid tool calls, and one report in its tags."""
    redundancy: Weight = 0.3
    """Taken off for repeated calls, or repeated text in the report: the larger share times this."""
    length: Weight = 0.3
    """Taken off for a report longer than max_report_words; all of it at twice as many."""
    list_length: Positive = 3
    """Products after which more earn nothing."""
    max_report_words: Positive = 600
    """Words of a report that cost nothing."""
    extra: list[str] = field(default_factory=list)
    """Your own terms: import paths with a weight, `package.module:function=0.5` (docs/scoring.md). A negative weight is a penalty."""
