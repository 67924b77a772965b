"""A weak model plays all three roles through vLLM's own server on loopback, as a user runs it. (No process stays behind: the suite looks for them itself.)"""

import json
import os
import subprocess
import sys
import typing

import pytest

from prstack.stages.models import SMOLLM2
from prstack.store.parts import Parts
from prstack.store.records import from_row
from prstack.types import Termination, Trajectory
from tests.actors.vllm_server import serve

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]
pytest.importorskip("vllm")

EPISODES = 4
LIMITS = ["agents.user_attempts=1", "agents.max_plan_rounds=1", "agents.max_call_rounds=1", "agents.max_report_rounds=1", "agents.max_tool_calls=2", "agents.max_tokens=2500", "agents.max_seconds=300"]


def test_every_episode_of_a_weak_model_behind_an_endpoint_ends_for_a_reason(tmp_path):
    with serve(SMOLLM2, tmp_path / "server.txt", 6144, "bfloat16") as url:
        engine = ["engine=openai", f"engine.model={SMOLLM2}", f"engine.endpoint.base_url={url}", "engine.endpoint.prompt_price=1", "engine.endpoint.completion_price=2"]
        small = ["world.products=300", "world.users=40", f"synthesis.episodes={EPISODES}", "run_dir=r"]
        command = [sys.executable, "-m", "prstack.cli", "synthesize", *small, *engine, *LIMITS]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=800, env=os.environ | {"OPENAI_API_KEY": "sk-none-of-it"})
        assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / "r" / "synthesis"
    manifest = json.loads((folder / "manifest.json").read_text())
    played = [from_row(Trajectory, row) for row in Parts(folder / "trajectories", Trajectory).rows()]
    assert len(played) == manifest["counts"]["trajectories"] == EPISODES == sum(manifest["counts"]["terminations"].values())
    assert all(t.termination in typing.get_args(Termination) for t in played)
    errors = [t.detail for t in played if t.termination == "error"]
    assert all(e.startswith("gate:") or e == "no report came when it was asked for" for e in errors), errors
    used = [u for t in played for u in t.usage if u.calls]
    assert used and all(u.prompt_tokens > u.calls and u.completion_tokens > 0 for u in used)
    assert manifest["summary"]["completion_tokens"] == sum(u.completion_tokens for u in used)
    assert manifest["summary"]["cost_usd"] == pytest.approx(sum(u.prompt_tokens + 2 * u.completion_tokens for u in used) / 1e6, abs=1e-4)
    for step in (s for t in played for s in t.steps if s.tool_call):
        assert step.tool_result is not None and (step.tool_result.ok or step.tool_result.error)
