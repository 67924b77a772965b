"""The machines that `prstack submit` asks for, and how a process is started on them."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field as Check

from prstack.settings.checks import Natural, Positive


@dataclass
class ClusterConfig:
    """Where `prstack submit` sends a command: nodes of Slurm, or a Ray cluster that runs already. A preset says how much of it, the group
    `cluster` how a site is (slurm/README.md)."""

    kind: Literal["slurm", "ray"] = "slurm"
    """`slurm`: a batch job that starts a Ray cluster of its own. `ray`: a job on the cluster whose dashboard is at `address`."""
    address: str = "http://127.0.0.1:8265"
    """Dashboard of a Ray cluster, for `kind=ray`."""
    launcher: Literal["bare", "pyxis", "apptainer"] = "bare"
    """How processes start on a node: as they are, in a container by Slurm's Pyxis plugin (Enroot), or in one by Apptainer."""
    image: str | None = None
    """Container image: a .sqsh file or registry reference for Pyxis, a .sif file for Apptainer."""
    mounts: list[str] = field(default_factory=list)
    """Further folders that containers see, `outside:inside`. The run's folder, the folder that `submit` is called in, `scratch` and, of a run
    in a store, the staging folder are among them anyway."""
    python: str | None = None
    """Interpreter on the nodes. Default: the one that submits; in a container `python`."""
    partition: str | None = None
    """Slurm partition."""
    account: str | None = None
    """Slurm account."""
    nodes: Positive = 1
    """Nodes of a job."""
    nodes_of: dict[str, Positive] = field(default_factory=dict)
    """Nodes of single stages of a chain, where they are not `nodes`: {distill: 1}."""
    gpus_per_node: Natural = 0
    """GPUs of each node."""
    cpus_per_node: Positive = 8
    """CPUs of each node."""
    memory: str = "0"
    """Memory of each node as Slurm writes it, for example 64G; 0 is all of it."""
    time: typing.Annotated[str, Check(pattern=r"^(\d+-)?\d{1,3}(:\d\d){0,2}$")] = "24:00:00"
    """Time limit of a job. One that reaches it commits what it has and goes back into the queue."""
    signal_lead: Positive = 300
    """Seconds before the time limit at which a job begins to stop. Slurm may be up to a minute early. More than synthesis.grace."""
    requeues: Natural = 20
    """Times that a job goes back into the queue by itself, at its time limit or for a lost Ray node; 0: it ends instead."""
    chain: bool = False
    """`submit run` as one job of Slurm a stage, each waiting for the one before it, instead of as one job."""
    seeds: list[Natural] = field(default_factory=list)
    """A job array, one task a seed, each in a run folder of its own."""
    sbatch: list[str] = field(default_factory=list)
    """Further options of sbatch, each a line of the script: ["--qos=high", "--constraint=a100"]."""
    setup: str | None = None
    """Shell command before anything of prstack, on every node (inside a container, where there is one): `source /etc/profile; module load cuda`."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables of all processes, for example NCCL_IB_HCA. Secrets do not belong here, but into `env_file`."""
    env_file: str | None = None
    """A file of NAME=value lines that only its owner may read (mode 600), on a path that all nodes see: API keys. The job reads it; its values
    are in no script, log or argument. The submitter's own environment does not reach a job."""
    interface: str | None = None
    """Network interface of the traffic between ranks, for example ib0. Default: what NCCL and gloo choose."""
    scratch: typing.Annotated[str, Check(pattern=r"^/[^\s'\"]{0,40}$")] = "/tmp"
    """Folder on each node's own disk for Ray's sockets, logs and spilled objects. At most 41 characters, as socket paths are limited."""
    object_store_gib: typing.Annotated[float, Check(gt=0.07)] = 8.0
    """Ray's object store of each node, in GiB of /dev/shm; it counts as memory of the job."""
    metrics: bool = False
    """Serve Ray's metrics. They are open to whoever reaches a node, on every interface of it."""
