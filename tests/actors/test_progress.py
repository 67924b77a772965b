"""The numbers of a synthesis, read back from Ray's own metrics endpoint."""

import time
import urllib.request

import pytest

from actors.progress import RayMetrics, endpoint
from prstack.report.live import Snapshot

SHOWN = Snapshot(
    done=57, total=200, in_flight=12, episodes_per_minute=98.5, tokens_per_second=1234.0, approval_rate=0.75, mean_rounds=1.5, eta_seconds=87.0,
    failures={"max_rounds": 3, "gate": 1},
)  # fmt: skip
RUN = r'run="Gr\\xf6\\xdfe 1"'
"""As Prometheus writes it; Ray takes ASCII alone."""


@pytest.mark.slow
def test_rays_metrics_endpoint_shows_the_numbers(ray_local):
    metrics, url = RayMetrics("Größe 1"), endpoint()
    metrics.show(SHOWN)
    deadline = time.monotonic() + 60
    found: dict[str, str] = {}
    while time.monotonic() < deadline and len(found) < 10:
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        lines = [line for line in text.splitlines() if line.startswith("ray_prstack_synthesis_") and RUN in line]
        for line in lines:
            name, _, value = line.rpartition(" ")
            reason = next((r for r in SHOWN.failures if f'reason="{r}"' in name), "")
            found[name.split("{")[0].removeprefix("ray_prstack_synthesis_") + (f" {reason}" if reason else "")] = value
        time.sleep(0.5)
    assert {name: float(v) for name, v in found.items()} == {
        "done": 57, "planned": 200, "in_flight": 12, "episodes_per_minute": 98.5, "tokens_per_second": 1234, "approval_rate": 0.75, "mean_rounds": 1.5,
        "eta_seconds": 87, "failures max_rounds": 3, "failures gate": 1,
    }  # fmt: skip
