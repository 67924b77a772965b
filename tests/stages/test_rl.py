"""`prstack rl` as a user runs it: settings, mistakes, and a real model trained on real episodes, killed and taken up again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from prstack.cli import main
from prstack.errors import UserError
from prstack.rl.samples import read_rollouts
from prstack.stages.rl import policy_loss, results
from tests.stages.rl_common import REWARDED, configured


# --- settings and mistakes -------------------------------------------------------------------------------------------
def test_losses_are_described_by_the_section():
    loss = policy_loss(configured("rl.algorithm=gspo", "rl.clip_high=0.01", "rl.kl=0.03", "rl.entropy=0.002"))
    assert (loss.algorithm, loss.clip_high, loss.kl_coef, loss.entropy_coef) == ("gspo", 0.01, 0.03, 0.002)
    assert policy_loss(configured("rl.algorithm=dr_grpo")).denominator(100.0, 4.0) == 4 * 24
    with pytest.raises(UserError, match="grpp"):
        policy_loss(configured("rl.algorithm=grpp"))


def test_a_summary_needs_every_session():
    row = {"reward": 0.5, "episodes": 8, "episodes/used": 6, "tokens": 100, "targets": 40, "seconds": 2.0, "seconds/rollouts": 1.5, "mismatch/mean": 2e-6, "mismatch/max_ratio": 1.01}
    more = {"tokens": 50, "targets": 20, "seconds": 1.0, "seconds/publish": 0.5}
    counts, summary = results([row, more, row | {"reward": 1.0}, more])
    assert counts == {"updates": 2, "episodes": 16, "trained_episodes": 12, "tokens": 300, "learned_tokens": 120}
    assert (summary["first_reward"], summary["last_reward"], summary["seconds_publish"], summary["seconds_training"]) == (0.5, 1.0, 1.0, 6.0)


def test_what_is_missing_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["rl", "run_dir=r", "tracking.wandb=disabled"]) == 2
    assert "run `prstack sft` first, or name one: rl.model=FOLDER" in capsys.readouterr().err
    assert main(["rl", "run_dir=r", "rl.model=world-9m", "trainer.ep=2", "tracking.wandb=disabled"]) == 2
    assert "there is no world here" in capsys.readouterr().err
    assert main(["rl", "run_dir=r", "rl.model=world-9m", "rl.algorithm=grpp", "tracking.wandb=disabled"]) == 2
    assert "rl.algorithm=grpp: one of grpo" in capsys.readouterr().err
    assert main(["rl", "run_dir=r", "rl.model=world-9m", "trainer.cp=2", "tracking.wandb=disabled"]) == 2
    assert "trainer.cp=2: rl needs 1" in capsys.readouterr().err


# --- real engines, real ranks ----------------------------------------------------------------------------------------
COMMON = ["preset=smoke", "rl.model=world-9m", "rl.queries=2", "rl.group=3", "rl.max_tokens=16", "rl.max_turns=2", "rl.lr=1e-4", "rl.temperature=0.7", "rl.checkpoint_every=1", "trainer.context=2048"]
QUIET = ["tracking.wandb=disabled", "ray.dashboard=false", "engine.kv_cache_mb=64", *REWARDED]


def prstack(*args, cwd, **more):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-m", "prstack.cli", *args], cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


def done(process):
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said[-4000:]
    return said


def curve(run):
    return [json.loads(line) for line in (run / "rl" / "steps.jsonl").read_text().splitlines()]


def until_saved(process, run, update):
    """Waits until the checkpoint of an update lies there."""
    deadline = time.monotonic() + 300
    while not (run / "rl" / "checkpoints" / f"step-{update:08d}").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.poll() is None, process.communicate()[0][-4000:]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Four updates. In the second all is killed; taken up again, a rank and the engine's core are killed in the third."""
    run = tmp_path_factory.mktemp("rl") / "run"
    assert main(["world", "preset=smoke", f"run_dir={run}", f"runs={run.parent}", "tracking.wandb=disabled"]) == 0
    command = ["rl", f"run_dir={run}", f"runs={run.parent}", *COMMON, *QUIET, "rl.updates=4"]
    process = prstack(*command, cwd=run, start_new_session=True)
    until_saved(process, run, 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    process = prstack(*command, cwd=run)
    until_saved(process, run, 2)
    below = [(p, " ".join([p.name(), *p.cmdline()])) for p in psutil.Process(process.pid).children(recursive=True)]
    victims = [next(p for p, name in below if kind in name) for kind in ("ray::_Actor", "EngineCore")]
    for victim in victims:
        victim.kill()
    return run, command, done(process)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_engine_and_trainer_agree_before_every_update_whatever_was_lost(trained):
    run, _, said = trained
    rows = curve(run)
    assert re.search(r"rl: taking up again after update [1-3] of 4", said) and [r["step"] for r in rows] == [1, 2, 3, 4] == [r["update"] for r in rows]
    assert re.search(r"rl: rank \d died in \w+ \(killed, or out of memory\); new ranks go on from the last checkpoint \(1 of 2 restarts\)", said), said[-3000:]
    assert all(r["mismatch/mean"] <= 1e-4 and r["mismatch/kl"] < 1e-6 for r in rows)
    assert all(r["ratio"] == pytest.approx(1, abs=1e-3) and r["clip_low"] == r["clip_high"] == 0 for r in rows)
    assert all(r["grad_norm"] > 0 and r["episodes"] >= 6 and r["groups/kept"] >= 1 for r in rows)
    manifest = json.loads((run / "rl" / "manifest.json").read_text())
    assert manifest["status"] == "complete" and manifest["counts"]["updates"] == 4 and (run / "rl" / "model" / "model.safetensors").exists()
    for n, rollouts in enumerate(read_rollouts(run / "rl" / "rollouts"), 1):
        versions = {s.weight_version for r in rollouts for s in r.trajectory.steps if s.token_ids}
        assert len(versions) == 1 and (versions == {"initial"} if n == 1 else next(iter(versions)).startswith(f"update-{n - 1}"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_replay_without_engines_is_the_same_training(trained):
    run, command, _ = trained
    other = run.parent / "replay"
    done(prstack(*[f"run_dir={other}" if a.startswith("run_dir=") else a for a in command], f"rl.replay={run / 'rl' / 'rollouts'}", cwd=run))
    for live, replayed in zip(curve(run), curve(other), strict=True):
        for name in ("loss", "grad_norm", "reward", "targets", "mismatch/mean"):
            assert replayed[name] == pytest.approx(live[name], rel=1e-4, abs=1e-8), name
    assert not (other / "rl" / "weights").exists() and not (other / "rl" / "rollouts").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_disagreement_ends_it_with_its_numbers_and_nothing_is_trained(trained):
    run, command, _ = trained
    other = run.parent / "strict"
    other.mkdir()
    (other / "world").symlink_to(run / "world", target_is_directory=True)
    process = prstack(*[f"run_dir={other}" if a.startswith("run_dir=") else a for a in command], "rl.max_mismatch=1e-12", cwd=run)
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 2, said[-4000:]
    assert re.search(r"rl: update 1: engine and trainer disagree beyond rl\.max_mismatch=1e-12 .*: mean \|Δ log p\| \d\.\d\de-0\d.*Nothing was trained on it", said), said[-2000:]
    assert not curve(other) and not list((other / "rl").glob("checkpoints/step-*")) and [p.name for p in (other / "rl" / "rollouts").iterdir()] == ["update-000001.parquet"]
