"""robots.txt: what a site asks robots to leave alone.

There is no such file (400-499) → all is allowed; 401, 403, 429, 500-599 → nothing is; no reply → the visit fails as that did.
Answers are kept for a day, refusals by status for five minutes, for at most `MAX_SITES` sites. The rules are read by the standard
library's parser: the first rule that fits decides, and `*` inside a path is no wildcard.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.robotparser import RobotFileParser

MAX_SITES, MAX_BYTES = 512, 500_000
KEPT_SECONDS, KEPT_ERROR_SECONDS = 86_400.0, 300.0
_CLOSED = (401, 403, 429)


class Robots:
    """Rules by site. `clock` counts seconds."""

    def __init__(self, agent: str, clock: Callable[[], float] = time.monotonic):
        self._agent, self._clock = agent, clock
        self._sites: OrderedDict[str, tuple[float, RobotFileParser | bool]] = OrderedDict()
        self._lock = threading.Lock()

    def allows(self, url: str, site: str, load: Callable[[str], tuple[int, bytes]]) -> bool:
        """Whether a URL may be visited. `site`: its origin; `load`: address of a robots.txt → status and text. Raises what it does."""
        with self._lock:
            until, rules = self._sites.get(site, (0.0, False))
        if until <= self._clock():
            rules, seconds = self._ask(f"{site}/robots.txt", load)
            with self._lock:
                self._sites[site] = (self._clock() + seconds, rules)
                self._sites.move_to_end(site)
                while len(self._sites) > MAX_SITES:
                    self._sites.popitem(last=False)
        return rules if isinstance(rules, bool) else rules.can_fetch(self._agent, url)

    def _ask(self, address: str, load: Callable[[str], tuple[int, bytes]]) -> tuple[RobotFileParser | bool, float]:
        status, text = load(address)
        if not 200 <= status < 300:
            open_ = 400 <= status < 500 and status not in _CLOSED
            return open_, KEPT_SECONDS if open_ else KEPT_ERROR_SECONDS
        parser = RobotFileParser()
        parser.parse(text.decode("utf-8-sig", "replace").splitlines())
        return parser, KEPT_SECONDS
