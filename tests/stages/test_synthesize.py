"""`prstack synthesize` as a user stops it: what is said, what is kept, and what the same command then does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from prstack.report.tracking import read_metrics
from prstack.store.parts import Parts
from prstack.types import Trajectory
from tests.chat_endpoint import Endpoint, answer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALL = ["world.products=240", "world.users=16", "tracking.wandb=disabled", "ray.dashboard=false", "run_dir=r"]
HANGING = ["engine=openai", "engine.model=m", "synthesis.episodes=6", "synthesis.concurrency=4"]


STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:  # the test has failed
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def start(cwd: Path, *args: str) -> subprocess.Popen:
    """The command in a session of its own. A shell gives what it runs in the background, the tests perhaps, a SIGINT that is ignored; the command
    gets the one of a terminal."""
    command = [sys.executable, "-u", "-m", "prstack.cli", "synthesize", *SMALL, *args]
    terminal = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    STARTED.append(subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=terminal))
    return STARTED[-1]


def rows(cwd: Path) -> list[dict]:
    return list(Parts(cwd / "r" / "synthesis" / "trajectories", Trajectory).rows())


def until(stream, words: str) -> str:
    """Reads lines until one holds the words; returns all of them."""
    seen = ""
    for line in stream:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"no line with {words!r}:\n{seen[-3000:]}")


@pytest.fixture
def hanging():
    """An endpoint that takes questions and gives no answer."""
    endpoint = Endpoint(answer("too late"), slow=3600)
    yield endpoint
    endpoint.close()


def wait_for_questions(endpoint, n: int, process: subprocess.Popen) -> None:
    while len(endpoint.asked) < n:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def test_sigterm_lets_the_episodes_in_flight_end_and_the_same_command_goes_on(tmp_path):
    args = ("synthesis.episodes=60", "synthesis.concurrency=6", "synthesis.part_episodes=7", "synthesis.grace=120")
    process = start(tmp_path, *args)
    folder = tmp_path / "r" / "synthesis" / "trajectories"
    until(process.stdout, "Ray metrics")
    while not (folder.exists() and len(list(folder.glob("part-*.parquet"))) >= 2):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 143, err[-3000:]
    assert "synthesis: SIGTERM, no episode begins; the " in err and "in flight have 120 s to end" in err
    first = rows(tmp_path)
    assert 14 <= len(first) < 60 and f"prstack: stopped: {len(first)} of 60 episodes of synthesis are committed; the same command takes the run up again" in err
    assert not [r["detail"] for r in first if r["termination"] == "error" and not r["detail"].startswith("gate:")]
    last = [r for r in read_metrics(tmp_path / "r" / "metrics.jsonl") if r["stage"] == "synthesis"]
    process = start(tmp_path, *args)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    assert f"{len(first)} of 60 trajectories are there" in out
    ids = [r["id"] for r in rows(tmp_path)]
    assert len(ids) == 60 == len(set(ids)) and {r["id"] for r in first} <= set(ids)
    lines = [r for r in read_metrics(tmp_path / "r" / "metrics.jsonl") if r["stage"] == "synthesis"]
    assert len(lines) > len(last)
    shown = ("episodes_per_minute", "tokens_per_second", "approval_rate", "mean_rounds", "eta_seconds", "in_flight")
    assert {f"synthesis/{name}" for name in shown} <= set(lines[-1])
    assert lines[-1]["synthesis/eta_seconds"] == 0 and "synthesis: 60 of 60 episodes, 0 in flight, " in err


def test_what_does_not_end_within_the_grace_is_given_up(tmp_path, hanging):
    process = start(tmp_path, *HANGING, f"engine.endpoint.base_url={hanging.url}", "synthesis.grace=1")
    wait_for_questions(hanging, 4, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130 and "SIGINT, no episode begins; the 4 in flight have 1 s to end" in err
    assert "stopped: 0 of 6 episodes of synthesis are committed" in err and rows(tmp_path) == []


def test_a_second_signal_ends_it_at_once(tmp_path, hanging):
    process = start(tmp_path, *HANGING, f"engine.endpoint.base_url={hanging.url}", "synthesis.grace=3600")
    wait_for_questions(hanging, 4, process)
    process.send_signal(signal.SIGTERM)
    until(process.stderr, "no episode begins")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130 and "prstack: stopped; the same command takes the run up again" in err
    assert rows(tmp_path) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_every_process_leaves_no_broken_episode(tmp_path, number, code):
    """Slurm signals all processes of a step, a terminal all of its foreground: Ray's own end by SIGTERM as well."""
    process = start(tmp_path, "synthesis.episodes=400", "synthesis.part_episodes=4", "synthesis.grace=20")
    folder = tmp_path / "r" / "synthesis" / "trajectories"
    while not (folder.exists() and len(list(folder.glob("part-*.parquet"))) >= 2):
        assert process.poll() is None, process.communicate()
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=200)
    assert process.returncode == code, err[-3000:]
    found = rows(tmp_path)
    assert 8 <= len(found) < 400 and max(Counter(r["id"] for r in found).values()) == 1
    assert not [r["detail"] for r in found if r["termination"] == "error" and not r["detail"].startswith("gate:")]
