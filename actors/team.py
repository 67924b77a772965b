"""A team: one user, one research and one supervisor agent, and the engines that they ask. It plays whole episodes.

The three roles live in one actor, because a Ray call costs about as much CPU as a turn of the agents themselves: what one role
says to another is a call in the same process, and only what is asked of an engine leaves it. A team plays many episodes at
once; more teams play side by side on other cores and nodes. An episode lies with one team and holds all of its state there,
so that one whose team dies begins again elsewhere, under the same id and seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ray

from actors.research import ResearchAgent
from actors.router import EnginePool
from actors.supervisor import Episode, SupervisorAgent
from actors.user import UserAgent
from prstack.settings import AgentsConfig, WebConfig
from prstack.types import Trajectory

ROLES = ("user", "research", "supervisor")


class Team:
    """A plain class that `actors.synthesis` hosts as an actor."""

    def __init__(
        self,
        engines: Mapping[str, Sequence[str]],
        roles: Mapping[str, str],
        labels: Mapping[str, str],
        world_folder: str,
        world: str,
        agents: AgentsConfig,
        extra_tools: Sequence[str] = (),
        web: WebConfig | None = None,
    ):
        """`engines`: engine → the names of its actors; `roles`: role → engine; `labels`: role → what a trajectory calls it.

        Actors come by name: handles among the arguments would keep Ray from restarting this one once they are gone from the object store.
        """
        pools = {engine: EnginePool([ray.get_actor(name) for name in names]) for engine, names in engines.items()}
        pool = {role: pools[roles[role]] for role in ROLES}
        self.user = UserAgent(pool["user"], world_folder, agents)
        self.research = ResearchAgent(pool["research"], world_folder, agents, extra_tools, web)
        self.supervisor = SupervisorAgent(pool["supervisor"], self.user, self.research, agents, dict(labels), world)

    async def ready(self) -> bool:
        """Answers once the team is built; raises what its construction raised."""
        return True

    async def run(self, episode: Episode) -> Trajectory:
        """Plays an episode to its end (`SupervisorAgent.run`)."""
        return await self.supervisor.run(episode)
