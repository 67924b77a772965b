"""Synthesis over an endpoint, as a user runs it: what it is asked, what it costs, and where its key is not."""

import json
import os
import subprocess
import sys

import pytest

from tests.chat_endpoint import USAGE, Endpoint, answer

KEY = "sk-secret-1234567890"


@pytest.fixture
def endpoint():
    e = Endpoint(answer("I cannot say."))
    yield e
    e.close()


def test_a_model_elsewhere_plays_a_role_and_its_key_is_in_no_file(endpoint, tmp_path):
    """It says nothing of use, so that each episode ends with a plan that is not approved or without a report; all of it is on record."""
    args = ["engine.research=openai", "engine.model=m", f"engine.endpoint.base_url={endpoint.url}", "engine.endpoint.prompt_price=2", "engine.endpoint.completion_price=4"]
    small = ["world.products=300", "world.users=40", "synthesis.episodes=3", "run_dir=r"]
    done = subprocess.run(
        [sys.executable, "-m", "prstack.cli", "synthesize", *small, *args], cwd=tmp_path, capture_output=True, text=True, timeout=200, env=os.environ | {"OPENAI_API_KEY": KEY}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = json.loads((tmp_path / "r" / "synthesis" / "manifest.json").read_text())
    assert manifest["counts"]["trajectories"] == 3 and "approved" not in manifest["counts"]["terminations"]
    one = (USAGE["prompt_tokens"] * 2 + USAGE["completion_tokens"] * 4) / 1e6
    assert manifest["summary"]["cost_usd"] == pytest.approx(len(endpoint.asked) * one, abs=1e-4) and len(endpoint.asked) > 6
    assert all(h["authorization"] == f"Bearer {KEY}" for h in endpoint.headers)
    assert KEY not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
