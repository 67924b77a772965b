"""From trajectories to a training set."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field as Check

from prstack.settings.checks import Natural, Positive, Share


@dataclass
class FilterConfig:
    """What a trajectory must be to train on. Thresholds are checked after the format; docs/distillation.md says where each comes from."""

    terminations: list[Literal["approved", "finished", "max_rounds", "max_tool_calls", "max_tokens", "time", "error"]] = field(
        default_factory=lambda: ["approved"]
    )
    """Termination reasons that are kept. Episodes without a supervisor end with `finished`."""
    held_out: bool = True
    """Generated world: reject a trajectory whose needs belong to evaluation (`prstack.world.holdout`); turn it off for a
    model that is not to be evaluated, with world.split=all."""
    evaluation: list[str] = field(default_factory=list)
    """Files or folders (JSONL or Parquet) of what evaluation asks: rows with `query`, `user_id`, `product_ids`, or trajectories. What shares
    a user, a query or a recommended product with them is rejected (`prstack.distill.filters.contamination`)."""
    max_overlap: Share = 0.5
    """Share of an evaluation query's words that stand in sequences of 8 words of a trajectory as well."""
    min_rounds: Natural = 1
    """Reports written, the final one included: 2 keeps only episodes whose report was improved."""
    max_rounds: Positive = 4
    """More reports: the task was never understood."""
    min_tool_calls: Natural = 2
    """Fewer tool calls: no research was done (the paper drops these as well)."""
    max_tool_calls: Positive = 64
    """More tool calls: the agent was lost."""
    max_tool_error_rate: Share = 0.34
    """Share of tool calls that failed."""
    max_repetition: Share = 0.4
    """Share of repeated 8-word sequences within what the research agent wrote."""
    language: Literal["en", "de", "es", "fr", "it", "nl", "pt", "any"] = "en"
    """Language of what the research agent wrote; `any` asks for none."""
    min_report_words: Natural = 15
    """Shorter reports say nothing."""
    max_report_words: Positive = 1500
    """Longer reports ramble."""
    min_cited: Share = 1.0
    """Share of the product and page ids and web addresses in the final report that a tool result shows."""
    min_grounding: Share = 0.9
    """Share of the final report's claims that a tool result supports."""
    max_contradicted: Natural = 0
    """Claims of the final report that are not what a tool result shows."""
    min_products: Natural = 1
    """Distinct products that the final report pitches and a tool returned (E.Prod)."""
    min_score: Share = 0.7
    """Verifiable rubric score of the final report."""
    max_broken: Natural = 0
    """Needs of the rubric that the products of the final report are seen to break."""
    max_similarity: Share = 0.8
    """Similarity (estimated Jaccard index of 5-word sequences) to a kept trajectory above which a later one is a near-duplicate."""
    min_corrected: Share = 0.2
    """Share of the kept that hold a corrected mistake. While there are fewer, those stay that `rounds`, `tool_errors` or `repetition` alone
    would reject, so that filtering does not remove what reflection is learned from."""
    extra: list[str] = field(default_factory=list)
    """Import paths (`package.module:function`) of your own filters: Trajectory → None or (reason, detail)."""


@dataclass
class DistillConfig:
    """From trajectories to a training set."""

    input: str | None = None
    """File or folder of trajectories (Parquet or JSONL). Default: the run's synthesis stage. For `prstack distill import`: of others'
    conversations."""
    tokenizer: str = "smollm2-135m-instruct"
    """Tokenizer of the model to train: the same names as engine.model."""
    context: Positive = 8192
    """Length of a packed sequence, in tokens. Longer trajectories are rejected and counted."""
    more_contexts: list[Positive] = field(default_factory=list)
    """Further lengths to pack for, each into packed_<length>/. The data set then holds what fits the longest of all; what is longer than
    one context is left out of its packs alone, and counted there."""
    chat_template: Literal["prstack", "qwen3"] = "prstack"
    """Template of the tokens. `qwen3` is for Qwen3 checkpoints that are used with their own template."""
    preference_margin: typing.Annotated[float, Check(gt=0, le=1)] = 0.05
    """Least lead in rubric score of a chosen report over a rejected one (preferences/)."""
    layouts: list[Literal["jsonl", "ms_swift", "llama_factory"]] = field(default_factory=lambda: ["jsonl"])
    """Copies of the data set in the layouts of other trainers, beside dataset/. One that is named later is added to a finished stage."""
    internalise: Literal["rule", "llm", "turns", "none"] = "rule"
    """What becomes of the supervisor's corrections. `rule`: each becomes the agent's own reflection before the better action, written by rule.
    `llm`: the same, written by the model of `engine` (vllm or openai), and by rule where what it writes does not pass the check. `turns`: they
    stay as user turns, which are read and not trained on. `none`: they go, and what was sent back stays as it was."""
    attempts: Positive = 3
    """`llm`: times that a model is asked for a reflection, with the reason of the refusal, before the rule's stays."""
    wrong_actions: Literal["keep_corrected", "drop"] = "keep_corrected"
    """Whether corrected tool calls stay, followed by a reflection, or go with their results."""
    filters: FilterConfig = field(default_factory=FilterConfig)
    workers: Positive = 1
    """Parallel Ray Data workers."""
    part_records: Positive = 500
    """Records a committed part."""
