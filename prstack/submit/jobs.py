"""Which jobs a submitted command becomes.

    run                     one job, the whole loop
    run, cluster.chain      (Slurm) synthesize → distill → sft → (rl) → evaluate: `run until=STAGE` each, in one run folder. What is there
                            already is passed over, so a job does what its stage lacks
    any other command       one job

Each may be an array over seeds. A task then waits for the same task of the job before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prstack.settings import Config

CHAIN = ("synthesize", "distill", "sft", "rl", "evaluate")
"""Jobs of a chain, by what `until` is in each; the last makes the report as well."""
DECIDED_HERE = ("cluster", "run_dir", "runs", "ray.address", "ray.nodes", "ray.ship")
"""Settings that a job's command gets from the job, whatever was given to `submit`."""


@dataclass(frozen=True, slots=True)
class Job:
    """One batch job."""

    name: str
    """The stage, or the command."""
    command: str
    """The word after `prstack`."""
    settings: tuple[str, ...]
    """key=value, as the job's command gets them beside its run folder, seed and Ray address."""
    nodes: int
    after: bool = False
    """Whether it waits for the job before it."""


def jobs(config: Config, command: str, settings: Sequence[str]) -> list[Job]:
    """The jobs of `prstack submit <command> <settings>`."""
    nodes = lambda name: config.cluster.nodes_of.get(name, config.cluster.nodes)  # noqa: E731
    kept = tuple(s for s in settings if not _decided_here(s.partition("=")[0].lstrip("+")))
    if command != "run" or not config.cluster.chain or config.cluster.kind == "ray":
        return [Job(command, command, kept, nodes(command))]
    kept = tuple(s for s in kept if not s.startswith("until="))
    names = [name for name in CHAIN if name != "rl" or "rl" in (config.until, *config.evaluation.subjects)]
    if config.until in names:
        names = names[: names.index(config.until) + 1]
    elif config.until == "world":
        names = ["world"]
    last = len(names) - 1
    return [
        Job(name, "run", (*kept, f"until={config.until if i == last else name}"), nodes(name), after=i > 0) for i, name in enumerate(names)
    ]


def _decided_here(key: str) -> bool:
    return any(key == one or key.startswith(one + ".") for one in DECIDED_HERE)
