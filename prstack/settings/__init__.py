"""Every setting of prstack: typed, with its default and its meaning where it is declared. `prstack.config` loads them.

    world.py synthesis.py distill.py training.py rl.py evaluation.py running.py cluster.py    the sections
    checks.py                                                                      what values must be
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from prstack.settings.checks import Seconds
from prstack.settings.cluster import ClusterConfig
from prstack.settings.distill import DistillConfig, FilterConfig
from prstack.settings.evaluation import EvaluationConfig, RewardConfig
from prstack.settings.rl import RLConfig
from prstack.settings.running import ChatConfig, DoctorConfig, RayConfig, TrackingConfig, ViewConfig
from prstack.settings.synthesis import (
    AgentsConfig,
    EndpointConfig,
    EngineConfig,
    MistakesConfig,
    SynthesisConfig,
    TokensConfig,
)
from prstack.settings.training import (
    LoraConfig,
    PlanConfig,
    PretrainConfig,
    SelftestConfig,
    TrainerConfig,
    UpcycleConfig,
)
from prstack.settings.world import SearchConfig, ServeConfig, ToolsConfig, WebConfig, WorldConfig

__all__ = [
    "AgentsConfig",
    "ChatConfig",
    "ClusterConfig",
    "Config",
    "DistillConfig",
    "DoctorConfig",
    "EndpointConfig",
    "EngineConfig",
    "EvaluationConfig",
    "FilterConfig",
    "LoraConfig",
    "MistakesConfig",
    "PlanConfig",
    "PretrainConfig",
    "RLConfig",
    "RayConfig",
    "RewardConfig",
    "SearchConfig",
    "SelftestConfig",
    "ServeConfig",
    "SynthesisConfig",
    "TokensConfig",
    "ToolsConfig",
    "TrackingConfig",
    "TrainerConfig",
    "UpcycleConfig",
    "ViewConfig",
    "WebConfig",
    "WorldConfig",
]


@dataclass
class Config:
    name: str = "run"
    """Name of the run, part of its default folder."""
    run_dir: str | None = None
    """Folder of the run, or the URL of one in a store: s3://…, gs://…, hdfs://…, file:///… (docs/runs.md). Default: <runs>/<time>-<name>;
    `distill` and `view` take the latest one."""
    runs: str = "runs"
    """Folder of run folders; `latest` in it points to the newest."""
    store_every: Seconds = 60.0
    """Seconds between two times that a run at a URL is brought there while a stage works; also whenever a stage is finished, and at the end."""
    seed: int = 0
    """Seed of episodes and sampling."""
    until: Literal["world", "synthesize", "distill", "sft", "rl", "evaluate", "report"] = "report"
    """The last stage of `prstack run`; with run_dir=, or when it was cut off, a later `prstack run` goes on from there."""
    per_stage: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of engine, agents and trainer in a single stage, where they are not those of the others: {rl: {trainer: {ranks: 32}}}, or
    per_stage.rl.trainer.ranks=32. They have the last word there."""
    world: WorldConfig = field(default_factory=WorldConfig)
    web: WebConfig = field(default_factory=WebConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    tools: ToolsConfig = field(default_factory=ToolsConfig)
    agents: AgentsConfig = field(default_factory=AgentsConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    rl: RLConfig = field(default_factory=RLConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    upcycle: UpcycleConfig = field(default_factory=UpcycleConfig)
    chat: ChatConfig = field(default_factory=ChatConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    doctor: DoctorConfig = field(default_factory=DoctorConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    selftest: SelftestConfig = field(default_factory=SelftestConfig)
