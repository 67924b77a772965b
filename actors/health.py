"""Whether an engine may be asked: a state machine without clock, network or tasks in it.

    restarting ──answers with the current weights──▶ healthy
        ▲ │                                             │
        │ └───fails, or serves other weights──▶ dead ◀──┘ fails
        └─────────────next attempt────────────────┘
    dead ──longer than patience, or for good──▶ lost
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Health:
    """Whether an engine may be asked. Times are seconds of any steady clock, given by the caller."""

    state: Literal["restarting", "healthy", "dead", "lost"] = "restarting"
    reason: str = ""
    down_since: float = 0.0

    def failed(self, reason: str, now: float) -> None:
        """A request or ping failed."""
        if self.state == "lost":
            return
        if self.state == "healthy":
            self.down_since = now
        self.state, self.reason = "dead", reason

    def restart(self) -> None:
        """The next ping is under way. Only a dead engine restarts."""
        if self.state == "dead":
            self.state = "restarting"

    def answered(self, version: str, current: str, now: float) -> None:
        """A ping was answered by an engine that serves weights `version`. Counts only while restarting: an answer
        that was on its way when the engine died proves nothing."""
        if self.state != "restarting":
            return
        if version == current:
            self.state, self.reason = "healthy", ""
        else:
            self.failed(f"serves weights {version}, current is {current}", now)

    def give_up(self, now: float, patience: float) -> None:
        """A dead engine that has been down for `patience` seconds is lost; it is not asked again."""
        if self.state == "dead" and now - self.down_since >= patience:
            self.state = "lost"

    def lose(self, reason: str) -> None:
        """The engine cannot come back."""
        self.state, self.reason = "lost", reason
