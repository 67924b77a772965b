"""The numbers of a running synthesis as Ray metrics: gauges `ray_prstack_synthesis_*` at the metrics endpoint of the driver's node,
from where Prometheus and Ray's dashboard take them."""

from __future__ import annotations

import ray
from ray.util.metrics import Gauge

from prstack.report.live import Snapshot

PREFIX = "prstack_synthesis_"
GAUGES = {
    "episodes": "Episodes that have ended, earlier sessions included",
    "in_flight": "Episodes in flight",
    "episodes_per_minute": "Episodes that end in a minute, over the sliding window",
    "tokens_per_second": "Completion tokens of ended episodes in a second, over the sliding window",
    "approval_rate": "Share of approved episodes in the sliding window",
    "mean_rounds": "Reports of an episode in the sliding window",
    "eta_seconds": "Seconds until the last episode ends, at the present speed",
}


class RayMetrics:
    """Gauges with the tag `run`; failures have the tag `reason` beside it. Needs a running Ray session."""

    def __init__(self, run: str):
        self._gauges = {name: Gauge(PREFIX + name, what, tag_keys=("run",)) for name, what in GAUGES.items()}
        self._failures = Gauge(PREFIX + "failures", "Episodes of this session that ended without approval", tag_keys=("run", "reason"))
        for gauge in (*self._gauges.values(), self._failures):
            gauge.set_default_tags({"run": run})

    def show(self, s: Snapshot) -> None:
        """Numbers that nothing stands for yet are left out."""
        values = {"episodes": s.done, **{name: getattr(s, name) for name in GAUGES if name != "episodes"}}
        for name, value in values.items():
            if value is not None:
                self._gauges[name].set(value)
        for reason, n in s.failures.items():
            self._failures.set(n, tags={"reason": reason})


def endpoint() -> str:
    """Where this node's metrics can be read, as a URL; empty when Ray serves none."""
    mine = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        if node["NodeID"] == mine and node["Alive"] and node.get("MetricsExportPort", 0) > 0:
            return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    return ""
