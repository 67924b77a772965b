"""The numbers of a running synthesis as Ray metrics, as they are at the moment: gauges `ray_prstack_synthesis_*` at the metrics endpoint of the
driver's node, from where Prometheus and Ray's dashboard take them."""

from __future__ import annotations

import ray

from prstack.report.live import Snapshot, metrics
from prstack.report.tracking import PREFIX, Gauges

__all__ = ["PREFIX", "RayMetrics", "endpoint"]


class RayMetrics:
    """The gauges of a run, between two lines of its tracker."""

    def __init__(self, run: str):
        self._gauges = Gauges(run)

    def show(self, s: Snapshot) -> None:
        """Numbers that nothing stands for yet are left out."""
        self._gauges.set({f"synthesis/{name}": value for name, value in metrics(s).items()})


def endpoint() -> str:
    """Where this node's metrics can be read, as a URL; empty when Ray serves none."""
    mine = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        if node["NodeID"] == mine and node["Alive"] and node.get("MetricsExportPort", 0) > 0:
            return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    return ""
