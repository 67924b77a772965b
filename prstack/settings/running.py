"""What runs are looked at with, and where they run."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

from pydantic import Field as Check

from prstack.settings.checks import Positive, Seconds


@dataclass
class ChatConfig:
    """Talking to a model as the shopping agent: `prstack chat`."""

    model: str | None = None
    """A Hugging Face directory, or a name as for engine.model; `expert` is the scripted agent. Default: what the run trained."""
    query: str | None = None
    """Asks this one question and ends, instead of reading questions from the terminal."""
    constrained: bool = False
    """Lets the model write only what parses: tool calls and reports."""
    max_tool_calls: Positive = 12
    """Tool calls to a question before the report is asked for."""
    temperature: typing.Annotated[float, Check(ge=0)] = 0.0
    """Sampling temperature; 0 is greedy."""


@dataclass
class TrackingConfig:
    """Where metrics go besides metrics.jsonl, which is always written."""

    wandb: Literal["offline", "online", "disabled"] = "offline"
    """Weights & Biases mode."""
    project: str = "prstack"
    """W&B project."""
    entity: str | None = None
    """W&B entity."""


@dataclass
class RayConfig:
    """The Ray cluster that stages run on."""

    address: str | None = None
    """Address of a running cluster (`auto` finds one); by default a local one is started and stopped."""
    nodes: Positive = 1
    """Nodes of a running cluster that are waited for before a command begins."""
    wait: Seconds = 300.0
    """Seconds that they may take."""
    ship: bool = True
    """Send prstack's own packages to a running cluster, without data, weights of runs or environment variables. Not needed where all nodes see
    this installation, as under Slurm."""
    num_cpus: Positive | None = None
    """CPUs of a local cluster; by default all."""
    object_store_mb: Positive = 256
    """Object store of a local cluster, in MiB."""
    dashboard: bool = True
    """Serve the dashboard of a local cluster."""
    dashboard_host: str = "127.0.0.1"
    """Address that the dashboard binds."""
    dashboard_port: Positive = 8265
    """First port that is tried for the dashboard."""


@dataclass
class ViewConfig:
    """Reading trajectories: `prstack view RUN`."""

    id: str | None = None
    """Shows the trajectory whose id starts so, in the terminal."""
    html: str | None = None
    """Where the page is written. Default: view.html in the run."""
    limit: Positive = 200
    """Trajectories on the page, at most."""


@dataclass
class DoctorConfig:
    """Looking at this machine: `prstack doctor`."""

    deep: bool = False
    """Also starts a local Ray cluster with one task (about 10 s), instead of only looking for what it needs."""
